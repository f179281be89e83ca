"""envkit.image.build: what is cached, what is equal, what is left when a build ends in any way."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import threading
import time

import pytest

from envkit.errors import ApplyError, EnvkitError, HostError
from envkit.host import mounts
from envkit.host.home import Home
from envkit.host.namespace import Engine
from envkit.image.layerplan import layer_plan
from envkit.image.lockfile import Lockfile
from envkit.image.space import sweep
from tests.support.building import Building, in_engine, layer, shell

pytestmark = pytest.mark.root


@pytest.fixture
def building(tmp_path):
    return Building(Home(str(tmp_path / "home")), str(tmp_path / "project"))


STATE = shell("date +%s%N > /state; head -c 16 /dev/urandom > /random")
FILES = layer("files", files={"/srv/a": {"content": "a"}})
DEPENDENT = shell("ls / > /listing")


def test_the_same_recipe_gives_the_same_digest_on_another_machine(building, tmp_path):
    layers = (FILES, layer("user", name="x", uid=900), shell("mkdir -p /d/e; echo 1 > /d/e/f; ln -s f /d/e/l"))
    config = {"command": ["a"], "environment": {"K": "v"}, "expose": ["80"], "healthcheck": {"test": ["CMD", "x"]}}
    other = Building(Home(str(tmp_path / "elsewhere")), str(tmp_path / "other/place"))
    first = building.make(*layers, config=config)
    old = os.umask(0o077)
    try:
        second = other.make(*layers, config=config, environ={"PATH": "/usr/bin:/bin", "http_proxy": "http://127.0.0.1:9"})
    finally:
        os.umask(old)
    assert first.digest == second.digest


def test_nothing_is_made_twice(building):
    first = building.make(FILES, STATE, DEPENDENT)
    assert first.built == [1, 2, 3]
    second = building.make(FILES, STATE, DEPENDENT)
    assert (second.digest, second.built) == (first.digest, [])
    renamed = building.make(FILES, STATE, DEPENDENT, name="test/renamed")
    assert (renamed.digest, renamed.built) == (first.digest, [])


def test_fresh_makes_every_layer_again(building):
    first = building.make(FILES, STATE)
    again = building.make(FILES, STATE, fresh=True)
    assert again.built == [1, 2]
    assert again.digest != first.digest, "the second layer has the time of day in it"
    assert building.make(FILES, STATE).digest == again.digest


def test_a_changed_layer_rebuilds_only_what_depends_on_it(building):
    independent = layer("files", files={"/etc/late": {"content": "late"}})
    link = layer("link", links={"/l": "one"})
    building.make(shell("echo 1 > /one"), independent, DEPENDENT, link)
    changed = building.make(shell("echo 2 > /one"), independent, DEPENDENT, link)
    assert changed.built == [1, 3]
    same_state = building.make(shell("echo $((1 + 1)) > /one"), independent, DEPENDENT, link)
    assert same_state.built == [1], "a layer that came out the same is no change for those above"
    assert same_state.digest != changed.digest, "the history tells another command"


def test_an_independent_layer_sees_owners_and_directories_below(building):
    owned = layer("files", files={"/srv/a": {"content": "a", "owner": "x"}})
    assert building.make(layer("user", name="x", uid=900), owned).built == [1, 2]
    assert building.make(layer("user", name="x", uid=901), owned).built == [1, 2]
    assert building.make(shell("mkdir -m 700 /srv"), FILES).built == [1, 2]
    assert building.make(shell("mkdir -m 711 /srv"), FILES).built == [1, 2]


def test_environment_is_an_input_of_run_and_of_nothing_else(building):
    building.make(FILES, DEPENDENT, config={"environment": {"A": "1"}})
    assert building.make(FILES, DEPENDENT, config={"environment": {"A": "2"}}).built == [2]
    assert building.make(FILES, DEPENDENT, config={"environment": {"A": "2"}, "labels": {"x": "y"}}).built == []


def test_a_lost_blob_or_tree_is_made_again(building):
    first = building.make(FILES, shell("echo 1 > /one"))
    os.unlink(first.blobs[1])
    assert building.make(FILES, shell("echo 1 > /one"), name="again").digest == first.digest


def test_the_plan_of_layers(building):
    def plan(*layers):
        spec = {"name": "test/image", "base": {"reference": "busybox:test"}, "layers": list(layers)}
        steps = in_engine(building.home, lambda: layer_plan(
            spec, store=building.store, home=building.home, directory=building.directory, images={}, lock=Lockfile()
        ))  # fmt: skip
        return [step.cached for step in steps], [step.reason for step in steps]

    building.make(FILES, STATE, DEPENDENT)
    assert plan(FILES, STATE, DEPENDENT)[0] == [True, True, True]
    cached, reasons = plan(FILES, shell("echo new"), DEPENDENT)
    assert cached == [True, False, False]
    assert reasons[2] == "it depends on layer 2, which is made anew"


def test_images_in_several_threads(building):
    def action():
        building.build([FILES], name="warm")  # the base is there
        found = {}

        def one(number):
            found[number] = building.build([STATE, shell(f"echo {number % 2} > /n"), FILES], name=f"test/i{number}")

        threads = [threading.Thread(target=one, args=(number,)) for number in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return found, len([event for event in building.events if event.message.startswith("layer 1/3")])

    found, made = in_engine(building.home, action)
    assert len(set(found.values())) == 2, "the shared first layer was made once, so equal recipes are equal images"
    assert made == 1


_SLEEPER = b"sleep\0" + b"98765\0"


def leftovers(home):
    """What a build could leave: files, namespaces, links, tables, processes."""
    found = []
    for path in ("cache/build/work", "run/netns", "images/tmp"):
        full = os.path.join(home.root, path)
        found += [os.path.join(path, name) for name in (os.listdir(full) if os.path.isdir(full) else ())]
    found += [entry.target for entry in mounts.mount_table() if entry.target.startswith(home.root)]
    links = subprocess.run(["ip", "-br", "link"], capture_output=True, text=True, check=True).stdout
    tables = subprocess.run(["nft", "list", "tables"], capture_output=True, text=True, check=True).stdout
    found += [line for line in (links + tables).splitlines() if home.tag in line]
    return found + _processes(_SLEEPER) + _processes(home.root.encode())


def _processes(part):
    """The command lines that contain part, the builders' own scripts aside."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/cmdline", "rb") as file:
                words = file.read()
        except OSError:
            continue
        if part in words and b"import" not in words:
            found.append(words.replace(b"\0", b" ").decode())
    return found


