"""The engine namespace: the one private mount namespace in which an installation keeps all of its mounts.

The host's mount table gets two entries, a private bind of RUN/ns and the pin RUN/ns/mnt (nsfs). Every envkit process
enters before it has a second thread: setns(CLONE_NEWNS) is EINVAL otherwise (setns(2)). Processes started inside stay
inside. Inside, a tmpfs over RUN/ns with a file `inside` tells a process where it is.

The rootless form (a user, mount and network namespace kept by a holder process) has the same three calls.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress

from envkit.errors import HostError, UnsupportedError
from envkit.host import files, mounts, proc, syscalls
from envkit.host.home import Home
from envkit.host.lock import Lock
from envkit.host.netns import (
    in_netns,
    is_namespace,
    is_netns,
    new_netns,
    new_netns_many,
    remove_netns,
    visit_netns,
)
from envkit.host.steps import step

__all__ = (
    "Engine", "in_netns", "is_netns", "new_netns", "new_netns_many", "remove_netns", "visit_netns",
)  # fmt: skip

_UNIFIED = "/sys/fs/cgroup/unified"


class Engine:
    """The engine namespace of one installation."""

    def __init__(self, home: Home) -> None:
        self.home = home
        self.directory = os.path.join(home.run, "ns")
        self.pin = os.path.join(self.directory, "mnt")
        self._mark = os.path.join(self.directory, "inside")
        self._outside = -1  # descriptor of the mount namespace that this process came from
        self._outside_root = -1

    @property
    def inside(self) -> bool:
        """Whether this process is in the engine namespace."""
        return os.path.exists(self._mark)

    def is_live(self) -> bool:
        """Whether there is an engine namespace to enter (or this process is in it). Changes nothing."""
        return self.inside or is_namespace(self.pin) or self._monitor() is not None

    def enter(self) -> None:
        """Enter the engine namespace, made anew where there is none; harmless inside.

        The working directory stays what it was. Raises HostError, UnsupportedError without root.
        """
        if self.inside:
            return
        if os.geteuid() != 0:
            raise UnsupportedError(
                "the embedded backend needs root", "its rootless form is not available yet",
                "run envkit with sudo, or use an engine that you may use: --backend docker, --backend podman",
            )
        here, directory = _working_directory()
        try:
            self._begin_outside()
            if not self._join(self.pin):
                self._restore()
        finally:
            _return_to(here, directory)

    def _begin_outside(self) -> None:
        """Remember the way out; go back out first where this process is in a namespace that has been released."""
        if self._outside < 0:
            self._outside = os.open("/proc/self/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
            self._outside_root = os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
            return
        try:
            syscalls.setns(self._outside, syscalls.CLONE_NEWNS)
        except OSError as error:
            detail = f"it was released, and this process cannot leave it: {error.strerror}"
            raise HostError("the engine namespace cannot be entered again", detail) from error

    def release(self) -> bool:
        """Drop the pin: when the last process inside ends, every mount of the installation is gone.

        For use when no instance is left. Returns False when this process was born inside and cannot reach the host's
        side (the pin then stays, which costs nothing).
        """
        if self.inside and self._outside < 0:
            return False
        step("engine.release")
        with _creation_lock(self.home):
            from envkit.host.child import run_in_child

            _released(run_in_child(self._drop))
        return True

    def same_outside(self, path: str) -> bool:
        """Make an absolute host path lead to the same file in here as outside, and say whether it does.

        It may not do so at first for what was mounted on the host later, where the host's mounts do not propagate (/
        not shared): a bind would show the directory beneath. Then that mount is copied in; it stays until the
        namespace ends. Always True when this process did not enter by itself.
        """
        if self._outside_root < 0 or self._is_same(path):
            return True
        try:
            _in_child_with_mount(lambda: self._outside_mount(os.path.realpath(path)))
        except (HostError, OSError):
            return False
        return self._is_same(path)

    def _is_same(self, path: str) -> bool:
        real = os.path.realpath(path)
        return _identity(real, None) == _identity(real.lstrip("/") or ".", self._outside_root)

    def _outside_mount(self, path: str) -> tuple[str, int]:
        """(mount point, descriptor of a copy of its tree) of the host's mount that path is in. In a child."""
        syscalls.setns(self._outside, syscalls.CLONE_NEWNS)
        targets = (entry.target for entry in mounts.mount_table())
        target = max((item for item in targets if os.path.commonpath((item, path)) == item), key=len)
        return target, syscalls.open_tree(syscalls.AT_FDCWD, target, mounts.CLONE_TREE | syscalls.AT_RECURSIVE)

    def _join(self, path: str) -> bool:
        """Enter the namespace of an nsfs file; False when path is no such file."""
        if not is_namespace(path):
            return False
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            syscalls.setns(descriptor, syscalls.CLONE_NEWNS)
        except OSError as error:
            if error.errno == 22:
                detail = "this process has a second thread, or another process shares its working directory"
                raise HostError("the engine namespace cannot be entered", detail) from error
            raise HostError("the engine namespace cannot be entered", str(error.strerror)) from error
        finally:
            os.close(descriptor)
        return True

    def _restore(self) -> None:
        """Pin what a living monitor still holds, or make a namespace; then enter."""
        files.make_directory(self.home.run, 0o700)
        with _creation_lock(self.home):
            if self._join(self.pin):  # another process was faster
                return
            monitor = self._monitor()
            self._prepare()
            if monitor is not None:
                self._pin(f"/proc/{monitor}/ns/mnt", required=False)
                joined = self._join(f"/proc/{monitor}/ns/mnt")
            else:
                self._create()
                joined = self._join(self.pin)
            if not joined:
                raise HostError("the engine namespace vanished while it was being entered", self.pin)

    def _prepare(self) -> None:
        """RUN/ns, a private mount of itself, so that the pin does not propagate (EINVAL otherwise)."""
        files.make_directory(self.directory, 0o700)
        if not mounts.is_mount(self.directory):
            mounts.bind(self.directory, self.directory, recursive=False)
        mounts.set_propagation(self.directory, "private")  # what is attached to a shared mount (systemd's /) is shared
        os.close(os.open(self.pin, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600))

    def _pin(self, source: str, *, required: bool = True) -> None:
        step("engine.pin")
        try:
            syscalls.mount(source, self.pin, None, mounts.MS_BIND)
        except OSError as error:
            # EINVAL: this process is itself in a newer mount namespace, whose pin would be of no use to others.
            if required or error.errno != 22:
                raise HostError("the engine namespace cannot be pinned", f"{self.pin}: {error.strerror}") from error

    def _create(self) -> None:
        """Make the namespace and pin it, on whichever CPU that works.

        A namespace can only be pinned in one with a smaller id, and kernels of 2025 deal ids out to CPUs in batches: a
        newer one may have the smaller id when this process is itself in a namespace that was made on another CPU.
        """
        refused: HostError | None = None
        for cpu in (None, *range(os.cpu_count() or 1)):
            try:
                self._create_on(cpu)
            except HostError as error:
                if not isinstance(error.__cause__, OSError) or error.__cause__.errno != 22:
                    raise
                refused = error
            else:
                return
        assert refused is not None
        raise refused

    def _create_on(self, cpu: int | None) -> None:
        """A child unshares and waits; this process, outside, pins the child's namespace (inside it is EINVAL)."""
        ready, told = os.pipe()
        hold, go = os.pipe()
        child = os.fork()
        if child == 0:
            if cpu is not None:
                with suppress(OSError):  # a CPU that this process may not use
                    os.sched_setaffinity(0, {cpu})
            _child_of_creation(ready, told, hold, go, self.directory, self._mark)
        os.close(told)
        os.close(hold)
        try:
            message = os.read(ready, 4096).decode(errors="replace")
            if message != "ready":
                raise HostError("the engine namespace cannot be made", message or "the process making it was killed")
            self._pin(f"/proc/{child}/ns/mnt")
        finally:
            os.close(go)
            os.close(ready)
            os.waitpid(child, 0)

    def _drop(self) -> None:
        if self._outside >= 0:
            syscalls.setns(self._outside, syscalls.CLONE_NEWNS)
        while is_namespace(self.pin):
            mounts.unmount(self.pin)
        while mounts.is_mount(self.directory):
            mounts.unmount(self.directory)
        files.remove_tree(self.directory)

    def _monitor(self) -> int | None:
        """A living monitor (conmon) of this installation that is in the engine namespace."""
        from glob import glob

        for path in glob(os.path.join(self.home.environments, "*", "instances", "*", "conmon.pid")):
            try:
                with open(path, encoding="ascii") as file:
                    pid = int(file.read())
            except (OSError, ValueError):
                continue
            if proc.is_alive(pid) and os.path.exists(f"/proc/{pid}/root{self._mark}"):
                return pid
        return None


