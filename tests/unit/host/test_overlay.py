"""envkit.host.overlay: both of the kernel's interfaces give the same mounts."""

from __future__ import annotations

import os

import pytest

from envkit.errors import HostError
from envkit.host import mounts, overlay

pytestmark = pytest.mark.root
ODD = "a:b,c\\d e"


@pytest.fixture(params=["append", "classic"])
def interface(request, monkeypatch):
    if request.param == "append" and not overlay._can_append():
        pytest.fail("this kernel has no lowerdir+")
    monkeypatch.setattr(overlay, "_can_append", lambda: request.param == "append")
    return request.param


@pytest.fixture
def target(tmp_path):
    path = tmp_path / "target"
    path.mkdir()
    yield path
    mounts.unmount(str(path))


def layers(tmp_path, count, name="layer"):
    paths = []
    for number in range(count):
        path = tmp_path / f"{name}{number}"
        path.mkdir()
        (path / f"only{number}").write_text(str(number))
        (path / "same").write_text(str(number))
        paths.append(str(path))
    return paths


def test_lowers_are_top_first_with_any_name(interface, tmp_path, target):
    mounts.overlay(layers(tmp_path, 3, ODD), str(target))
    assert (target / "same").read_text() == "0"
    assert sorted(os.listdir(target)) == ["only0", "only1", "only2", "same"]


def test_upper_takes_changes_as_whole_files(interface, tmp_path, target):
    upper, work = tmp_path / f"upper{ODD}", tmp_path / f"work{ODD}"
    upper.mkdir()
    work.mkdir()
    mounts.overlay(layers(tmp_path, 1), str(target), str(upper), str(work), for_capture=True, flags=mounts.MS_NODEV)
    os.chmod(target / "only0", 0o600)
    os.unlink(target / "same")
    assert (upper / "only0").read_text() == "0"
    assert os.stat(upper / "same").st_rdev == 0
    options = next(entry.options for entry in mounts.mount_table() if entry.target == str(target))
    assert "nodev" in options


def test_many_layers_with_long_names(interface, tmp_path, target):
    deep = tmp_path / ("x" * 60)
    deep.mkdir()
    mounts.overlay(layers(deep, 150), str(target), read_only=True)
    assert len(os.listdir(target)) == 151


def test_what_cannot_be_is_said(interface, tmp_path, target):
    with pytest.raises(HostError, match=r"cannot be mounted at .*target: Invalid argument"):
        mounts.overlay(layers(tmp_path, 1), str(target))
    with pytest.raises(HostError, match=r"No such file or directory"):
        mounts.overlay([str(tmp_path / "nowhere"), str(tmp_path)], str(target))
    with pytest.raises(HostError, match=r"501; the kernel's limit is 500"):
        mounts.overlay([str(tmp_path)] * 501, str(target))
    if interface == "classic":
        with pytest.raises(HostError, match="longer than this kernel takes"):
            mounts.overlay(layers(tmp_path, 200, "n" * 30), str(target))
