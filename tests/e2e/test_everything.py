"""One environment with every feature that a service may ask for, looked at from inside and outside."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
import time

import pytest

from tests.support.boxes import LOOP
from tests.support.project import Project

pytestmark = pytest.mark.root

ENVIRONMENT = r"""
name: everything
x-box: &box
  image: "box:1"
  command: [/bin/sh, -c, "LOOP"]
  stop_grace_period: 1s
services:
  page:
    <<: *box
    command: [/bin/sh, -c, "mkdir /tmp/w; hostname > /tmp/w/index.html; exec httpd -f -p 80 -h /tmp/w"]
    tmpfs: ["/tmp:size=1m,mode=1777"]
    ports: ["18601:80", "127.0.0.1:18602:80", "0.0.0.0:18603:80", "18611-18613:79-81"]
    networks: {default: {aliases: [www, site]}, back: {}}
    healthcheck: {test: [CMD-SHELL, "test -s /tmp/w/index.html"], interval: 200ms, start_period: 5s}
  many:
    <<: *box
    command: [/bin/sh, -c, "mkdir /tmp/w; hostname > /tmp/w/index.html; exec httpd -f -p 80 -h /tmp/w"]
    tmpfs: [/tmp]
    deploy: {replicas: 4}
    depends_on: {page: {condition: service_healthy}}
  echo:
    <<: *box
    ports: ["18604:9000/udp"]
  inner: {<<: *box, networks: [back]}
  data:
    <<: *box
    volumes:
      - "data:/data"
      - /scratch
      - {type: bind, source: ./files, target: /files, read_only: true}
      - {type: volume, source: data, target: /part, volume: {subpath: part}}
    depends_on: {seed: {condition: service_completed_successfully}}
  seed:
    <<: *box
    command: [/bin/sh, -c, "mkdir -p /data/part; echo part > /data/part/file"]
    volumes: ["data:/data"]
    restart: "no"
  secret:
    <<: *box
    secrets: [token, {source: token, target: /run/other, mode: 0440, uid: "1000", gid: "1000"}]
    configs: [{source: settings, target: /etc/settings}]
    environment: {TOKEN_FILE: /run/secrets/token, PLAIN: "a b  c", EMPTY: ""}
    env_file: [service.env]
  limited:
    <<: *box
    mem_limit: 24m
    pids_limit: 20
    cpus: 0.5
    ulimits: {nofile: {soft: 100, hard: 200}, core: 0, nproc: 99999999}
    sysctls: {net.ipv4.ip_unprivileged_port_start: "0", net.core.somaxconn: "77"}
    shm_size: 2m
    oom_score_adj: 300
  bomb:
    <<: *box
    command: [/bin/sh, -c, "b() { b | b & }; b; sleep 1; LOOP"]
    pids_limit: 30
  named: {<<: *box, user: app, working_dir: /home, group_add: [nogroup], hostname: boss}
  numbered: {<<: *box, user: "1234:5678", init: false}
  capable: {<<: *box, cap_drop: [ALL], cap_add: [NET_ADMIN], security_opt: ["no-new-privileges:true"]}
  alone: {<<: *box, network_mode: none}
  guest: {<<: *box, network_mode: "service:inner"}
  reader: {<<: *box, extra_hosts: ["far:10.1.2.3"], dns_search: [example.test], profiles: [more]}
  writer: {<<: *box, read_only: false}
networks:
  default: {ipam: {config: [{subnet: 10.211.7.0/24}]}}
  back: {internal: true}
volumes: {data: {}}
secrets: {token: {file: ./token}}
configs: {settings: {content: "answer = 42\n"}}
"""
FAILING = """
name: failing
x-box: &box {image: "box:1", stop_grace_period: 1s}
services:
  hungry:
    <<: *box
    command: [/bin/sh, -c, "sleep 0.3; dd if=/dev/zero of=/dev/null bs=200M count=1"]
    mem_limit: 16m
    restart: "no"
  unstable:
    <<: *box
    command: [/bin/sh, -c, "echo again; exit 3"]
    restart: on-failure:2
  once: {<<: *box, command: [/bin/sh, -c, "exit 5"], restart: "no"}
"""
STOPPING = """
name: stopping
x-box: &box {image: "box:1"}
services:
  polite:
    <<: *box
    init: false
    command: [/bin/sh, -c, "trap 'echo had SIGUSR1; exit 0' USR1; while :; do sleep 0.05; done"]
    stop_signal: SIGUSR1
    stop_grace_period: 20s
  stubborn:
    <<: *box
    init: false
    command: [/bin/sh, -c, "trap '' TERM; while :; do sleep 0.05; done"]
    stop_grace_period: 300ms
