"""The scenarios that the Compose Specification asks of an implementation, each on a compose.yaml as users have it:
lifecycle, networks and their isolation, volumes, a secret and a config from a file, scaling, UDP."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable

import pytest

from tests.support.project import Project

pytestmark = pytest.mark.root
Make = Callable[..., Project]

HEAD = """\
x-sleeper: &sleeper {image: "box:1", command: [sleep, "600"], stop_grace_period: 0s}
x-server: &server
  image: "box:1"
  command: [sh, -c, "mkdir -p /srv; echo $$HOSTNAME >/srv/index.html; exec httpd -f -p 80 -h /srv"]
  stop_grace_period: 0s
"""
"""What the files share: a service that sleeps, and a web server that says its own host name."""


def compose(text: str) -> str:
    return HEAD + textwrap.dedent(text)


def in_service(project: Project, service: str, script: str, *, index: int = 1) -> str:
    outcome = project.run("exec", "-T", "--index", str(index), service, "sh", "-c", script)
    return outcome.assert_success().stdout.strip()


def states(project: Project) -> dict[str, str]:
    return {f"{row['service']}.{row['replica']}": row["state"] for row in project.run("ps", "-a", "--json").json}


def test_lifecycle(project: Make) -> None:
    there = project({"compose.yaml": compose("""
        services:
          front:
            image: "box:1"
            command: [sh, -c, "trap 'exit 0' TERM; while :; do sleep 0.1; done"]
            depends_on: [back]
            stop_grace_period: 2s
          back: {<<: *sleeper}
    """)})  # fmt: skip
    there.run("up", "-d").assert_success()
    assert states(there) == {"front.1": "running", "back.1": "running"}
    before = {row["service"]: row["id"] for row in there.run("ps", "--json").json}
    there.run("up", "-d").assert_success()
    assert {row["service"]: row["id"] for row in there.run("ps", "--json").json} == before, "nothing had changed"
    there.run("stop", "front").assert_success()
    assert states(there) == {"front.1": "exited", "back.1": "running"}
    there.run("start", "front").assert_success()
    there.run("restart").assert_success()
    assert states(there) == {"front.1": "running", "back.1": "running"}
    there.run("pause", "back").assert_success()
    assert states(there)["back.1"] == "paused"
    there.run("unpause", "back").assert_success()
    there.run("kill", "back").assert_success()
    assert states(there)["back.1"] == "exited"
    there.run("down").assert_success()
    assert states(there) == {}


def test_a_service_reaches_what_shares_a_network_and_nothing_else(project: Make) -> None:
    there = project({"compose.yaml": compose("""
        services:
          proxy: {<<: *sleeper, networks: [outer, inner]}
          app: {<<: *server, networks: {inner: {aliases: [api]}}}
          stranger: {<<: *sleeper, networks: [outer]}
          alone: {<<: *sleeper}
        networks: {outer: , inner: {internal: true}}
    """)})  # fmt: skip
    there.run("up", "-d", "--wait").assert_success()
    assert in_service(there, "proxy", "wget -q -O - http://app") == in_service(there, "app", "hostname")
    assert in_service(there, "proxy", "wget -q -O - http://api"), "an alias"
    assert in_service(there, "proxy", "ping -c1 -W2 stranger >/dev/null && echo there") == "there"
    for service in ("stranger", "alone"):
        assert in_service(there, service, "nslookup app >/dev/null 2>&1 || echo unknown") == "unknown"
    address = in_service(there, "app", "hostname -i")
    assert in_service(there, "stranger", f"timeout 1 wget -q -O - http://{address} || echo closed") == "closed"
    assert in_service(there, "app", "ip route | grep -q default || echo nowhere") == "nowhere", "an internal network"


def test_volumes_are_shared_and_outlive_down(project: Make) -> None:
    there = project({"note.txt": "from the project\n", "compose.yaml": compose("""
        services:
          writer: {<<: *sleeper, volumes: ["shared:/data", "./note.txt:/note:ro"]}
          reader: {<<: *sleeper, volumes: ["shared:/in:ro"]}
        volumes: {shared: }
    """)})  # fmt: skip
    there.run("up", "-d").assert_success()
    assert in_service(there, "writer", "cat /note; echo kept >/data/file") == "from the project"
    assert in_service(there, "reader", "cat /in/file; touch /in/x 2>/dev/null || echo read-only") == "kept\nread-only"
    there.run("down").assert_success()
    there.run("up", "-d").assert_success()
    assert in_service(there, "reader", "cat /in/file") == "kept"
    there.run("down", "--volumes", "--yes").assert_success()
    there.run("up", "-d").assert_success()
    assert in_service(there, "reader", "ls /in | wc -l") == "0"


def test_networks_and_volumes_of_another_project(project: Make) -> None:
    owner = project({"compose.yaml": compose("""
        name: owner
        services: {it: {<<: *server, networks: [meet], volumes: ["kept:/data"]}}
        networks: {meet: {name: meeting}}
        volumes: {kept: {name: keeping}}
    """)}, "owner")  # fmt: skip
    guest = project({"compose.yaml": compose("""
        name: guest
        services: {it: {<<: *sleeper, networks: [meet], volumes: ["kept:/data"]}}
        networks: {meet: {external: true, name: meeting}}
        volumes: {kept: {external: true, name: keeping}}
    """)}, "guest")  # fmt: skip
    guest.run("up", "-d").assert_failure("does not exist")
    owner.run("up", "-d").assert_success()
    in_service(owner, "it", "echo kept >/data/file")
    guest.run("up", "-d").assert_success()
    assert in_service(guest, "it", "cat /data/file; wget -q -O - http://owner-it-1") == (
        "kept\n" + in_service(owner, "it", "hostname")
    )
    guest.run("down", "--volumes", "--yes").assert_success()
    assert in_service(owner, "it", "cat /data/file") == "kept", "what is external is never removed"


def test_anonymous_volumes_are_inherited(project: Make) -> None:
    text = HEAD + textwrap.dedent("""
        services:
          it: {<<: *sleeper, volumes: [/data], environment: {TURN: "%d"}}
    """)
    there = project({"compose.yaml": text % 1})
    there.run("up", "-d").assert_success()
    in_service(there, "it", "echo kept >/data/file")
    there.write({"compose.yaml": text % 2})
    there.run("up", "-d").assert_success()
    assert in_service(there, "it", "cat /data/file; echo $TURN") == "kept\n2"


@pytest.mark.parametrize(("name", "left", "found"), [("compose.yaml", 2, ""), ("envkit.yaml", 1, "kept")])
def test_anonymous_volumes_after_down(project: Make, name: str, left: int, found: str) -> None:
    """A compose file's are left behind, those of an envkit.yaml found again."""
    there = project({name: HEAD + "services:\n  it: {<<: *sleeper, volumes: [/data]}\n"})
    there.run("up", "-d").assert_success()
    in_service(there, "it", "echo kept >/data/file")
    there.run("down").assert_success()
    there.run("up", "-d").assert_success()
    assert in_service(there, "it", "cat /data/file || true") == found
    assert len(there.run("volumes", "-q").stdout.split()) == left
    there.run("down", "-v", "--yes").assert_success()
    assert there.run("volumes", "-q").stdout == ""


