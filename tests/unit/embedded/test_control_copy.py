"""start/stop/kill/pause, cp, stats and top with real containers."""

import io
import os
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from envkit.address import Address
from envkit.backend.base import Usage
from envkit.backend.embedded import copy, events, instance, record, stats
from envkit.backend.embedded.control import control
from envkit.errors import ApplyError, ConflictError, EnvkitError, NotFoundError
from envkit.events import Event
from envkit.host.home import Home
from envkit.observed.state import InstanceState
from tests.unit.embedded.handmade import in_engine, log_text, make, supervise, wait_for

pytestmark = pytest.mark.root

FOREVER = ["/bin/sleep", "1000"]
WEB = Address("service", "web")


def act(home: Home, verb: str, *addresses: Address, **options: object) -> list[str]:
    shown: list[str] = []

    def emit(event: Event) -> None:
        shown.append(f"{event.kind} {event.address} {event.action}")

    control(home, "shop", addresses or (WEB,), verb, emit=emit, **options)  # type: ignore[arg-type]
    return shown


def state(home: Home) -> InstanceState:
    found = record.find(home, "shop", WEB)
    assert found is not None
    return instance.status(found).state


def test_the_verbs(tmp_path: Path) -> None:
    def body(home: Home) -> None:
        script = "trap 'echo bye; exit 3' TERM; echo up; while :; do sleep 0.05; done"
        made = make(home, "web", ["/bin/sh", "-c", script], stop_grace=5.0, restart={"policy": "always"})
        supervise(home)
        wait_for(lambda: "up" in log_text(made), "up")
        assert act(home, "stop") == ["started service.web stop", "done service.web stop"]
        assert state(home) is InstanceState.EXITED
        assert instance.status(made).exit_code == 3
        assert "bye" in log_text(made)
        act(home, "stop")
        time.sleep(0.4)
        assert state(home) is InstanceState.EXITED  # the supervisor respects the user's word
        act(home, "start")
        act(home, "start")
        assert state(home) is InstanceState.RUNNING
        act(home, "pause")
        assert state(home) is InstanceState.PAUSED
        act(home, "pause")
        act(home, "unpause")
        act(home, "unpause")
        assert state(home) is InstanceState.RUNNING
        wait_for(lambda: log_text(made).count("up") == 2, "up again")
        first = instance.status(made).pid
        act(home, "restart", timeout=2.0)
        assert state(home) is InstanceState.RUNNING
        assert instance.status(made).pid != first
        act(home, "pause")
        act(home, "kill")
        assert state(home) is InstanceState.EXITED
        time.sleep(0.4)
        assert state(home) is InstanceState.EXITED
        with pytest.raises(ApplyError, match="not running"):
            act(home, "kill")
        with pytest.raises(NotFoundError):
            act(home, "stop", Address("service", "nobody"))
        with pytest.raises(ApplyError, match="no such signal"):
            act(home, "kill", signal="SIGNONSENSE")
        names = [row["event"] for row in events.events(home.environment("shop"))]
        assert {"start", "stop", "die", "pause", "unpause", "restart", "kill"} <= set(names)

    in_engine(tmp_path, body)


def test_a_signal_that_does_not_end_it(tmp_path: Path) -> None:
    def body(home: Home) -> None:
        made = make(home, "web", ["/bin/sh", "-c", "trap 'echo hup' HUP; echo up; while :; do sleep 0.05; done"])
        wait_for(lambda: "up" in log_text(made), "up")
        act(home, "kill", signal="HUP")
        wait_for(lambda: "hup" in log_text(made), "its answer")
        now = record.find(home, "shop", WEB)
        assert now is not None
        assert now.desired == "running"
        assert state(home) is InstanceState.RUNNING

    in_engine(tmp_path, body)


def test_stats_and_top(tmp_path: Path) -> None:
    def body(home: Home) -> None:
        make(home, "web", ["/bin/sh", "-c", "while :; do :; done"])
        make(home, "idle", FOREVER)
        rows: dict[str, Usage] = {}

        def busy() -> bool:  # a loaded machine may give it less for a moment
            rows.update({row.address: row for row in stats.usage(home, "shop")})
            return rows["service.web"].cpu > 0.2

        wait_for(busy, "the loop's share of a processor")
        assert rows["service.idle"].cpu < 0.1
        assert rows["service.idle"].memory > 0
        assert rows["service.idle"].pids == 1
        found = stats.processes(home, "shop", ["idle"])
        assert list(found) == ["service.idle"]
        assert found["service.idle"][0]["CMD"] == "/bin/sleep 1000"
        assert found["service.idle"][0]["UID"] == "root"

    in_engine(tmp_path, body)


def read(home: Home, path: str) -> dict[str, tarfile.TarInfo]:
    data = b"".join(copy.copy_from(home, "shop", WEB, path))
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        return {member.name: member for member in archive}


def content(home: Home, path: str) -> bytes:
    data = b"".join(copy.copy_from(home, "shop", WEB, path))
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        file = archive.extractfile(archive.getmembers()[0])
        assert file is not None
        return file.read()


def tar(*entries: tuple[str, bytes, str | bytes]) -> Iterator[bytes]:
    """(name, type, content or link target) …"""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, kind, value in entries:
            member = tarfile.TarInfo(name)
            member.type, member.mode, member.uid, member.gid, member.mtime = kind, 0o640, 5, 6, 1_000_000
            if isinstance(value, bytes):
                member.size = len(value)
                archive.addfile(member, io.BytesIO(value))
            else:
                member.linkname = value
                archive.addfile(member)
    data = buffer.getvalue()
    return iter([data[:700], data[700:]])


