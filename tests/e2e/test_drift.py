"""Foreign hands on a running environment: each is named exactly, and by nothing else; apply mends it; then there is
nothing to do."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest

from envkit.backend.embedded.runtime import runtime_of
from envkit.host.cgroups import Cgroups
from envkit.host.home import Home
from envkit.host.mountinfo import mount_table
from tests.support.boxes import LOOP
from tests.support.instances import until
from tests.support.project import Project

pytestmark = pytest.mark.root

FILES = {
    "envkit.yaml": f"""
        name: drift
        services:
          web:
            image: box:1
            command: [/bin/sh, -c, "{LOOP}"]
            environment: {{COLOUR: green}}
            ports: ["18490:80"]
            volumes: ["data:/data", "./notes:/notes:ro"]
            tmpfs: [/scratch]
            secrets: [token]
            configs: [{{source: settings, target: /etc/settings}}]
            oom_score_adj: 100
            ulimits: {{nofile: {{soft: 512, hard: 1024}}}}
            cap_drop: [ALL]
            restart: "no"
            deploy: {{resources: {{limits: {{memory: 64M, pids: 60}}}}}}
          loose:
            image: box:1
            command: [/bin/sh, -c, "{LOOP}"]
            read_only: false
            restart: "no"
            user: "1000:1000"
            volumes: ["memory:/memory"]
        volumes:
          data: {{labels: {{team: blue}}}}
          memory: {{driver_opts: {{type: tmpfs, device: tmpfs, o: "size=1m"}}}}
        secrets: {{token: {{file: ./token}}}}
        configs: {{settings: {{content: "colour = green"}}}}
        networks: {{default: {{}}}}
        """,
    "notes/readme": "read me\n",
    "token": "sesame",
}


ANEW = """
import sys
from envkit.address import Address
from envkit.backend.embedded import conmon, instance, record
from envkit.backend.embedded.runtime import runtime_of
from envkit.backend.embedded.session import engine_of
from envkit.host.home import Home
from envkit.host.mountinfo import mount_table
home = Home(sys.argv[1])
engine_of(home).enter()
found = record.find(home, "drift", Address("service", sys.argv[2]))
instance.kill_all([found])
instance.forget(found)
conmon.create(found, runtime_of(home))
runtime_of(home).start(found.id)
"""
"""Starts an instance from its bundle as it lies there."""


class Hands:
    """What somebody with root can do to the environment without asking envkit."""

    def __init__(self, project: Project) -> None:
        self.project, self.home = project, Home(project.home)

    def row(self, service: str = "web") -> dict[str, Any]:
        return next(row for row in self.project.run("ps", "--json").json if row["service"] == service)

    def record(self, name: str, service: str = "web") -> str:
        return os.path.join(self.home.instances("drift"), f"{service}.1", name)

    def sh(self, script: str, service: str = "web", **more: str) -> None:
        """A shell's script; PID, ID, REC and HOME of the installation are set."""
        row = self.row(service)
        names = {"PID": str(row["pid"]), "ID": row["id"], "REC": self.record("", service).rstrip("/"),
                 "AT": self.home.root, **more}  # fmt: skip
        subprocess.run(["sh", "-ec", script], env={**os.environ, **names}, check=True, timeout=30, capture_output=True)

    def groups(self) -> list[str]:
        """The directories of web's control group, one per hierarchy."""
        path = Cgroups.of(self.home).path_for("drift", self.row()["id"]).lstrip("/")
        roots = ("/sys/fs/cgroup", *(f"/sys/fs/cgroup/{name}" for name in os.listdir("/sys/fs/cgroup")))
        return [f"{root}/{path}" for root in roots if os.path.isdir(f"{root}/{path}")]

    def write_limit(self, names: tuple[str, ...], value: str) -> None:
        """Write the first of the control group's files that there is."""
        path = next(f"{group}/{name}" for name in names for group in self.groups() if os.path.exists(f"{group}/{name}"))
        with open(path, "w", encoding="ascii") as file:
            file.write(value)

    def rebuild(self, service: str, change: Callable[[dict[str, Any]], None]) -> None:
        """Change the bundle, and start the container anew behind envkit's back, under a monitor as before."""
        path = self.record("config.json", service)
        with open(path, encoding="utf-8") as file:
            kept = file.read()
        config = json.loads(kept)
        change(config)
        with open(path, "w", encoding="utf-8") as file:
            json.dump(config, file)
        subprocess.run([sys.executable, "-c", ANEW, self.home.root, service], check=True, timeout=30)
        until(lambda: b"/bin/sh" in _cmdline(self.row(service)["pid"]))
        with open(path, "w", encoding="utf-8") as file:
            file.write(kept)


