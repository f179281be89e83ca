"""Instances made by hand from a busybox root, for tests of what happens to a container after it was created."""

import json
import os
import shutil
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from envkit.backend.embedded import instance, record, supervision, teardown
from envkit.backend.embedded.record import Record
from envkit.host import mounts as mounts_of_host
from envkit.host import proc
from envkit.host.cgroups import Cgroups
from envkit.host.home import Home
from envkit.host.mounts import mount_table
from envkit.host.namespace import Engine

APPLETS = (
    "sh", "sleep", "cat", "true", "false", "echo", "kill", "ls", "ps", "id", "stty", "env", "pwd", "seq", "dd", "yes",
    "head", "mkdir", "rm", "ln", "touch", "test", "tty", "printf", "wc", "tail", "trap", "setsid", "grep", "stat",
)  # fmt: skip
MOUNTS = [
    {"destination": "/proc", "type": "proc", "source": "proc"},
    {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "mode=755", "size=65536k"]},
    {"destination": "/dev/pts", "type": "devpts", "source": "devpts",
     "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"]},
]  # fmt: skip


def make_root(path: Path) -> None:
    for name in ("bin", "proc", "dev", "sys", "tmp", "etc", "run", "root", "srv"):
        (path / name).mkdir(parents=True)
    shutil.copy("/bin/busybox", path / "bin/busybox")
    for name in APPLETS:
        (path / "bin" / name).symlink_to("busybox")
    (path / "etc/passwd").write_text("root:x:0:0::/root:/bin/sh\napp:x:1000:1000::/srv:/bin/sh\n")
    (path / "etc/group").write_text("root:x:0:\napp:x:1000:\nextra:x:2000:app\n")


def make(home: Home, service: str, argv: list[str], *, start: bool = True, replica: int = 1, read_only: bool = False,
         mounts: list[dict[str, Any]] | None = None, **fields: Any) -> Record:  # fmt: skip
    """A running instance of a new root; fields: of its Record."""
    directory = record.directory_of(home, "shop", service, replica)
    identity = record.new_id()
    made = Record(
        home, directory, "shop", service, replica, identity, f"shop-{service}-{replica}", fields.pop("spec", {}), "",
        cgroup=Cgroups.of(home).path_for("shop", identity), complete=True, root=f"{directory}/rootfs",
        **{"stop_grace": 0.2, **fields},
    )  # fmt: skip
    make_root(Path(directory, "rootfs"))
    mounts_of_host.bind(made.root, made.root)  # as an image's: what has no mount is taken for what a reboot left
    caps = ["CAP_KILL", "CAP_CHOWN", "CAP_SETUID", "CAP_SETGID", "CAP_DAC_OVERRIDE"]
    config = {
        "ociVersion": "1.0.0",
        "process": {
            "terminal": made.tty, "user": {"uid": 0, "gid": 0}, "args": argv, "cwd": "/",
            "env": ["PATH=/bin", "TERM=xterm", "GREETING=hello"],
            "capabilities": dict.fromkeys(("bounding", "effective", "permitted"), caps),
        },
        "root": {"path": made.root, "readonly": read_only},
        "mounts": [*MOUNTS, *(mounts or [])],
        "linux": {
            "namespaces": [{"type": kind} for kind in ("pid", "ipc", "uts", "mount", "network")],
            "cgroupsPath": made.cgroup,
        },
    }  # fmt: skip
    Path(directory, "config.json").write_text(json.dumps(config))
    made.save()
    Path(directory, "lock").touch()
    Cgroups.of(home).prepare("shop")
    if start:
        with record.locked(made):
            instance.create(made)
            instance.start(made)
    return made


def wait_for(condition: Callable[[], Any], what: str, timeout: float = 10.0) -> Any:
    deadline = time.monotonic() + timeout
    while not (found := condition()):
        if time.monotonic() > deadline:
            raise AssertionError(f"{what}: not within {timeout:g} s")
        time.sleep(0.01)
    return found


def supervisor_pid(home: Home) -> int:
    return int(json.loads(Path(supervision.lock_path(home, "shop")).read_text())["pid"])


def supervise(home: Home) -> int:
    supervision.ensure_running(home, "shop")
    wait_for(lambda: supervision.is_running(home, "shop"), "the supervisor")
    return int(wait_for(lambda: Path(supervision.lock_path(home, "shop")).read_text() and supervisor_pid(home), "pid"))


def log_text(made: Record) -> str:
    with suppress(FileNotFoundError):
        return Path(made.path("log")).read_text()
    return ""


def remove(rows: list[Record]) -> None:
    """Unmount and remove the directories of dead instances."""
    teardown.unmount_below([row.directory for row in rows])
    for row in rows:
        shutil.rmtree(row.directory)


def clean_up(home: Home) -> None:
    """End and remove everything of the environment."""
    rows = record.load_all(home, "shop")
    for row in rows:
        row.desired = "stopped"
        row.save()
    with suppress(ValueError, FileNotFoundError, KeyError):
        if supervision.is_running(home, "shop"):
            proc.kill_and_wait([supervisor_pid(home)], 5)
    instance.kill_all(rows)
    for row in rows:
        instance.forget(row)
    wait_for(lambda: not any(instance.monitor_is_alive(row) for row in rows), "the end of every conmon")
    remove(rows)
    Cgroups.of(home).remove_environment("shop")
    Engine(home).release()


@contextmanager
def engine(path: Path) -> Iterator[Home]:
    home = Home(str(path / "home"))
    Engine(home).enter()
    try:
        yield home
    finally:
        clean_up(home)


def in_engine(path: Path, body: Callable[[Home], None]) -> None:
    """Run body(home) in a process of its own inside the engine namespace, so that pytest itself never enters it."""
    sys.stdout.flush()
    child = os.fork()
    if child == 0:
        code = 1
        try:
            with engine(path) as home:
                body(home)
            code = 0
        except BaseException:  # noqa: BLE001  (reported by the parent)
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)
    _, status = os.waitpid(child, 0)
    home = Home(str(path / "home"))
    with suppress(OSError):
        subprocess.run(["umount", "-l", f"{home.run}/ns/mnt", f"{home.run}/ns"], check=False, capture_output=True)
    left = [row.target for row in mount_table() if row.target.startswith(str(path))]
    assert os.waitstatus_to_exitcode(status) == 0, "see the captured output"
    assert not left, left
