"""envkit on a Debian machine with control groups of version 2 alone, with and without systemd (`make test-vm`).

ENVKIT_VM_CACHE names the directory that keeps the machine's image (3 GB, sparse) for the next time.
"""

from __future__ import annotations

import os

import pytest

from tests.vm.machine import boot

pytestmark = pytest.mark.vm


@pytest.mark.parametrize("systemd", [False, True], ids=["plain", "systemd"])
def test_version_2(tmp_path, systemd):
    cache = os.environ.get("ENVKIT_VM_CACHE") or "/var/tmp/envkit-vm"
    said = boot(cache, str(tmp_path), systemd=systemd).strip()
    lines = [line for line in said.splitlines() if line.startswith(("ok ", "not ok "))]
    assert len(lines) > 10, said
    assert all(line.startswith("ok ") for line in lines), said