def _cmdline(pid: int) -> bytes:
    with open(f"/proc/{pid}/cmdline", "rb") as file:
        return file.read()


def nsenter(script: str, spaces: str = "-m", service: str = "web") -> Callable[[Hands], None]:
    return lambda hands: hands.sh(f"nsenter -t $PID {spaces} {script}", service)


def grant(config: dict[str, Any]) -> None:
    for names in config["process"]["capabilities"].values():
        names.append("CAP_NET_RAW")


def unconfine(config: dict[str, Any]) -> None:
    config["annotations"] = {}
    config["linux"].pop("seccomp", None)


def kill(hands: Hands) -> None:
    os.kill(hands.row()["pid"], signal.SIGKILL)
    until(lambda: hands.row()["state"] == "exited")


def rebuilt(change: Callable[[dict[str, Any]], Any], service: str = "web") -> Callable[[Hands], None]:
    return lambda hands: hands.rebuild(service, lambda config: change(config) and None)


def veth(verb: str) -> Callable[[Hands], None]:
    return lambda hands: hands.sh(f"ip link {verb.format('ev${ID}0')}")


def address(hands: Hands) -> str:
    with open(hands.record("record.json"), encoding="utf-8") as file:
        return str(json.load(file)["networks"]["default"]["ipv4"])


def take_address(hands: Hands) -> None:
    hands.sh("nsenter -t $PID -n ip -4 addr flush dev eth0")


def table(verb: str) -> Callable[[Hands], None]:
    def act(hands: Hands) -> None:
        name = f"envkit-{hands.home.tag}-drift"
        subprocess.run(["nft", *verb.format(name).split()], check=True)

    return act


def bridge(hands: Hands) -> str:
    with open(os.path.join(hands.home.environment("drift"), "network.json"), encoding="utf-8") as file:
        return str(json.load(file)["networks"]["default"]["bridge"])


def volume_record(name: str, change: Callable[[dict[str, Any]], None]) -> Callable[[Hands], None]:
    """Edit a volume's record by hand."""

    def act(hands: Hands) -> None:
        path = f"{hands.home.volumes}/drift_{name}/volume.json"
        with open(path, encoding="utf-8") as file:
            value = json.load(file)
        change(value["spec"])
        with open(path, "w", encoding="utf-8") as file:
            json.dump(value, file)

    return act


def in_engine(script: str, service: str = "web") -> Callable[[Hands], None]:
    """A script in the engine's mount namespace; MINE is the directory with the instance's secrets and configs."""
    inner = "MINE=$AT/run/environments/drift/materials/$ID; " + script
    return lambda hands: hands.sh(f"nsenter -t $(cat $REC/conmon.pid) -m sh -ec '{inner}'", service)


def other_layers(hands: Hands) -> None:
    """The container is started anew on a root that has one layer more."""
    with open(hands.record("config.json"), encoding="utf-8") as file:
        root = json.load(file)["root"]["path"]
    with open(hands.record("conmon.pid"), encoding="utf-8") as file:
        row = next(row for row in mount_table(int(file.read())) if row.target == root)
    lowers = ":".join(item.partition("=")[2] for item in row.super_options.split(",") if item.startswith("lowerdir"))
    inside = "mkdir -p $AT/run/foreign/root; nsenter -t $(cat $REC/conmon.pid) -m"
    hands.sh(f"{inside} mount -r -t overlay -o lowerdir=$AT/run/foreign:$LOWERS none $AT/run/foreign/root",
             LOWERS=lowers)  # fmt: skip
    hands.rebuild("web", lambda config: config["root"].update(path=f"{hands.home.run}/foreign/root"))
    hands.sh(f"{inside} umount -l $AT/run/foreign/root; rmdir $AT/run/foreign/root $AT/run/foreign")


