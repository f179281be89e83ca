"""What a shell is offered: sub-commands, their flags, volumes and snapshots."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from envkit.backend.base import SnapshotInfo, VolumeInfo
from envkit.cli.complete import candidates

SNAPSHOT = SnapshotInfo("shop_data", "one", "data", "shop", 0.0, 1, 1)
VOLUME = VolumeInfo("shop_data", "data", "shop", "/data", "local", ())
DATA = SimpleNamespace(snapshots=lambda name=None: [SNAPSHOT])
CONTEXT: Any = SimpleNamespace(backend=SimpleNamespace(volumes=lambda name: [VOLUME], volume_data=lambda: DATA))


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("volume re", ["restore"]),
        ("volume snapshot", ["snapshots", "snapshot"]),
        ("volume restore ", ["shop_data"]),
        ("volume restore data ", ["one"]),
        ("volume restore shop_data o", ["one"]),
        ("volume rm shop_data@", ["shop_data@one"]),
        ("volume snapshot --pa", ["--parallel", "--pause"]),
        ("volume import data --st", ["--stop"]),
        ("image ins", ["inspect"]),
        ("down --vol", ["--volumes"]),
    ],
)
def test_what_may_come_next(line, offered):
    assert candidates(CONTEXT, line.split(" ")) == offered
