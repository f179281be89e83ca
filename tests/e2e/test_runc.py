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
envkit apply --wait 2>/dev/null
envkit exec -T web id -u
envkit exec -T web sh -c 'exit 42' || echo code $?
envkit exec -T web nothing-like-it || echo code $?
envkit ps
envkit restart -t 1 2>/dev/null
envkit plan --expect-no-changes
envkit down 2>/dev/null
"""
MEMORY = f"""
name: memory
images:
  app:
    from: {{reference: "box:1"}}
    layers:
      - files: {{/run/service/here: "kept\\n", /tmp/also: "too\\n"}}
      - run: chown -R app:app /run/service && chmod 750 /run/service && ln -s here /run/service/link
services:
  web: {{image: app, user: app, command: [/bin/sh, -c, {LOOP!r}], tmpfs: ["/run:mode=700,uid=1000", "/srv"]}}
  hardened: {{image: app, user: app, command: [/bin/sh, -c, {LOOP!r}]}}
"""
LOOK = r"""
envkit apply 2>/dev/null
envkit exec -T hardened sh -c '
    cd /run/service && stat -c "%n %a %U" . here /run /tmp /tmp/also && cat here link && touch new /run/new /tmp/new'
envkit exec -T hardened sh -c 'grep -c " /\(run\|tmp\) tmpfs rw,nosuid,nodev,noexec" /proc/mounts'
envkit exec -T web stat -c '%n %a %U' /run /srv
envkit down --timeout 0 2>/dev/null
"""
SEEN = """
. 750 app, here 644 app, /run 1777 root, /tmp 1777 root, /tmp/also 644 root, kept, kept, 2, /run 700 app, /srv 1777 root
"""


def run(there: Project, script: str, *, hidden: str = "") -> str:
    """What the script prints, on a machine without the program hidden."""
    hide = f"mount --bind /dev/null {hidden}\n" if hidden else ""
    script = f'{hide}envkit() {{ "$PYTHON" -m envkit.cli.main "$@"; }}\n{script}'
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-ec", script], cwd=there.directory, capture_output=True, text=True, timeout=120,
        env=there.environ({"PYTHON": sys.executable}), check=False,
    )  # fmt: skip
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    return done.stdout


def test_runc_where_crun_is_absent(tmp_path):
    there = Project(tmp_path, {"envkit.yaml": SERVICE}, box_home(str(tmp_path)))
    words = run(there, SCRIPT, hidden=shutil.which("crun") or "").split()
    assert words[:5] == ["0", "code", "42", "code", "127"], words
    assert "healthy" in words


@pytest.mark.parametrize("hidden", ["", "crun"])
def test_what_the_image_has_is_seen_in_memory(tmp_path, hidden):
    """A tmpfs has the mode that is asked for, and where the service is hardened what the image has there."""
    there = Project(tmp_path, {"envkit.yaml": MEMORY}, box_home(str(tmp_path)))
    said = run(there, LOOK, hidden=shutil.which(hidden) or "" if hidden else "")
    assert said.strip().splitlines() == SEEN.strip().split(", "), said
