"""Starting and ending an environment's supervisor, for commands, which need not load what it is made of."""

from __future__ import annotations

import os
import sys

from envkit import __version__
from envkit.host import proc
from envkit.host.cgroups import Cgroups
from envkit.host.lock import Lock, is_locked

TYPE_CHECKING = False
if TYPE_CHECKING:
    from envkit.host.home import Home

_END = 5.0  # seconds that it has to end when told
_TERMINATE = 15  # SIGTERM
_spawned: dict[int, str] = {}  # by this process: pid -> lock file


def lock_path(home: Home, environment: str) -> str:
    """Whoever holds this lock is the environment's supervisor."""
    return os.path.join(home.run, "supervisor", f"{environment}.lock")


def is_running(home: Home, environment: str) -> bool:
    return is_locked(lock_path(home, environment))


def ensure_running(home: Home, environment: str) -> None:
    """Start the supervisor unless it runs. To be called in the engine namespace, after a record has been written.

    It gets a session of its own and /dev/null; what it has to say goes to environments/ENV/supervisor.log.
    """
    _reap()
    directory = home.environment(environment)
    if not os.path.isdir(directory):
        return
    if is_running(home, environment):
        holder = Lock(lock_path(home, environment)).holder() or {}
        if holder.get("who", {}).get("version") in (None, __version__):  # None: it has just begun
            return
        proc.kill_and_wait([int(holder["pid"])], _END, _TERMINATE)  # of an earlier envkit
    os.makedirs(os.path.dirname(lock_path(home, environment)), mode=0o700, exist_ok=True)
    log = os.path.join(directory, "supervisor.log")
    actions = [
        (os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0),
        (os.POSIX_SPAWN_OPEN, 1, log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600),
        (os.POSIX_SPAWN_DUP2, 1, 2),
    ]
    argv = command("run", home.root, environment, *Cgroups.of(home).monitors(environment))
    variables = {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C.UTF-8"}
    pid = os.posix_spawn(argv[0], argv, variables, file_actions=actions, setsid=True)
    _spawned[pid] = lock_path(home, environment)


def end(home: Home, environment: str) -> None:
    """End the environment's supervisor and wait for it, one that has only just been started included."""
    path = lock_path(home, environment)
    doomed = {pid for pid, own in _spawned.items() if own == path}
    if is_locked(path) and (pid := int((Lock(path).holder() or {}).get("pid", 0))):
        doomed.add(pid)
    proc.kill_and_wait(doomed, _END, _TERMINATE)
    _reap()
    if os.path.exists(path):
        os.unlink(path)


def _reap() -> None:
    """Earlier supervisors of this (long) process that have ended."""
    for pid in list(_spawned):
        try:
            ended = os.waitpid(pid, os.WNOHANG)[0] != 0
        except ChildProcessError:  # another's child: we were forked since, or it has been reaped
            ended = True
        if ended:
            del _spawned[pid]


def command(*words: str) -> list[str]:
    """The argv that runs main() with these words: isolated (-I) and without site packages (-S), which it needs not."""
    package = os.path.dirname(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))
    code = f"import sys; sys.path.insert(0, {package!r}); from envkit.backend.embedded.supervisor import main; main()"
    return [sys.executable, "-I", "-S", "-c", code, *words]
