"""A Swarm of real nodes on one machine: a dockerd each, in network namespaces that a bridge in a hub namespace joins.

Each daemon has its own sockets, data, host name and mount namespace, so that what it mounts goes with its processes.
Everything is stopped by pid; afterwards no process, namespace, link or control group is left.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from envkit.backend.engine_api import Engine, EngineAddress
from envkit.errors import EnvkitError

_NET = "192.168.231"


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True, timeout=20)


class Node:
    """One dockerd. address: in the hub's network; socket: its API."""

    def __init__(self, cluster: Swarm, number: int) -> None:
        self.name, self.number = f"node{number}", number
        self.netns = f"{cluster.tag}{number}"
        self.link = f"v{cluster.tag}{number}"
        self.address = f"{_NET}.{number}"
        self.folder = cluster.folder / str(number)
        self.socket = self.folder / "docker.sock"
        self._cluster = cluster
        self._process: subprocess.Popen[bytes] | None = None
        self.engine = Engine(EngineAddress(self.url))

    @property
    def url(self) -> str:
        return f"unix://{self.socket}"

    def connect(self) -> None:
        """Make the namespace and its link to the hub."""
        hub, inside = self._cluster.hub, f"w{self.link}"
        _ip("netns", "add", self.netns)
        _ip("-n", hub, "link", "add", self.link, "type", "veth", "peer", "name", inside)
        _ip("-n", hub, "link", "set", inside, "netns", self.netns, "name", "eth0")
        _ip("-n", hub, "link", "set", self.link, "master", "br0", "up")
        _ip("-n", self.netns, "link", "set", "lo", "up")
        _ip("-n", self.netns, "address", "add", f"{self.address}/24", "dev", "eth0")
        _ip("-n", self.netns, "link", "set", "eth0", "up")
        _ip("-n", self.netns, "route", "add", "default", "via", f"{_NET}.254")

    def start(self) -> None:
        """Start the daemon; `ready` waits for it."""
        self.folder.mkdir(parents=True, exist_ok=True)
        settings = {
            "data-root": str(self.folder / "data"), "exec-root": str(self.folder / "exec"),
            "pidfile": str(self.folder / "pid"), "hosts": [self.url], "storage-driver": "overlay2",
            "userland-proxy": False, "oom-score-adjust": 0, "insecure-registries": [f"{_NET}.0/24"],
            "cgroup-parent": f"/{self._cluster.tag}", "exec-opts": ["native.cgroupdriver=cgroupfs"],
        }  # fmt: skip
        (self.folder / "daemon.json").write_text(json.dumps(settings))
        script = f"hostname {self.name}; exec dockerd --config-file {self.folder}/daemon.json"
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                ["nsenter", f"--net=/run/netns/{self.netns}", "unshare", "--uts", "--mount", "--propagation", "private",
                 "sh", "-c", script], stdout=log, stderr=log, stdin=subprocess.DEVNULL, start_new_session=True,
            )  # fmt: skip

    def ready(self) -> None:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            assert self._process is not None
            if self._process.poll() is not None:
                break
            with suppress(EnvkitError):
                Engine(EngineAddress(self.url)).get("/info", timeout=5)
                return
            time.sleep(0.1)
        raise RuntimeError(f"dockerd did not start:\n{(self.folder / 'log').read_text(errors='replace')[-3000:]}")

    def kill(self) -> None:
        """End the daemon, its containerd, shims and containers at once, as a loss of power does."""
        pids = _below(str(self.folder))
        for _ in range(20):
            for pid in pids:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            if self._process is not None:
                with suppress(subprocess.TimeoutExpired):
                    self._process.wait(0.2)
            pids = _below(str(self.folder))
            if not pids:
                break
            time.sleep(0.05)
        if self._process is not None:
            self._process.wait(20)
        self._process = None
        for leftover in ("pid", "docker.sock"):
            with suppress(FileNotFoundError):
                (self.folder / leftover).unlink()

    def cut(self) -> None:
        """Take it off the network."""
        _ip("-n", self._cluster.hub, "link", "set", self.link, "down")

    def mend(self) -> None:
        _ip("-n", self._cluster.hub, "link", "set", self.link, "up")

    def docker(self, *words: str) -> str:
        """What the docker command says against this node."""
        done = subprocess.run(
            ["docker", "-H", self.url, *words], capture_output=True, text=True, timeout=120, check=False,
            env={**os.environ, "DOCKER_CONFIG": str(self.folder / "client")},
        )  # fmt: skip
        assert done.returncode == 0, f"docker {' '.join(words)}: {done.stderr}"
        return done.stdout.strip()