REG, DIR, SYM, LNK = tarfile.REGTYPE, tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE


@pytest.mark.parametrize("running", [True, False])
def test_cp_out_and_in(tmp_path: Path, running: bool) -> None:
    volume, fixed = tmp_path / "volume", tmp_path / "fixed"
    volume.mkdir()
    fixed.mkdir()
    (fixed / "given").write_text("given\n")

    def body(home: Home) -> None:
        made = make(home, "web", FOREVER, mounts=[
            {"destination": "/data", "type": "bind", "source": str(volume), "options": ["rbind", "rw"]},
            {"destination": "/fixed", "type": "bind", "source": str(fixed), "options": ["rbind", "ro"]},
        ])  # fmt: skip
        if not running:
            instance.kill_all([made])
        root = Path(made.root)
        (root / "srv/deep").mkdir()
        (root / "srv/deep/a").write_bytes(b"x" * 100_000)
        os.link(root / "srv/deep/a", root / "srv/deep/b")
        (root / "srv/deep/out").symlink_to("/etc/passwd")
        os.mkfifo(root / "srv/deep/fifo")
        found = read(home, "/srv/deep")
        assert sorted(found) == ["deep", "deep/a", "deep/b", "deep/fifo", "deep/out"]
        assert found["deep/a"].size == 100_000
        assert found["deep/b"].islnk()
        assert found["deep/out"].linkname == "/etc/passwd"
        assert content(home, "/srv/deep/a") == b"x" * 100_000
        assert content(home, "/fixed/given") == b"given\n"
        assert "busybox" in read(home, "/bin").keys() | {name.partition("/")[2] for name in read(home, "/bin")}
        with pytest.raises(NotFoundError):
            read(home, "/srv/nothing")

        copy.copy_to(home, "shop", WEB, "/srv", tar(
            ("new", DIR, ""), ("new/file", REG, b"hello"), ("new/link", SYM, "file"), ("new/hard", LNK, "new/file"),
            ("deep/a", REG, b"short"),
        ))  # fmt: skip
        assert (root / "srv/new/file").read_text() == "hello"
        status = (root / "srv/new/file").stat()
        assert (status.st_uid, status.st_gid, status.st_mode & 0o7777, status.st_mtime) == (5, 6, 0o640, 1_000_000)
        assert (root / "srv/new/hard").stat().st_ino == status.st_ino
        assert os.readlink(root / "srv/new/link") == "file"
        assert (root / "srv/deep/a").read_text() == "short"
        assert (root / "srv/deep/b").stat().st_size == 100_000
        copy.copy_to(home, "shop", WEB, "/data", tar(("into", REG, b"volume")))
        assert (volume / "into").read_text() == "volume"
        with pytest.raises(ConflictError, match="read-only"):
            copy.copy_to(home, "shop", WEB, "/fixed", tar(("x", REG, b"")))
        with pytest.raises(NotFoundError):
            copy.copy_to(home, "shop", WEB, "/srv/nothing", tar(("x", REG, b"")))
        with pytest.raises(NotFoundError):
            copy.copy_to(home, "shop", WEB, "/etc/passwd", tar(("x", REG, b"")))
        with pytest.raises(EnvkitError, match="no tar"):
            copy.copy_to(home, "shop", WEB, "/srv", iter([b"rubbish" * 200]))

    in_engine(tmp_path, body)


def test_cp_never_leaves_the_container(tmp_path: Path) -> None:
    secret = tmp_path / "host-secret"
    secret.write_text("of the host")

    def body(home: Home) -> None:
        made = make(home, "web", FOREVER)
        root = Path(made.root)
        (root / "srv/escape").symlink_to(str(tmp_path))
        (root / "srv/up").symlink_to("../../../../../../../../" + str(tmp_path))
        for path in ("/srv/escape/host-secret", "/srv/up/host-secret", "/../../../.." + str(secret)):
            with pytest.raises(NotFoundError):
                read(home, path)
        with pytest.raises(NotFoundError):
            copy.copy_to(home, "shop", WEB, "/srv/escape", tar(("host-secret", REG, b"overwritten")))
        for name in ("../up", "a/../../up"):
            with pytest.raises(EnvkitError, match="outside"):
                copy.copy_to(home, "shop", WEB, "/srv", tar((name, REG, b"")))
        copy.copy_to(home, "shop", WEB, "/srv", tar(("/absolute", REG, b"inside")))
        assert (root / "srv/absolute").read_text() == "inside"
        with pytest.raises(EnvkitError):
            copy.copy_to(home, "shop", WEB, "/srv", tar(("l", SYM, str(tmp_path)), ("l/host-secret", REG, b"over")))
        assert secret.read_text() == "of the host"
        with pytest.raises(EnvkitError, match="device"):
            copy.copy_to(home, "shop", WEB, "/srv", tar(("disk", tarfile.BLKTYPE, "")))

    in_engine(tmp_path, body)


def test_cp_into_a_read_only_root(tmp_path: Path) -> None:
    def body(home: Home) -> None:
        made = make(home, "web", FOREVER, read_only=True)
        for _ in range(2):
            with pytest.raises(ConflictError, match="read-only"):
                copy.copy_to(home, "shop", WEB, "/srv", tar(("x", REG, b"")))
            assert content(home, "/etc/group").startswith(b"root:")
            instance.kill_all([made])

    in_engine(tmp_path, body)


