"""What every command that may write does for an environment whose supervisor has died. Costs one system call when it
has not.
"""

from __future__ import annotations

import os

from envkit.host.lock import is_locked

TYPE_CHECKING = False
if TYPE_CHECKING:
    from envkit.host.home import Home


def lock_path(home: Home, environment: str) -> str:
    """Whoever holds this lock is the environment's supervisor."""
    return os.path.join(home.run, "supervisor", f"{environment}.lock")


def is_running(home: Home, environment: str) -> bool:
    return is_locked(lock_path(home, environment))


def maintain(home: Home, environment: str) -> None:
    """Start the supervisor again if it has died while instances are there; finish a removal that was cut off."""
    if is_running(home, environment) or not os.path.isdir(home.instances(environment)):
        return
    from contextlib import suppress

    from envkit.backend.embedded import record as records
    from envkit.backend.embedded import salvage, supervisor
    from envkit.backend.embedded.session import engine_of
    from envkit.errors import ConflictError
    from envkit.host.lock import Lock
    from envkit.host.mountinfo import mount_table

    engine = engine_of(home)
    if records.load_all(home, environment):
        if engine.is_live():
            engine.enter()
            supervisor.ensure_running(home, environment)
    elif salvage.is_half_removed(home, environment):
        lock = Lock(os.path.join(home.environment(environment), "lock"), {"environment": environment})
        with suppress(ConflictError):  # somebody is at work there
            lock.acquire(0)
            try:
                engine.enter()
                salvage.remove_environment(home, environment, {row.target for row in mount_table()})
                salvage.release_engine(home, engine)
            finally:
                lock.release()