def test_a_secret_and_a_config_are_files(project: Make) -> None:
    there = project({"secret.txt": "hidden", "app.conf": "port = 1\n", "compose.yaml": """
        services:
          it:
            image: "box:1"
            command: [sleep, "600"]
            stop_grace_period: 0s
            read_only: true
            secrets: [token]
            configs: [{source: settings, target: /etc/app.conf, mode: "0440"}]
        secrets: {token: {file: ./secret.txt}}
        configs: {settings: {file: ./app.conf}}
    """})  # fmt: skip
    there.run("up", "-d").assert_success()
    assert in_service(there, "it", "cat /run/secrets/token; echo; cat /etc/app.conf") == "hidden\nport = 1"
    assert in_service(there, "it", "stat -c %a /etc/app.conf") == "440"
    there.write({"app.conf": "port = 2\n"})
    there.run("up", "-d").assert_success()
    assert in_service(there, "it", "cat /etc/app.conf") == "port = 2"


def test_an_external_secret_is_an_error_with_a_way_out(project: Make) -> None:
    there = project({"compose.yaml": """
        services: {it: {image: "box:1", secrets: [token]}}
        secrets: {token: {external: true}}
    """})  # fmt: skip
    there.run("up", "-d").assert_failure("compose.yaml:2:", "external", "file:")


def test_scaling(project: Make) -> None:
    there = project({"compose.yaml": compose("""
        services:
          app: {<<: *server, deploy: {replicas: 2}}
          client: {<<: *sleeper}
    """)})  # fmt: skip
    there.run("up", "-d").assert_success()
    assert len(in_service(there, "client", "nslookup app | grep -c ^Address").split()) == 1
    assert {in_service(there, "app", "hostname", index=number) for number in (1, 2)} == set(
        in_service(there, "client", "for i in 1 2; do wget -q -O - http://project-app-$i; done").split()
    )
    there.run("up", "-d", "--scale", "app=3").assert_success()
    assert sorted(states(there)) == ["app.1", "app.2", "app.3", "client.1"]
    there.run("up", "-d", "--scale", "app=1").assert_success()
    assert sorted(states(there)) == ["app.1", "client.1"]