WEB = "service.web"
MEMORY = ("memory.max", "memory.limit_in_bytes")
AGAIN = "mount -o remount,bind,"
KINDS: dict[str, tuple[Callable[[Hands], None], set[str]]] = {
    "a process that was killed": (kill, {f"{WEB} state"}),
    "a container that was deleted with crun": (
        lambda hands: hands.sh(" ".join(runtime_of(hands.home).command("delete", "-f", "$ID"))), {f"{WEB} state"},
    ),
    "a process that was frozen": (
        lambda hands: Cgroups.of(hands.home).freeze(Cgroups.of(hands.home).path_for("drift", hands.row()["id"])),
        {f"{WEB} state"},
    ),
    "a monitor that was killed": (lambda hands: hands.sh("kill -9 $(cat $REC/conmon.pid)"), {f"{WEB} monitor"}),
    "less memory": (
        lambda hands: hands.write_limit(MEMORY, str(32 << 20)), {f"{WEB} limits.memory"},
    ),
    "more processes": (lambda hands: hands.write_limit(("pids.max",), "500"), {f"{WEB} limits.pids"}),
    "a process in another control group": (
        lambda hands: hands.sh(
            "for at in /sys/fs/cgroup/pids/cgroup.procs /sys/fs/cgroup/cgroup.procs; do"
            " [ -e $at ] && echo $PID > $at && exit; done"
        ), {f"{WEB} process.cgroup"},
    ),
    "a volume that was unmounted": (nsenter("umount /data"), {f"{WEB} mounted[/data]"}),
    "a volume that can be read only": (nsenter(f"{AGAIN}ro none /data"), {f"{WEB} mounted[/data].read_only"}),
    "a bind that can be written": (nsenter(f"{AGAIN}rw none /notes"), {f"{WEB} mounted[/notes].read_only"}),
    "a mount over a volume": (nsenter("mount -t tmpfs none /data"), {f"{WEB} mounted[/data].source"}),
    "a further mount": (nsenter("mount -t tmpfs none /home"), {f"{WEB} mounted[/home]"}),
    "a masked file that is bare": (nsenter("umount /proc/keys"), {f"{WEB} mounted[/proc/keys]"}),
    "set-user-ID programs allowed on a tmpfs": (
        nsenter(f"{AGAIN}nodev,noexec none /scratch"), {f"{WEB} mounted[/scratch].options"},
    ),
    "a root that can be written": (nsenter(f"{AGAIN}rw none /"), {f"{WEB} root.read_only"}),
    "a root that can be read only": (
        nsenter(f"{AGAIN}ro none /", service="loose"), {"service.loose root.read_only"},
    ),
    "another host name": (nsenter("hostname intruder", "-u"), {f"{WEB} process.hostname"}),
    "an address taken": (take_address, {f"{WEB} interfaces.default.address"}),
    "an address given": (nsenter("ip addr add 198.51.100.7/24 dev eth0", "-n"), {
        f"{WEB} interfaces.foreign[198.51.100.7/24]"}),
    "an interface that is down": (nsenter("ip link set eth0 down", "-n"), {f"{WEB} interfaces.default.state"}),
    "no default route": (nsenter("ip route del default", "-n"), {f"{WEB} routes.default"}),
    "another default route": (
        lambda hands: hands.sh("nsenter -t $PID -n ip route replace default via $GATE", GATE=_neighbour(hands)),
        {f"{WEB} routes.default"},
    ),
    "a link out of its bridge": (veth("set {} nomaster"), {f"{WEB} networks.default"}),
    "a link that is gone": (veth("del {}"), {f"{WEB} networks.default"}),
    "a bridge that is down": (
        lambda hands: subprocess.run(["ip", "link", "set", bridge(hands), "down"], check=True) and None,
        {"network.default bridge"},
    ),
    "rules that are gone": (table("delete table inet {}"), {"network.default rules", f"{WEB} published.18490/tcp"}),
    "another limit of open files": (
        lambda hands: hands.sh("prlimit --pid $PID --nofile=64:64"), {f"{WEB} process.ulimits.nofile"},
    ),
    "a process that is killed first": (
        lambda hands: hands.sh("echo 700 > /proc/$PID/oom_score_adj"), {f"{WEB} process.oom_score_adj"},
    ),
    "a bundle that was edited": (lambda hands: hands.sh("sed -i s/green/black/ $REC/config.json"), {f"{WEB} bundle"}),
    "a hosts file that was removed": (lambda hands: hands.sh("rm $REC/hosts"), {f"{WEB} mounted[/etc/hosts].source"}),
    "another environment": (
        rebuilt(lambda config: config["process"]["env"].append("COLOUR=black")), {f"{WEB} process.environment.COLOUR"},
    ),
    "more capabilities": (rebuilt(grant), {f"{WEB} process.capabilities"}),
    "no seccomp": (rebuilt(unconfine), {f"{WEB} process.seccomp"}),
    "new privileges": (
        rebuilt(lambda config: config["process"].update(noNewPrivileges=False)), {f"{WEB} process.no_new_privileges"},
    ),
    "another user": (
        rebuilt(lambda config: config["process"]["user"].update(uid=1001), "loose"), {"service.loose process.uid"},
    ),
    "a secret that was written by hand": (
        in_engine("echo tell-tale > $MINE/0"), {f"{WEB} mounted[/run/secrets/token].content"},
    ),
    "a secret that everybody can read": (
        in_engine("chmod 644 $MINE/0"), {f"{WEB} mounted[/run/secrets/token].mode"},
    ),
    "a config that was written from inside": (
        nsenter("sh -c 'mount -o remount,bind,rw none /etc/settings && echo red > /etc/settings"
                " && mount -o remount,bind,ro,nosuid,nodev none /etc/settings'"),
        {f"{WEB} mounted[/etc/settings].content"},
    ),
    "a config of somebody else's": (in_engine("chown 7:7 $MINE/1"), {f"{WEB} mounted[/etc/settings].owner"}),
    "a host that was added": (lambda hands: hands.sh("echo 203.0.113.9 evil >> $REC/hosts"), {f"{WEB} etc.hosts"}),
    "another name server": (
        lambda hands: hands.sh("echo nameserver 203.0.113.9 > $REC/resolv.conf"), {f"{WEB} etc.resolv.conf"},
    ),
    "another host name in its file": (
        lambda hands: hands.sh("echo intruder > $REC/hostname", "loose"), {"service.loose etc.hostname"},
    ),
    "a volume's label": (
        volume_record("data", lambda spec: spec["labels"].update(team="red")), {"volume.data labels.team"},
    ),
    "a volume's options": (
        volume_record("memory", lambda spec: spec["driver_opts"].update(o="size=2m")), {"volume.memory driver_opts.o"},
    ),
    "a volume that was mounted otherwise": (
        in_engine("mount -o remount,size=3m $AT/volumes/drift_memory/data", "loose"), {"volume.memory driver_opts.o"},
    ),
    "a root of other layers": (other_layers, {f"{WEB} image_digest"}),
    "a volume that was removed": (
        lambda hands: hands.sh("rm -rf $AT/volumes/drift_data"), {f"{WEB} mounted[/data].source"},
    ),
}  # fmt: skip