class Swarm:
    """A running cluster: the first `managers` nodes are managers."""

    def __init__(self, count: int = 3, *, managers: int = 1) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="eks", dir="/var/tmp"))
        self.tag = f"eks{self.folder.name[-4:]}"
        self.hub = f"{self.tag}h"
        self.nodes = [Node(self, number) for number in range(1, count + 1)]
        self.registry = ""
        self._registry: subprocess.Popen[bytes] | None = None
        self._managers = managers
        try:
            self._start()
        except BaseException:
            self.stop()
            raise

    @property
    def manager(self) -> Node:
        return self.nodes[0]

    def _start(self) -> None:
        _ip("netns", "add", self.hub)
        _ip("-n", self.hub, "link", "set", "lo", "up")
        _ip("-n", self.hub, "link", "add", "br0", "type", "bridge")
        _ip("-n", self.hub, "address", "add", f"{_NET}.254/24", "dev", "br0")
        _ip("-n", self.hub, "link", "set", "br0", "up")
        for node in self.nodes:
            node.connect()
            node.start()
        for node in self.nodes:
            node.ready()
        address = f"{self.manager.address}:2377"
        self.manager.engine.post("/swarm/init", {"ListenAddr": address, "AdvertiseAddr": self.manager.address})
        tokens = self.manager.engine.get("/swarm")["JoinTokens"]
        for node in self.nodes[1:]:
            role = "Manager" if node.number <= self._managers else "Worker"
            node.engine.post("/swarm/join", {
                "ListenAddr": f"{node.address}:2377", "AdvertiseAddr": node.address, "RemoteAddrs": [address],
                "JoinToken": tokens[role],
            })  # fmt: skip
        self.until(lambda: all(row["Status"]["State"] == "ready" for row in self.rows()), "all nodes are ready")

    def rows(self) -> list[dict[str, Any]]:
        """The nodes as the manager sees them."""
        found: list[dict[str, Any]] = self.manager.engine.get("/nodes")
        return found if len(found) == len(self.nodes) else [{"Status": {"State": "joining"}}]

    def until(self, holds: Any, what: str, seconds: float = 60) -> None:
        deadline = time.monotonic() + seconds
        while not holds():
            assert time.monotonic() < deadline, f"not within {seconds:g} s: {what}"
            time.sleep(0.1)

    def node_named(self, name: str) -> Node:
        return next(node for node in self.nodes if node.name == name)

    def start_registry(self) -> str:
        """A registry in the hub's network that the daemons trust; its HOST:PORT."""
        place = self.folder / "registry"
        place.mkdir()
        self.registry = f"{_NET}.254:5000"
        settings = {
            "version": "0.1", "storage": {"filesystem": {"rootdirectory": str(place / "data")}},
            "http": {"addr": self.registry, "secret": "tests"},
        }  # fmt: skip
        (place / "config.yml").write_text(json.dumps(settings))
        with (place / "log").open("wb") as log:
            self._registry = subprocess.Popen(
                [*self.inside(), "docker-registry", "serve", str(place / "config.yml")], stdin=subprocess.DEVNULL,
                stdout=log, stderr=log,
            )  # fmt: skip
        probe = [*self.inside(), "curl", "-sf", f"http://{self.registry}/v2/"]
        self.until(lambda: subprocess.run(probe, capture_output=True, check=False).returncode == 0, "the registry", 20)
        return self.registry

    def inside(self) -> list[str]:
        """The words that run a command in the hub's network, where every node can be reached."""
        return ["nsenter", f"--net=/run/netns/{self.hub}"]

    def fetch(self, url: str, seconds: float = 20) -> str:
        """The content of a URL, asked from the hub, again until it answers."""
        deadline = time.monotonic() + seconds
        while True:
            done = subprocess.run(
                [*self.inside(), "curl", "-sf", "--max-time", "3", url], capture_output=True, text=True, check=False
            )
            if done.returncode == 0:
                return done.stdout
            assert time.monotonic() < deadline, f"{url} does not answer"
            time.sleep(0.1)

    def stop(self) -> None:
        for node in self.nodes:
            node.kill()
        if self._registry is not None:
            self._registry.kill()
            self._registry.wait(10)
        for name in (*(node.netns for node in self.nodes), self.hub):
            if os.path.exists(f"/run/netns/{name}"):
                _ip("netns", "delete", name)
        _remove_groups(self.tag)
        shutil.rmtree(self.folder, ignore_errors=True)
        left = _left(self.folder, self.tag)
        assert not left, f"a Swarm leaves behind: {left}"


@contextmanager
def swarm(count: int = 3, *, managers: int = 1) -> Iterator[Swarm]:
    cluster = Swarm(count, managers=managers)
    try:
        yield cluster
    finally:
        cluster.stop()


def _below(folder: str) -> list[int]:
    """The processes that name a path below folder, and all that descend from them."""
    parents: dict[int, int] = {}
    found: set[int] = set()
    for name in os.listdir("/proc"):
        if not name.isdigit():
            continue
        with suppress(OSError, ValueError):
            with open(f"/proc/{name}/stat", encoding="utf-8", errors="replace") as file:
                state, parent = file.read().rpartition(")")[2].split()[:2]
            with open(f"/proc/{name}/cmdline", "rb") as file:
                words = file.read().decode(errors="replace")
            if state != "Z":
                parents[int(name)] = int(parent)
                if f"{folder}/" in words:
                    found.add(int(name))
    while more := {pid for pid, parent in parents.items() if parent in found} - found:
        found |= more
    return sorted(found - {os.getpid()})


def _groups(tag: str) -> Sequence[str]:
    top = "/sys/fs/cgroup"
    return [path for name in ("", *os.listdir(top)) if os.path.isdir(path := os.path.join(top, name, tag))]


def _remove_groups(tag: str) -> None:
    for _ in range(50):
        for group in _groups(tag):
            for directory, _, _ in os.walk(group, topdown=False):
                with suppress(OSError):
                    os.rmdir(directory)
        if not _groups(tag):
            return
        time.sleep(0.1)


def _left(folder: Path, tag: str) -> str:
    found = [f"process {pid}" for pid in _below(str(folder))]
    found += [f"namespace {name}" for name in os.listdir("/run/netns") if name.startswith(tag)]
    found += [f"link {name}" for name in os.listdir("/sys/class/net") if tag in name]
    found += [f"control group {path}" for path in _groups(tag)]
    found += [str(folder)] if folder.exists() else []
    return ", ".join(found)
