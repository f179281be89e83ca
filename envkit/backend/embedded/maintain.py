"""What every command that may write does for an environment whose supervisor has died. Costs one system call when it
has not.
"""

from __future__ import annotations

import os

from envkit.backend.embedded import images
from envkit.backend.embedded.supervision import is_running
from envkit.host import leftovers

TYPE_CHECKING = False
if TYPE_CHECKING:
    from envkit.host.home import Home


def maintain(home: Home, environment: str) -> None:
    """Start the supervisor again if it has died while instances are there; finish a removal that was cut off."""
    images.remember(home)
    leftovers.sweep((home.root, home.environment(environment), os.path.join(home.cache, "environments")))
    if is_running(home, environment) or not os.path.isdir(home.instances(environment)):
        return
    from envkit.backend.embedded import record as records
    from envkit.backend.embedded import salvage, supervision
    from envkit.backend.embedded.session import engine_of

    if records.load_all(home, environment):
        engine = engine_of(home)
        if engine.is_live():
            engine.enter()
            supervision.ensure_running(home, environment)
    elif salvage.is_half_removed(home, environment):
        salvage.forget(home, environment)