SLEEP = "sleep 98765 & sleep 98765"


def _builder(building, code):
    head = f"""
        import os, sys
        sys.path.insert(0, {os.getcwd()!r})
        from envkit.host.home import Home
        from envkit.host.namespace import Engine
        from tests.support.building import Building, layer, shell
        home = Home({building.home.root!r})
        os.makedirs(home.root, exist_ok=True)
        engine = Engine(home)
        engine.enter()
        building = Building(home, {building.directory!r})
    """
    script = textwrap.dedent(head) + textwrap.dedent(code)
    return subprocess.Popen([sys.executable, "-c", script], stderr=subprocess.PIPE)


def _wait_for_sleeper(process):
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline and process.poll() is None:
        if any(line.startswith("sleep") for line in _processes(_SLEEPER)):
            return
        time.sleep(0.05)
    raise AssertionError(process.stderr.read() if process.poll() is not None else "the command did not start")


@pytest.mark.parametrize("network", ["none", "default"])
def test_kill_nine_leaves_no_process_and_the_next_build_clears_the_rest(building, network):
    process = _builder(building, f"building.build([shell({SLEEP!r}, network={network!r})])")
    _wait_for_sleeper(process)
    process.kill()
    process.communicate()
    deadline = time.monotonic() + 5
    while (running := [line for line in leftovers(building.home) if "sleep" in line or "crun" in line]) and (
        time.monotonic() < deadline
    ):
        time.sleep(0.05)
    assert not running
    assert building.make(shell("echo after > /after", network=network)).built == [1]
    Engine(building.home).release()
    assert leftovers(building.home) == []


