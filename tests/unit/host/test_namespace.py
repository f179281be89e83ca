"""envkit.host.namespace: one pin, entered from anywhere, found again when lost."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap

import pytest

from envkit.errors import HostError
from envkit.host import mounts
from envkit.host.home import Home
from envkit.host.namespace import Engine

pytestmark = pytest.mark.root


IMPORTS = """
import os
from envkit.host import mounts
from envkit.host.home import Home
from envkit.host.namespace import *
"""


def run(home, code, **options):
    """Run code in a fresh interpreter with `engine` at hand; returns its output."""
    head = IMPORTS + f"engine = Engine(Home({home.root!r}))\n"
    done = subprocess.run([sys.executable, "-c", head + textwrap.dedent(code)], capture_output=True, text=True,
                          timeout=30, check=False, **options)  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def home(tmp_path):
    home = Home(str(tmp_path / "home"))
    yield home
    Engine(home).release()
    assert not any(str(tmp_path) in entry.target for entry in mounts.mount_table())


def test_enter_twice_gives_the_same_namespace_and_keeps_the_directory(home, tmp_path):
    assert not Engine(home).is_live()
    code = "engine.enter(); engine.enter(); print(os.readlink('/proc/self/ns/mnt'), os.getcwd(), engine.inside)"
    first = run(home, code, cwd=tmp_path)
    assert run(home, code, cwd=tmp_path) == first
    name, cwd, inside = first.split()
    assert (cwd, inside) == (str(tmp_path), "True")
    assert name != os.readlink("/proc/self/ns/mnt")
    assert Engine(home).is_live()
    targets = [entry.target for entry in mounts.mount_table() if home.root in entry.target]
    assert targets == [home.run + "/ns", home.run + "/ns/mnt"]


def test_mounts_inside_are_not_seen_outside_and_hybrid_is_hidden(home, tmp_path):
    out = run(home, f"""
        engine.enter()
        mounts.tmpfs({str(tmp_path)!r}, ("size=1m",))
        print(any(m.filesystem == "cgroup2" and m.target.endswith("unified") for m in mounts.mount_table()))
    """)
    assert out.strip() == "False"
    assert not mounts.is_mount(str(tmp_path))
    assert run(home, f"engine.enter(); print(mounts.is_mount({str(tmp_path)!r}))").strip() == "True"


def test_lost_pin_is_found_through_a_monitor(home):
    record = os.path.join(home.instances("shop"), "web.1")
    os.makedirs(record)
    first = run(home, f"""
        import subprocess
        engine.enter()
        mounts.tmpfs("/mnt", ("size=1m",))
        child = subprocess.Popen(["sleep", "60"], start_new_session=True, stdout=-3, stderr=-3)
        open({record!r} + "/conmon.pid", "w").write(str(child.pid))
        child.returncode = 0
        print(child.pid, os.readlink("/proc/self/ns/mnt"))
    """)
    pid, name = first.split()
    try:
        pin = os.path.join(home.run, "ns", "mnt")
        mounts.unmount(pin)
        assert Engine(home).is_live()
        code = "engine.enter(); print(os.readlink('/proc/self/ns/mnt'), mounts.is_mount('/mnt'))"
        assert run(home, code).split() == [name, "True"]
        assert run(home, code).split() == [name, "True"]
    finally:
        os.kill(int(pid), 9)


def test_stale_pin_file_and_stale_monitor_are_made_anew(home):
    record = os.path.join(home.instances("shop"), "web.1")
    os.makedirs(record)
    os.makedirs(home.run + "/ns")
    open(home.run + "/ns/mnt", "w").close()
    with open(record + "/conmon.pid", "w") as file:
        file.write("1")
    assert not Engine(home).is_live()
    assert run(home, "engine.enter(); print(engine.inside)").strip() == "True"


def test_release_from_inside(home):
    out = run(home, "engine.enter(); print(engine.release(), os.path.exists('/proc/self'))")
    assert out.split() == ["True", "True"]
    assert not os.path.exists(home.run + "/ns")
    assert run(home, "engine.enter(); print(os.spawnlp(os.P_WAIT, 'true', 'true'))").strip() == "0"


def test_born_inside_knows_it(home):
    out = run(home, f"""
        import subprocess, sys
        engine.enter()
        code = {IMPORTS!r} + "e = Engine(Home({home.root!r})); e.enter(); print(e.inside, e.release())"
        print(subprocess.check_output([sys.executable, "-c", code], text=True))
    """)
    assert out.split() == ["True", "False"]


def test_second_thread_is_refused(home):
    out = run(home, """
        import threading
        engine.enter() if False else None
        threading.Thread(target=lambda: __import__("time").sleep(1), daemon=True).start()
        try:
            engine.enter()
        except Exception as error:
            print(type(error).__name__, error)
    """)
    assert out.startswith("HostError the engine namespace cannot be entered: this process has a second thread")


def test_many_at_once_agree(home):
    code = IMPORTS + f"e = Engine(Home({home.root!r})); e.enter(); print(os.readlink('/proc/self/ns/mnt'))"
    racers = [subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) for _ in range(6)]
    assert len({racer.communicate(timeout=30)[0] for racer in racers}) == 1


def test_host_mounts_that_came_later_are_brought_in(home, tmp_path):
    late = tmp_path / "late"
    late.mkdir()
    run(home, "engine.enter()")
    mounts.tmpfs(str(late), ("size=1m",))
    (late / "sub").mkdir()
    (late / "sub" / "file").write_text("x")
    try:
        out = run(home, f"""
            engine.enter()
            path = {str(late / "sub")!r}
            print(engine.same_outside({str(tmp_path)!r}), engine.same_outside("/nowhere"), engine.same_outside(path))
            print(os.listdir(path), engine.same_outside(path))
        """)
        assert out.split() == ["True", "True", "True", "['file']", "True"]
    finally:
        mounts.unmount(str(late))


def test_network_namespaces(home, tmp_path):
    paths = [str(tmp_path / f"n{i}") for i in range(3)]
    out = run(home, f"""
        engine.enter()
        before = os.readlink("/proc/self/ns/net")
        new_netns_many({paths!r}); new_netns({paths[0]!r})
        seen = set()
        for path in {paths!r}:
            with in_netns(path):
                seen.add(os.readlink("/proc/thread-self/ns/net"))
        print(len(seen | {{before}}), os.readlink("/proc/self/ns/net") == before, is_netns({paths[0]!r}))
        for path in {paths!r}:
            remove_netns(path); remove_netns(path)
        print(os.path.exists({paths[0]!r}))
    """)
    assert out.split() == ["4", "True", "True", "False"]


def test_without_root_it_is_unsupported():
    code = IMPORTS + "os.setuid(65534)\nEngine(Home('/nowhere')).enter()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "UnsupportedError: the embedded backend needs root" in done.stderr


def test_errors_are_host_errors(tmp_path):
    with pytest.raises(HostError, match="cannot be bound"):
        mounts.bind(str(tmp_path / "absent"), str(tmp_path))


def test_a_machine_whose_root_is_shared(tmp_path):
    """As systemd leaves it: what is mounted below would appear in the new namespace as well, and be refused there."""
    script = """
mount --make-rshared /
"$1" -c '
import sys
from envkit.host.home import Home
from envkit.host.namespace import Engine
first, second = Engine(Home(sys.argv[1])), Engine(Home(sys.argv[1]))
first.enter()
print("inside", first.inside, second.is_live())
first.release()
' "$2"
grep -c "$2" /proc/self/mountinfo || true
"""
    root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))
    argv = ["unshare", "--mount", "--propagation", "private", "sh", "-ec", script, "sh", sys.executable]
    done = subprocess.run(
        [*argv, str(tmp_path / "home")],
        capture_output=True, text=True, timeout=60, check=False, env={**os.environ, "PYTHONPATH": root},
    )  # fmt: skip
    assert done.stdout == "inside True True\n0\n", f"{done.stdout}{done.stderr}"
