"""envkit.host.doctor: what is missing is named, with its package and what it costs."""

from __future__ import annotations

import os
import subprocess

import pytest

from envkit.host import doctor, process
from envkit.host.child import run_in_child
from envkit.host.home import Home
from envkit.host.mounts import mount_table
from tests.support.machine import machine


@pytest.mark.root
def test_this_machine_can_do_what_is_required(tmp_path):
    findings = {item.name: item for item in doctor.probe(Home(str(tmp_path / "home")))}
    required = [item for item in findings.values() if item.required]
    assert [item for item in required if not item.ok] == []
    assert {"crun", "conmon", "nft", "overlayfs", "nftables", "network namespaces", "control groups", "ENVKIT_HOME",
            "disk space", "mount propagation", "FORWARD policy"} <= set(findings)  # fmt: skip
    assert findings["overlayfs"].detail == "works"
    assert not any(str(tmp_path) in entry.target for entry in mount_table())
    assert os.listdir(tmp_path) == []


def test_a_missing_tool_has_a_package_and_a_consequence(monkeypatch):
    missing = ("crun", "conmon", "mmdebstrap")
    monkeypatch.setattr(process, "find", lambda tool: None if tool in missing else f"/bin/{tool}")
    found = {item.name: item for item in doctor._tools()}
    assert (found["conmon"].ok, found["conmon"].package, found["conmon"].required) == (False, "conmon", True)
    assert (found["crun"].ok, found["crun"].required) == (False, False)
    assert "/bin/runc is used instead" in found["crun"].detail
    assert "debian" in found["mmdebstrap"].consequence


def test_a_trial_that_fails_says_why():
    def trial():
        raise OSError(1, "Operation not permitted")

    assert run_in_child(trial) == "[Errno 1] Operation not permitted"


@pytest.mark.root
def test_a_forward_policy_without_docker_is_a_finding(tmp_path):
    with machine(str(tmp_path)):
        assert all(item.ok for item in doctor._network())
        subprocess.run(["iptables", "-P", "FORWARD", "DROP"], check=True)
        assert [item.name for item in doctor._network() if not item.ok] == ["FORWARD policy"]
        subprocess.run(["iptables", "-N", "DOCKER-USER"], check=True)
        assert all(item.ok for item in doctor._network())