"""
SECRET = "s3cr3t-of-the-test"
FILES = {
    "envkit.yaml": ENVIRONMENT.replace("LOOP", LOOP), "token": SECRET, "service.env": "FROM_FILE=yes\n",
    "files/note": "from the host\n",
}  # fmt: skip


@pytest.fixture(scope="module")
def there(tmp_path_factory, home):
    """The environment, applied once for all tests of this file."""
    with Project(tmp_path_factory.mktemp("everything"), FILES, home) as project:
        outcome = project.run("apply")
        outcome.assert_text("nproc")
        assert outcome.code == 0, str(outcome)
        yield project
        project.run("down", "--volumes", "--yes").assert_success()


@pytest.fixture(scope="module")
def failing(tmp_path_factory, home):
    """Services that end, each in its way."""
    with Project(tmp_path_factory.mktemp("failing"), {"envkit.yaml": FAILING}, home) as project:
        project.run("apply").assert_success()
        yield project


def inside(there: Project, service: str, script: str, *flags: str, code: int = 0) -> str:
    return there.run("exec", "-T", *flags, service, "sh", "-c", script).assert_code(code).stdout


def row(there: Project, service: str):
    return next(item for item in there.run("ps", "--all", "--json").json if item["service"] == service)


def fetch(port: int, host: str = "127.0.0.1") -> str:
    with socket.create_connection((host, port), 3) as stream:
        stream.sendall(b"GET / HTTP/1.0\r\n\r\n")
        data = b""
        while part := stream.recv(4096):
            data += part
    return data.decode().rpartition("\r\n\r\n")[2].strip()


def until(question, seconds: float = 15.0):
    deadline = time.monotonic() + seconds
    while not (answer := question()):
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.1)
    return answer


def test_a_second_apply_is_one_line(there):
    outcome = there.run("apply")
    assert outcome.stdout.count("\n") == 1, str(outcome)


def test_published_ports(there):
    for port in (18601, 18602, 18603, 18612):
        assert fetch(port)
    serve = "import socket; s = socket.socket(type=socket.SOCK_DGRAM); s.bind(('', 9000)); print(flush=True); " \
        "s.sendto(*s.recvfrom(99))"  # fmt: skip
    argv = ["nsenter", "--net", "--target", str(row(there, "echo")["pid"]), sys.executable, "-c", serve]
    with subprocess.Popen(argv, stdout=subprocess.PIPE) as server, socket.socket(type=socket.SOCK_DGRAM) as sender:
        assert server.stdout is not None and server.stdout.readline()
        sender.settimeout(3)
        sender.sendto(b"hello", ("127.0.0.1", 18604))
        assert sender.recv(99) == b"hello"
    assert there.run("port", "page", "80").assert_success().stdout.strip() in ("127.0.0.1:18601", "0.0.0.0:18603")


def test_names_aliases_and_replicas(there):
    for name in ("page", "www", "site"):
        assert "10.211.7." in inside(there, "limited", f"getent hosts {name} || nslookup {name}")
    answers = {inside(there, "writer", "nslookup many | grep -o '10.211.7.*'") for _ in range(12)}
    assert all(answer.count("10.211.7.") >= 4 for answer in answers)
    assert len(answers) > 1, "the replicas always come in the same order"


def test_networks_are_apart(there):
    assert "10.211" not in inside(there, "inner", "ip -4 addr")
    assert "default" not in inside(there, "inner", "ip route")
    assert inside(there, "inner", "ip -4 addr") == inside(there, "guest", "ip -4 addr")
    assert inside(there, "alone", "ls /sys/class/net") == "lo\n"
    inside(there, "inner", "nslookup page | grep Address")
    inside(there, "alone", "nc -w 1 10.211.7.1 18601", code=1)


def test_volumes(there):
    assert inside(there, "data", "cat /part/file /files/note") == "part\nfrom the host\n"
    assert "Read-only" in inside(there, "data", "touch /files/x 2>&1", code=1)
    inside(there, "data", "echo mine > /scratch/x && echo mine > /data/x")
    names = {item["name"]: item for item in there.run("volume", "ls", "--json").json}
    assert "everything_data" in names and len(names) == 2


def test_secrets_and_configs(there):
    assert inside(there, "secret", "cat $TOKEN_FILE") == SECRET
    assert inside(there, "secret", "stat -c '%a %u %g' /run/other") == "440 1000 1000\n"
    said = inside(there, "secret", "cat /etc/settings; echo \"$PLAIN|$EMPTY|$FROM_FILE\"")
    assert said == "answer = 42\na b  c||yes\n"
    pid = row(there, "secret")["pid"]
    with open(f"/proc/{pid}/environ", "rb") as file:
        assert SECRET.encode() not in file.read()
    for words in (("plan", "--json"), ("config",), ("config", "--json"), ("history", "--json")):
        assert SECRET not in there.run(*words).stdout, words
    for part in ("environments", "cache", "volumes"):
        for directory, _, names in os.walk(os.path.join(there.home, part)):
            for path in (os.path.join(directory, name) for name in names):
                if os.path.isfile(path):
                    with open(path, "rb") as file:
                        assert SECRET.encode() not in file.read(), path


def test_limits(there):
    assert inside(there, "limited", "ulimit -n; ulimit -Hn; ulimit -c") == "100\n200\n0\n"
    assert inside(there, "limited", "cd /proc/sys/net; cat core/somaxconn ipv4/ip_unprivileged_port_start") == "77\n0\n"
    assert " 2048 " in inside(there, "limited", "df -k /dev/shm")
    assert inside(there, "limited", "cat /proc/1/oom_score_adj") == "300\n"
    usage = next(item for item in there.run("stats", "--no-stream", "--json").json if "limited" in item["address"])
    assert usage["memory_limit"] == 24 << 20


def test_out_of_memory_is_said(failing):
    found = until(lambda: row(failing, "hungry")["state"] == "exited" and row(failing, "hungry"))
    assert found["exit_code"] == 137
    assert "OOM" in failing.run("ps", "--all").stdout


def test_a_fork_bomb_stops_at_its_limit(there):
    usage = {item["address"]: item["pids"] for item in there.run("stats", "--no-stream", "--json").json}
    assert usage.get("service.bomb", 0) <= 30
    inside(there, "page", "true")


def test_users_and_privileges(there):
    assert inside(there, "named", "id -u; id -G; pwd; hostname") == "1000\n1000 65534\n/home\nboss\n"
    assert inside(there, "numbered", "id -u; id -g") == "1234\n5678\n"
    assert inside(there, "named", "id -un", "-u", "root") == "root\n"
    assert inside(there, "named", "pwd; echo $X", "-w", "/tmp", "-e", "X=y") == "/tmp\ny\n"
    with open(f"/proc/{row(there, 'capable')['pid']}/status", encoding="ascii") as file:
        status = dict(line.split(":\t", 1) for line in file.read().splitlines() if ":\t" in line)
    assert int(status["CapBnd"], 16) == 1 << 12
    assert status["NoNewPrivs"] == "1" and status["Seccomp"] == "2"


def test_the_root_is_read_only(there):
    for path in ("/x", "/etc/x", "/bin/x", "/usr/x"):
        said = inside(there, "page", f"touch {path} 2>&1; true").strip()
        assert said.endswith(("Read-only file system", "No such file or directory"))
    inside(there, "writer", "touch /x /etc/x && rm /x /etc/x")


def test_the_host_and_the_others_are_out_of_reach(there):
    for path in (there.home, there.directory, "/work", "/var/lib/envkit"):
        inside(there, "writer", f"ls {path}", code=1 if path.startswith("/") else 0)
    assert inside(there, "writer", "ls /proc | grep -c '^[0-9]'") < "9"
    inside(there, "writer", "mount -t tmpfs none /tmp", code=1)
    inside(there, "writer", "echo 1 > /proc/sys/kernel/panic", code=1)
    inside(there, "writer", "cat /proc/kcore | head -c 1 | grep -q .", code=1)
    inside(there, "writer", "mknod /sda b 8 0", code=1)
    inside(there, "writer", "chroot /proc/1/root ls /files", code=1)


def test_restarts_end(failing):
    assert (row(failing, "once")["state"], row(failing, "once")["exit_code"]) == ("exited", 5)
    found = until(lambda: row(failing, "unstable")["state"] == "exited" and row(failing, "unstable"))
    assert found["exit_code"] == 3
    said = [line for line in failing.run("logs", "unstable").stdout.splitlines() if line.endswith("again")]
    assert len(said) == 3, "on-failure:2 is one start and two more"


def test_signals_and_grace(project):
    there = project({"envkit.yaml": STOPPING})
    there.run("apply").assert_success()
    there.run("stop", "polite", "stubborn").assert_success()
    assert row(there, "polite")["exit_code"] == 0
    assert "had SIGUSR1" in there.run("logs", "polite").stdout
    assert row(there, "stubborn")["exit_code"] == 137
    there.run("start", "polite", "stubborn").assert_success()
    assert row(there, "polite")["state"] == "running"


def test_logs(failing):
    lines = failing.run("logs", "--tail", "1", "unstable").assert_success().stdout.splitlines()
    assert len(lines) == 1
    stamped = failing.run("logs", "-t", "--tail", "1", "unstable").stdout
    assert re.search(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d", stamped)
    assert failing.run("logs", "--since", "1s", "once").assert_success().stdout == ""


def test_a_one_off(there):
    there.run("run", "--rm", "writer", "sh", "-c", "exit 7").assert_code(7)


def test_one_variable_replaces_one_service(project):
    text = "name: variable\nservices:\n" + "".join(
        f"  {name}: {{image: 'box:1', command: [sleep, '99'], environment: {{X: {value}}}}}\n"
        for name, value in (("a", "'1'"), ("b", "'${X:-1}'"), ("c", "'1'"))
    )
    there = project({"envkit.yaml": text})
    there.run("apply").assert_success()
    before = {item["service"]: item["id"] for item in there.run("ps", "--json").json}
    there.write({".env": "X=2\n"})
    planned = there.run("plan", "--json").json
    assert [item["address"] for item in planned["changes"] if item["action"] != "noop"] == ["service.b"]
    there.run("apply").assert_success()
    after = {item["service"]: item["id"] for item in there.run("ps", "--json").json}
    assert [name for name in after if after[name] != before[name]] == ["b"]