ECHO = """
import socket
server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
server.bind(("0.0.0.0", 7))
server.settimeout(10)
print("ready", flush=True)
data, address = server.recvfrom(100)
server.sendto(data, address)
"""


def test_udp(project: Make) -> None:
    there = project({"compose.yaml": compose("""
        services:
          echo: {<<: *sleeper, ports: ["127.0.0.1::7/udp"]}
    """)})  # fmt: skip
    there.run("up", "-d").assert_success()
    host, _, port = there.run("port", "--protocol", "udp", "echo", "7").assert_success().stdout.strip().rpartition(":")
    pid = there.run("ps", "--json").json[0]["pid"]
    # busybox has no server for UDP: this one is Python's, in the container's network.
    command = ["nsenter", "-t", str(pid), "-n", sys.executable, "-c", ECHO]
    with (
        subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client,
    ):
        assert server.stdout is not None and server.stdout.readline() == "ready\n"
        client.settimeout(5)
        client.sendto(b"hello", (host, int(port)))
        assert client.recv(100) == b"hello"


def test_hooks_run_at_their_time(project: Make) -> None:
    there = project({"compose.yaml": """
        services:
          it:
            image: "box:1"
            command: [sh, -c, "echo main >>/data/log; exec sleep 600"]
            stop_grace_period: 0s
            volumes: ["log:/data"]
            pre_start:
              - {command: [sh, -c, "echo first >>/data/log"]}
              - {image: "box:1", command: [sh, -c, "echo second >>/data/log"]}
            post_start: [{command: [sh, -c, "echo started >>/data/log"]}]
            pre_stop: [{command: [sh, -c, "echo stopping >>/data/log"]}]
        volumes: {log: }
    """})  # fmt: skip
    there.run("up", "-d").assert_success()
    time.sleep(0.2)
    there.run("stop").assert_success()
    there.run("start").assert_success()
    log = in_service(there, "it", "cat /data/log").split()
    assert log[:2] == ["first", "second"], "each before the service, in their order"
    assert sorted(log[2:4]) == ["main", "started"] and log[4] == "stopping"
    assert sorted(log[5:]) == ["main", "started"], "`start` runs no pre_start hook"
    there.run("up", "-d", "--scale", "it=2").assert_success()
    assert in_service(there, "it", "grep -c first /data/log") == "1", "hooks have been run for all instances"


def test_a_hook_that_fails_fails_the_start(project: Make) -> None:
    there = project({"compose.yaml": """
        services:
          it: {image: "box:1", command: [sleep, "600"], pre_start: [{command: [sh, -c, "echo why; exit 17"]}]}
          other: {image: "box:1", command: [sleep, "600"], post_start: [{command: [sh, -c, "exit 3"]}]}
    """})  # fmt: skip
    there.run("up", "-d").assert_failure("pre_start[0]", "17", "why", "post_start[0]", "exit code 3")
    assert states(there) == {}


def test_lines_go_to_syslog(project: Make, tmp_path: object) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))
        server.settimeout(5)
        options = {"syslog-address": f"udp://127.0.0.1:{server.getsockname()[1]}", "tag": "{{.Name}}",
                   "syslog-format": "rfc5424", "syslog-facility": "local3"}  # fmt: skip
        service = {"image": "box:1", "command": ["sh", "-c", "echo one; sleep 0.1; echo two >&2; sleep 600"],
                   "stop_grace_period": "0s", "logging": {"driver": "syslog", "options": options}}  # fmt: skip
        there = project({"compose.yaml": json.dumps({"services": {"it": service}})})
        there.run("up", "-d").assert_success()
        received = [server.recv(1000).decode().split(" ") for _ in range(2)]
        assert [(row[0], row[3], row[-1]) for row in received] == [
            ("<158>1", "project-it-1", "one"), ("<155>1", "project-it-1", "two"),
        ]  # fmt: skip
        there.run("logs", "--no-log-prefix", "it").assert_success().assert_text("one", "two")


def test_the_docker_socket_is_refused(project: Make) -> None:
    there = project({"compose.yaml": """
        services:
          it:
            image: "box:1"
            volumes:
              - /var/run/docker.sock:/var/run/docker.sock
    """})
    there.run("up", "-d").assert_failure("compose.yaml:5:9", "docker.sock", "--backend docker")