def _child_of_creation(ready: int, told: int, hold: int, go: int, directory: str, mark: str) -> None:
    """The child of Engine._create: never returns."""
    try:
        os.close(ready)
        os.close(go)
        syscalls.unshare(syscalls.CLONE_NEWNS)
        mounts.set_propagation("/", "slave", recursive=True)
        _hide_unified()
        mounts.tmpfs(directory, ("mode=700", "size=64k"))
        os.close(os.open(mark, os.O_WRONLY | os.O_CREAT, 0o600))
        os.write(told, b"ready")
        os.read(hold, 1)  # until the parent has pinned, or died
    except BaseException as error:  # noqa: BLE001  (the parent raises it)
        os.write(told, str(error).encode()[:4000])
    finally:
        os._exit(0)


def _hide_unified() -> None:
    """crun refuses hybrid hierarchies ("cgroups in hybrid mode not supported"): v1 alone remains in sight."""
    for entry in mounts.mount_table():
        if entry.target == _UNIFIED and entry.filesystem == "cgroup2":
            mounts.unmount(_UNIFIED)
            return


def _released(message: str) -> None:
    if message:
        raise HostError("the engine namespace cannot be released", message)


def _in_child_with_mount(find: Callable[[], tuple[str, int]]) -> None:
    """Attach here what a forked child finds in the host's namespace: (mount point, mount). Raises HostError."""
    import socket

    ours, theirs = socket.socketpair()
    child = os.fork()
    if child == 0:
        try:
            target, mount = find()
            socket.send_fds(theirs, [os.fsencode(target)], [mount])
        finally:
            os._exit(0)
    theirs.close()
    with ours:
        name, descriptors, _, _ = socket.recv_fds(ours, 4096, 1)
    os.waitpid(child, 0)
    if not descriptors:
        raise HostError("a mount of the host cannot be brought into the engine namespace")
    try:
        syscalls.move_mount(descriptors[0], os.fsdecode(name))
    finally:
        os.close(descriptors[0])


def _creation_lock(home: Home) -> Lock:
    return Lock(os.path.join(home.run, "engine.lock"), {"purpose": "engine namespace"})


def _identity(path: str, root: int | None) -> tuple[int, int] | None:
    try:
        info = os.stat(path, dir_fd=root)
    except (FileNotFoundError, NotADirectoryError):
        return None
    return info.st_dev, info.st_ino


def _working_directory() -> tuple[str, int]:
    """The working directory's path and a descriptor of it (which names the old namespace's mount for ever)."""
    descriptor = os.open(".", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        return os.getcwd(), descriptor
    except FileNotFoundError:
        return "", descriptor


def _return_to(path: str, descriptor: int) -> None:
    """Go back by path; by descriptor where the path leads elsewhere in the new namespace."""
    try:
        before = os.fstat(descriptor)
        if path and _identity(path, None) == (before.st_dev, before.st_ino):
            os.chdir(path)
        else:
            os.fchdir(descriptor)
    finally:
        os.close(descriptor)
