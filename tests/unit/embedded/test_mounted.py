"""Two mount tables of a container: what differs is named, and what does not is not."""

from __future__ import annotations

import pytest

from envkit.backend.embedded.live import Facts
from envkit.backend.embedded.mounted import compare_mounts

ROOT = "10 1 0:40 / / ro,relatime - overlay none ro,lowerdir=/x"
DATA = "11 10 254:0 /v/data /data rw,relatime - ext4 /dev/vda rw"
TMP = "12 10 0:50 / /tmp rw,nosuid - tmpfs tmpfs rw"
SLAVE = "13 10 254:0 /host /host rw master:7 - ext4 /dev/vda rw"


def found(before, after, *, may_mount=False):
    facts = Facts()
    compare_mounts(facts, "\n".join(before).encode(), "\n".join(after).encode(), may_mount=may_mount)
    return {path: (facts.expected.get(path), facts.actual.get(path)) for path in {*facts.expected, *facts.actual}}


@pytest.mark.parametrize(
    ("after", "named"),
    [
        ([ROOT, DATA, TMP], {}),
        (["99" + ROOT[2:], "98" + DATA[2:], TMP.replace("0:50", "0:77")], {}),
        ([ROOT, TMP], {"mounted[/data]": ("ext4 /v/data", "missing")}),
        ([ROOT, DATA.replace("rw,rel", "ro,rel"), TMP], {"mounted[/data].read_only": (False, True)}),
        ([ROOT.replace("ro,rel", "rw,rel"), DATA, TMP], {"root.read_only": (True, False)}),
        ([ROOT, DATA, TMP.replace("rw,nosuid", "rw")], {"mounted[/tmp].options": ("rw,nosuid", "rw")}),
        ([ROOT, DATA, TMP, "14 12 0:60 / /tmp rw - tmpfs none rw"],
         {"mounted[/tmp].source": ("tmpfs", "covered by tmpfs")}),
        ([ROOT, DATA.replace("data /data", "data//deleted /data"), TMP],
         {"mounted[/data].source": ("ext4 /v/data", "ext4 /v/data//deleted")}),
        ([ROOT, DATA, TMP, "14 10 0:60 / /srv rw - tmpfs none rw"], {"mounted[/srv]": (None, "tmpfs")}),
    ],
)  # fmt: skip
def test_what_differs(after, named):
    assert found([ROOT, DATA, TMP], after) == named


def test_what_a_container_may_do_itself():
    extra = "14 10 0:60 / /srv rw - tmpfs none rw"
    assert found([ROOT], [ROOT, extra], may_mount=True) == {}
    assert found([ROOT, DATA], [ROOT], may_mount=True) == {"mounted[/data]": ("ext4 /v/data", "missing")}


def test_what_propagates_from_the_host_is_no_drift():
    assert found([ROOT, SLAVE], [ROOT, SLAVE, "14 13 8:1 / /host/usb rw master:8 - ext4 /dev/sda rw"]) == {}
