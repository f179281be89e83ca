"""The Debian base that several test files build on: made once per run, by whichever worker is first, then copied."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess

import pytest

from envkit.host.home import Home
from tests.support.building import Building, layer

BASE = {"debian": "bookworm"}
SHARED = (("redis-server",), ("gunicorn", "python3-flask"), ("prometheus",))
"""The packages of each layer on the base that more than one file uses."""


def debian_home(factory: pytest.TempPathFactory, directory: str | os.PathLike[str]) -> str:
    """Make directory an ENVKIT_HOME whose build cache has the base, the shared layers and the package lists."""
    made = seed(factory)
    with open(f"{made}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not os.path.exists(f"{made}.whole"):
            shutil.rmtree(made, ignore_errors=True)
            building = Building(Home(made), f"{made}.project")
            for packages in SHARED:
                building.make(layer("apt", packages=list(packages)), base=BASE)
            open(f"{made}.whole", "w").close()
    os.makedirs(directory)
    for name in ("images", "cache"):  # hard links would be seen, and captured, as links of the image
        argv = ["cp", "-a", "--reflink=auto", os.path.join(made, name), str(directory)]
        subprocess.run(argv, check=True, timeout=300)
    return str(directory)


def seed(factory: pytest.TempPathFactory) -> str:
    """The installation of this run that is copied."""
    top = factory.getbasetemp()
    return str((top.parent if "PYTEST_XDIST_WORKER" in os.environ else top) / "debian-seed")