def _neighbour(hands: Hands) -> str:
    """Another address of the network than the gateway's."""
    with open(hands.record("record.json", "loose"), encoding="utf-8") as file:
        return str(json.load(file)["networks"]["default"]["ipv4"])


GROUPS = 7
"""The kinds share environments: each is mended before the next one."""


def verdict(hands: Hands, act: Callable[[Hands], None], named: set[str]) -> str:
    """What went otherwise than it should; "" for nothing."""
    try:
        act(hands)
    except subprocess.CalledProcessError as error:
        return f"the hand slipped: {error} {error.stderr}"
    plan = hands.project.run("plan", "--json").assert_success().json
    found = {f"{change['address']} {item['path']}" for change in plan["drift"] for item in change["attributes"]}
    if found != named:
        return f"named were {sorted(found)}: {json.dumps(plan['drift'])}"
    mended = hands.project.run("apply", "--yes")
    again = hands.project.run("plan")
    if mended.code or again.stdout != "No changes. The environment matches envkit.yaml.\n":
        return f"{mended}\n{again}"
    return ""


@pytest.mark.parametrize("group", range(GROUPS))
def test_foreign_hands(project, group):
    hands = Hands(project(FILES))
    hands.project.run("apply").assert_success()
    wrong = {kind: text for kind, rule in list(KINDS.items())[group::GROUPS] if (text := verdict(hands, *rule))}
    assert not wrong, "\n".join(f"{kind}: {text}" for kind, text in wrong.items())


def test_of_many_mounts_and_privileges_are_seen_at_a_glance(project):
    """With more instances than are looked at closely."""
    there = project({
        "envkit.yaml": f"""
            name: many
            services:
              web:
                image: box:1
                command: [/bin/sh, -c, "{LOOP}"]
                restart: "no"
                deploy: {{replicas: 17}}
                tmpfs: [/scratch]
            """,
    })  # fmt: skip
    there.run("apply").assert_success()
    there.run("apply").assert_one_line("No changes. The environment matches envkit.yaml.")
    pid = there.run("ps", "--json").json[11]["pid"]
    subprocess.run(["nsenter", "-t", str(pid), "-m", "umount", "/scratch"], check=True)
    said = there.run("apply").assert_success()
    said.assert_text("mounted[/scratch]", "1 drifted", "1 to update")
    there.run("plan").assert_one_line("No changes. The environment matches envkit.yaml.")


def test_files_in_a_layer_are_named_before_they_are_destroyed(project):
    hands = Hands(project(FILES))
    hands.project.run("apply").assert_success()
    hands.sh("echo x > /proc/$PID/root/tmp/mine", "loose")
    named = hands.project.run("plan", "--replace", "service.loose").assert_success()
    named.assert_text("will be lost", "/tmp/mine", "envkit diff loose")
    plan = hands.project.run("plan", "--replace", "service.loose", "--json").json
    assert [row["files_lost"] for row in plan["changes"]] == [["/tmp/mine"]]
    hands.project.run("plan").assert_one_line("No changes. The environment matches envkit.yaml.")
    lines = hands.project.run("apply", "--replace", "service.loose", "--json").assert_success().json_lines
    assert any("/tmp/mine" in str(line.get("message")) for line in lines)
