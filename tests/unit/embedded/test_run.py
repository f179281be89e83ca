"""One-offs: made from a service, joined to our stdio, gone afterwards."""

import os
import pty
import select
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from envkit.backend import oneoff, terminal
from envkit.backend.base import RunRequest
from envkit.backend.embedded import instance, supervision, volumes
from envkit.backend.embedded import record as records
from envkit.backend.embedded.discard import discard_all
from envkit.errors import EnvkitError, NotFoundError, UsageError
from envkit.events import ignore
from envkit.host import proc
from envkit.host.home import Home
from envkit.host.lock import Lock
from envkit.host.namespace import Engine
from envkit.spec.environment import Environment
from tests.support.isolation import isolated
from tests.support.stage import Stage
from tests.unit.embedded.handmade import wait_for

root = pytest.mark.root


@contextmanager
def staged(path: Path, **service: Any) -> Iterator[tuple[Stage, Environment]]:
    stage = Stage(Home(str(path / "home")))
    stage.image()
    engine = Engine(stage.home)
    engine.enter()
    environment = stage.environment({"job": {"command": ["/bin/sh", "-c", "echo ran"], **service}})
    try:
        yield stage, environment
    finally:
        discard_all(stage.home, stage.name)
        if supervision.is_running(stage.home, stage.name):
            pid = int((Lock(supervision.lock_path(stage.home, stage.name)).holder() or {}).get("pid", 0))
            proc.kill_and_wait([pid], 5)
        stage.down(environment, volumes=True)
        stage.backend.maintain(stage.name)  # what was cut off above is finished
        engine.release()


def run(stage: Stage, made: Environment, *argv: str, **options: Any) -> int:
    request = RunRequest("job", argv, **{"stdin": False, **options})
    return stage.backend.run(made, request, materials=stage.supply, emit=ignore)


