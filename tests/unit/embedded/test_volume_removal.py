"""Killed while a volume is removed: no half of its data is ever taken for a volume's content again."""

from __future__ import annotations

import os

import pytest

from envkit.backend.embedded import volumes
from envkit.host import steps
from envkit.host.home import Home
from tests.support.isolation import apart, isolated

pytestmark = pytest.mark.root


@isolated
@pytest.mark.parametrize("moment", ["volume.removed", "remove_tree"])
def test_what_a_cut_off_removal_leaves_is_no_data(tmp_path, moment):
    home = Home(str(tmp_path / "home"))
    wanted = volumes.Volume(name="shop_data", environment="shop", key="data")

    def filled():
        volumes.ensure(home, wanted)
        with open(os.path.join(volumes.data(home, "shop_data"), "half"), "w", encoding="utf-8"):
            pass

    def cut_off():
        steps._active, steps._fail_name, steps._fail_count = True, moment, ""
        volumes.remove(home, "shop_data")

    apart(filled)
    assert apart(cut_off) == -9
    apart(lambda: volumes.ensure(home, wanted))
    assert os.listdir(volumes.data(home, "shop_data")) == []
    apart(lambda: volumes.remove(home, "shop_data"))
    assert os.listdir(home.volumes) == []
