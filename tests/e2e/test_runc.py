"""The other runtime: everything that touches it, on a machine that has no crun."""

from __future__ import annotations

import shutil
import subprocess
import sys

import pytest

from tests.support.boxes import LOOP, box_home
from tests.support.project import Project

pytestmark = pytest.mark.root
SERVICE = f"""
name: other
services:
  web:
    image: "box:1"
    command: [/bin/sh, -c, {LOOP!r}]
    mem_limit: 32m
    healthcheck: {{test: [CMD, "true"], interval: 100ms}}
"""
SCRIPT = r"""
mount --bind /dev/null "$CRUN"
envkit() { "$PYTHON" -m envkit.cli.main "$@"; }
envkit apply --wait 2>/dev/null
envkit exec -T web id -u
envkit exec -T web sh -c 'exit 42' || echo code $?
envkit exec -T web nothing-like-it || echo code $?
envkit ps
envkit restart -t 1 2>/dev/null
envkit plan --expect-no-changes
envkit down 2>/dev/null
"""


def test_runc_where_crun_is_absent(tmp_path):
    there = Project(tmp_path, {"envkit.yaml": SERVICE}, box_home(str(tmp_path)))
    variables = there.environ({"CRUN": shutil.which("crun") or "", "PYTHON": sys.executable})
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-ec", SCRIPT], cwd=there.directory, env=variables, capture_output=True, text=True,
        timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    words = done.stdout.split()
    assert words[:5] == ["0", "code", "42", "code", "127"], done.stdout
    assert "healthy" in words