def output(stage: Stage, made: Environment, *argv: str, feed: bytes | None = None, **options: Any) -> bytes:
    """What a one-off writes to a pipe, while another process feeds its stdin."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(read)
        source, sink = os.pipe()
        os.dup2(source, 0)
        os.dup2(write, 1)
        os.close(write)
        feeder = os.fork()
        if feeder == 0:
            os.dup2(sink, 5)
            os.close(0)
            if sink != 5:
                os.close(sink)
            os.close(1)
            os.write(5, feed or b"")
            os._exit(0)
        os.close(sink)
        os.close(source)
        os._exit(run(stage, made, *argv, stdin=feed is not None, **options))
    os.close(write)
    with os.fdopen(read, "rb") as file:
        data = file.read()
    os.waitpid(child, 0)
    return data


@root
@isolated
def test_output_exit_code_and_no_trace(tmp_path: Path) -> None:
    with staged(tmp_path, environment={"A": "1", "B": "2"}) as (stage, environment):
        assert output(stage, environment) == b"ran\n"
        assert run(stage, environment, "sh", "-c", "exit 7") == 7
        assert run(stage, environment, "sh", "-c", "kill -9 $$; exit 1") == 1
        assert output(stage, environment, "sh", "-c", "echo $A $B", environment={"B": "3"}) == b"1 3\n"
        assert output(stage, environment, "-c", "id -u; pwd", entrypoint="sh", user="app",
                      working_dir="/tmp") == b"1000\n/tmp\n"  # fmt: skip
        assert output(stage, environment, "seq", "1", "30000").count(b"\n") == 30000
        assert output(stage, environment, "cat", feed=b"x" * 30000) == b"x" * 30000
        with pytest.raises(EnvkitError, match="cannot be created"):
            run(stage, environment, "no-such-program")
        assert records.load_all(stage.home, stage.name) == []
        assert stage.backend.observe(environment).resources.keys() == set()


@root
@isolated
def test_it_is_no_part_of_the_plan_and_may_stay(tmp_path: Path) -> None:
    with staged(tmp_path) as (stage, environment):
        assert run(stage, environment, "sleep", "100", detach=True, remove=False, name="mine") == 0
        (record,) = records.load_all(stage.home, stage.name)
        assert (record.name, record.oneoff, record.restart) == ("mine", True, {"policy": "no"})
        assert instance.status(record).is_alive
        assert not stage.backend.observe(environment).resources
        with pytest.raises(EnvkitError, match="name is taken"):
            run(stage, environment, "true", name="mine")
        discard_all(stage.home, stage.name)
        assert records.load_all(stage.home, stage.name) == []


@root
@isolated
def test_a_detached_one_that_is_to_be_removed_is_removed_by_the_supervisor(tmp_path: Path) -> None:
    with staged(tmp_path) as (stage, environment):
        assert run(stage, environment, "sleep", "0.3", detach=True, volumes=("/scratch",)) == 0
        assert volumes.load_all(stage.home, stage.name)
        wait_for(lambda: not records.load_all(stage.home, stage.name), "its removal")
        wait_for(lambda: not volumes.load_all(stage.home, stage.name), "the removal of its volume")
        wait_for(lambda: not supervision.is_running(stage.home, stage.name), "the end of the supervisor")


@root
@isolated
def test_interrupts_and_a_terminal(tmp_path: Path) -> None:
    with staged(tmp_path) as (stage, environment):
        child = os.fork()
        if child == 0:
            os._exit(run(stage, environment, "sleep", "100"))
        wait_for(lambda: [r for r in records.load_all(stage.home, stage.name) if r.complete], "the one-off")
        select.select([], [], [], 0.3)
        for _ in range(2):
            os.kill(child, signal.SIGINT)
            select.select([], [], [], 0.2)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 137
        pid, master = pty.fork()
        if pid == 0:
            script = "tty; read x; stty size; echo got $x; exit 4"
            os._exit(run(stage, environment, "sh", "-c", script, tty=True, stdin=True))
        text = b""
        while b"/dev/pts" not in text:
            text += os.read(master, 1000)
        terminal.set_size(master, 31, 97)
        select.select([], [], [], 0.2)
        os.write(master, b"word\r")
        while b"got word" not in text:
            text += os.read(master, 1000)
        assert b"31 97" in text
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 4
        os.close(master)
        pid, master = pty.fork()
        if pid == 0:
            os._exit(run(stage, environment, "sh", "-c", "echo up; cat", tty=True, stdin=True))
        text = b""
        while b"up" not in text:
            text += os.read(master, 1000)
        os.write(master, b"\x10\x11")  # the detach keys
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
        os.close(master)
        (record,) = records.load_all(stage.home, stage.name)
        assert instance.status(record).is_alive


@root
@isolated
def test_it_goes_with_the_environment(tmp_path: Path) -> None:
    networks = {"default": {}}
    with staged(tmp_path) as (stage, _):
        spec = {"networks": {"default": {}}, "command": ["/bin/sleep", "100"]}
        environment = stage.environment({"job": spec}, networks=networks)
        assert not stage.apply(environment).errors
        assert run(stage, environment, "sleep", "100", detach=True, remove=False) == 0
        (made,) = [item for item in records.load_all(stage.home, stage.name) if item.oneoff]
        pid = instance.status(made).pid
        assert not stage.apply(environment).errors
        assert proc.is_alive(pid)
        assert not stage.down(environment).errors
        assert not proc.is_alive(pid)
        assert records.load_all(stage.home, stage.name) == []
        assert not supervision.is_running(stage.home, stage.name)


@root
@isolated
def test_what_the_supervisor_starts_again_keeps_its_network(tmp_path: Path) -> None:
    with staged(tmp_path) as (stage, _):
        web = {"networks": {"default": {}}, "command": ["/bin/sleep", "100"], "restart": {"policy": "always"}}
        environment = stage.environment({"job": web}, networks={"default": {}})
        assert not stage.apply(environment).errors
        (record,) = records.load_all(stage.home, stage.name)
        first = instance.status(record).pid

        def route() -> str:
            return Path(f"/proc/{instance.status(record).pid}/net/route").read_text()

        before = route()
        proc.kill_and_wait([first], 5)
        wait_for(lambda: instance.status(record).pid not in (0, first), "the new life")
        assert route() == before
        assert before.count("eth0") >= 2
        wait_for(lambda: not stage.plan(environment).effective, "an empty plan")
        stage.down(environment)


@root
@isolated
def test_names_are_served(tmp_path: Path) -> None:
    with staged(tmp_path) as (stage, _):
        web = {"networks": {"default": {"aliases": ["www"]}}, "command": ["/bin/sleep", "100"]}
        environment = stage.environment({"job": web, "web": web}, networks={"default": {}})
        assert not stage.apply(environment).errors
        gateway = output(stage, environment, "sh", "-c", "ip route | grep default").split()[2].decode()
        wait_for(lambda: b"Address" in output(stage, environment, "nslookup", "www", gateway).partition(b"Name")[2],
                 "an answer from the supervisor")  # fmt: skip
        stage.down(environment)


def test_the_spec_of_a_one_off() -> None:
    service = {
        "image": "app", "command": ["serve"], "container_name": "web", "restart": {"policy": "always"},
        "healthcheck": {"test": ["CMD", "true"]}, "ports": [{"target": 80}], "replicas": 3,
        "networks": {"default": {"aliases": ["www"], "ipv4_address": "10.0.0.9", "priority": 3}},
        "mounts": [{"type": "volume", "source": "data", "target": "/data"}],
    }  # fmt: skip
    made = oneoff.spec_of(service, RunRequest("web"), "/project")
    assert made == {
        "image": "app", "command": ["serve"], "tty": False, "stdin_open": True,
        "networks": {"default": {"priority": 3}}, "mounts": service["mounts"],
    }  # fmt: skip
    request = RunRequest(
        "web", ("other",), entrypoint="sh -c", service_ports=True, publish=("8080:81/udp",),
        volumes=("./here:/data:ro", "/x"), use_aliases=True, user="app", detach=True,
    )  # fmt: skip
    made = oneoff.spec_of(service, request, "/project")
    assert (made["entrypoint"], made["command"], made["user"], made["stdin_open"]) == (
        ["sh", "-c"], ["other"], "app", False,
    )  # fmt: skip
    assert made["ports"] == [{"target": 80}, {"target": 81, "published": "8080", "protocol": "udp", "host_ip": ""}]
    assert made["mounts"] == [
        {"type": "bind", "target": "/data", "source": "/project/here", "read_only": True, "create_host_path": True},
        {"type": "volume", "target": "/x"},
    ]  # fmt: skip
    assert made["networks"]["default"]["aliases"] == ["www"]
    assert made["use_aliases"]
    for bad in ({"publish": ("x:y",)}, {"volumes": ("a:b:c:d",)}):
        with pytest.raises(UsageError):
            oneoff.spec_of(service, RunRequest("web", **bad), "/project")  # type: ignore[arg-type]


@root
@isolated
def test_an_unknown_service(tmp_path: Path) -> None:
    with staged(tmp_path) as (stage, environment), pytest.raises(NotFoundError):
        stage.backend.run(environment, RunRequest("nobody"), materials=stage.supply, emit=ignore)
