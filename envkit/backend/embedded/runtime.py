"""The OCI runtime of an installation: crun, or runc where crun is absent. Its state is read from its own files.

ROOT/ID/status (crun) and ROOT/ID/state.json (runc) name the init process and its start time, which tells a living
container from a recycled pid; ROOT/ID/exec.fifo exists until the container is started.
"""

from __future__ import annotations

import os

from envkit.backend.embedded.record import slurp
from envkit.errors import UnsupportedError
from envkit.host.cgroups import Cgroups
from envkit.host.process import find, run
from envkit.lean import cache, json
from envkit.values import value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from envkit.host.home import Home


@value
class Init:
    """The first process of a container. start: clock ticks since boot; created_at: RFC 3339."""

    pid: int
    start: int
    created_at: str


class Runtime:
    """A runtime binary and its state directory. extra: options before every verb (a machine without cgroups)."""

    def __init__(self, path: str, root: str, extra: Sequence[str] = ()) -> None:
        self.path = path
        self.root = root
        self.name = os.path.basename(path)
        self.options = (f"--root={root}", *extra)

    @property
    def takes_programs(self) -> bool:
        """Whether a compiled seccomp program may be handed over."""
        return self.name == "crun"

    @property
    def keeps_modes(self) -> bool:
        """Whether a tmpfs gets the mode that it asks for."""
        return self.name == "crun"

    def command(self, *words: str) -> list[str]:
        return [self.path, *self.options, *words]

    def init(self, container: str) -> Init | None:
        """What the runtime recorded of a container's init; None when it knows no such container."""
        name = "status" if self.name == "crun" else "state.json"
        data = slurp(f"{self.root}/{container}/{name}")
        try:
            value = json.loads(data or b"null")
        except ValueError:
            return None
        if not isinstance(value, dict):
            return None
        if self.name == "crun":
            return Init(int(value["pid"]), int(value["process-start-time"]), str(value.get("created", "")))
        return Init(int(value["init_process_pid"]), int(value["init_process_start"]), str(value.get("created", "")))

    def is_waiting(self, container: str) -> bool:
        """Created and not started yet."""
        return os.path.exists(f"{self.root}/{container}/exec.fifo")

    def start(self, container: str) -> None:
        """Let a created container run. Raises HostError.

        With crun the fifo that init waits at is opened and written here, as `crun start` would, which saves a process
        per container; an init that is not yet at the fifo (ENXIO) is left to the runtime itself.
        """
        if self.name == "crun" and self._start_by_fifo(container):
            return
        run(self.command("start", container), timeout=60)

    def _start_by_fifo(self, container: str) -> bool:
        path = f"{self.root}/{container}/exec.fifo"
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError:
            return False
        try:
            os.unlink(path)
            os.write(descriptor, b"\0")
        finally:
            os.close(descriptor)
        return True

    def forget(self, container: str) -> None:
        """Remove the state of a dead container; absent is fine."""
        from envkit.host.files import remove_tree

        remove_tree(f"{self.root}/{container}")


@cache
def runtime_of(home: Home) -> Runtime:
    """The runtime of this installation. Raises UnsupportedError when neither crun nor runc is installed."""
    path = find("crun") or find("runc")
    if path is None:
        raise UnsupportedError(
            "There is no OCI runtime on this machine", "neither crun nor runc is installed", "install crun"
        )
    return Runtime(path, os.path.join(home.run, "runtime"), Cgroups.of(home).runtime_flags)