def test_interrupt_leaves_nothing(building):
    process = _builder(building, f"""
        try:
            building.build([shell({SLEEP!r}, network="default")])
        except KeyboardInterrupt:
            engine.release()
            sys.exit(130)
    """)
    _wait_for_sleeper(process)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=10)
    assert process.returncode == 130, said
    assert leftovers(building.home) == []


def test_cancel_from_another_thread(building):
    def action():
        flag = threading.Event()
        threading.Timer(0.5, flag.set).start()
        building.build([shell("sleep 60")], cancelled=flag)

    before = time.monotonic()
    with pytest.raises(EnvkitError, match="cancelled"):
        in_engine(building.home, action)
    assert time.monotonic() - before < 15
    assert leftovers(building.home) == []


def test_a_full_disk_is_said_and_leaves_nothing(building):
    def action():
        os.makedirs(building.home.cache, exist_ok=True)
        mounts.tmpfs(building.home.cache, ("size=4m",))
        try:
            building.build([layer("files", files={"/big": {"content": "x" * (8 << 20)}})])
        finally:
            assert os.listdir(os.path.join(building.home.cache, "build/work")) == []

    with pytest.raises(HostError, match="no space left") as caught:
        in_engine(building.home, action)
    assert "envkit gc" in caught.value.hint


def test_sweep_spares_a_space_in_use(building):
    def action():
        from envkit.image.space import Space

        with Space(building.home) as space:
            return sweep(building.home), os.path.isdir(space.path)

    assert in_engine(building.home, action) == ([], True)


def test_run_has_a_network_of_its_own_with_a_way_out(building):
    code = "import socket; s = socket.create_server(('0.0.0.0', 0)); print(s.getsockname()[1], flush=True)\n" \
           "while True: c, a = s.accept(); c.sendall(a[0].encode()); c.close()"  # fmt: skip
    server = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    try:
        port = int(server.stdout.readline())
        made = building.make(shell(
            f"gateway=$(ip route | sed -n 's/^default via \\([^ ]*\\).*/\\1/p'); nc $gateway {port} > /seen; "
            "ls /sys/class/net > /links; test -s /etc/resolv.conf",
            network="default",
        ))  # fmt: skip
    finally:
        server.kill()
        server.communicate()
    assert made.content("seen").startswith(b"10.")
    assert set(made.content("links").split()) == {b"eth0", b"lo"}
    assert set(made.entries()) == {".", "seen", "links"}, "resolv.conf and hosts are not in the layer"
    assert leftovers(building.home) == []


def test_run_without_a_network_has_a_loopback_alone(building):
    made = building.make(shell("ls /sys/class/net > /links; ! nc 192.0.2.1 1 < /dev/null"))
    assert made.content("links") == b"lo\n"


def test_run_is_confined(building):
    made = building.make(shell(
        "grep -E '^(CapEff|Seccomp|NoNewPrivs):' /proc/self/status > /status; hostname > /hostname; "
        "! mount -t tmpfs none /mnt; ! dd if=/dev/vda of=/dev/null count=1; ! cat /proc/kcore"
    ))  # fmt: skip
    assert made.content("status").split() == [b"CapEff:", b"00000000a80425fb", b"NoNewPrivs:", b"0", b"Seccomp:", b"2"]
    assert made.content("hostname") == b"localhost\n"


def test_a_failed_layer_is_not_remembered(building):
    flaky = shell("test -e /var/f/once || { touch /var/f/once; exit 1; }; echo ok > /ok", cache=["/var/f"])
    with pytest.raises(ApplyError):
        building.make(flaky)
    assert building.make(flaky).built == [1]
