"""envkit.image.debian and kinds.apt, pip: a real Debian root, twice, and what must not be in it."""

from __future__ import annotations

import json
import os
import shutil
import socket
import stat
import subprocess
import zipfile
from urllib.parse import urlsplit

import pytest

from envkit.errors import ApplyError, ConflictError
from envkit.host.home import Home
from envkit.image import machine
from envkit.image.aptsources import canonical
from envkit.image.lockfile import Lockfile
from tests.support.building import Building, layer, shell
from tests.support.debian import BASE, debian_home, seed

pytestmark = [pytest.mark.root, pytest.mark.slow(180)]
APT = layer("apt", packages=["tini"])
CANONICAL = {uri.split("/")[2] for source in canonical("bookworm") for uri in source.uris}


@pytest.fixture(scope="module")
def places(tmp_path_factory):
    top = tmp_path_factory.mktemp("debian")
    yield top
    shutil.rmtree(top)


@pytest.fixture(scope="module")
def elsewhere(places):
    """The digest of the image that `first` is, made from nothing, with another home, directory and mask."""
    building = Building(Home(str(places / "two")), str(places / "elsewhere"))
    old = os.umask(0o077)
    try:
        return building.make(APT, base=BASE).digest
    finally:
        os.umask(old)


@pytest.fixture(scope="module")
def first(tmp_path_factory, places):
    building = Building(Home(debian_home(tmp_path_factory, places / "one")), str(places / "project"))
    lock = Lockfile.read(str(places / "envkit.lock"))
    return building, building.make(APT, base=BASE, lock=lock)


def test_elsewhere_it_is_the_same_to_the_byte(elsewhere, first):
    _, made = first
    assert elsewhere == made.digest


def test_the_image_boots_and_names_debian(first):
    building, made = first
    again = building.make(
        APT, shell("tini --version; dpkg --audit; cat /etc/apt/sources.list > /seen; apt-get --version"), base=BASE
    )
    assert again.built == [2]
    assert b"deb http://deb.debian.org/debian bookworm main\n" in again.content("seen", 2)
    assert made.config["config"]["Env"][0].startswith("PATH=/usr/local/sbin:")


def test_the_lock_has_every_package_of_every_layer(first, places):
    building, _ = first
    locked = json.loads((places / "envkit.lock").read_text())["debian"]
    assert list(locked) == ["bookworm/amd64"]
    assert {"libc6", "apt", "tini"} <= locked["bookworm/amd64"].keys()
    frozen = Lockfile.read(str(places / "envkit.lock"), frozen=True)
    assert building.make(APT, base=BASE, lock=frozen, name="test/frozen").built == []


def test_nothing_of_this_machine_is_in_it(first, tmp_path_factory):
    building, made = first
    environ = dict(os.environ)
    words = [uri for source in machine.apt_sources() for uri in source.uris]
    settings = (machine.pip_settings(environ), machine.npm_settings(environ), machine.proxies(environ))
    words += [word for found in settings for text in found.values() for word in text.split()]
    names = {urlsplit(word).hostname for word in words if "://" in word} - CANONICAL - {None, ""}
    with open("/etc/resolv.conf") as file:
        names |= {line.split()[1] for line in file if line.startswith("nameserver 1")}
    names |= {building.home.root, seed(tmp_path_factory), "/run/envkit"}
    if len(socket.gethostname()) > 6:
        names.add(socket.gethostname())
    for tree in made.trees:
        found = subprocess.run(
            ["grep", "-rlaF", *(word for name in sorted(names) for word in ("-e", name)), tree],
            capture_output=True, text=True, check=False,
        ).stdout  # fmt: skip
        assert not found, found
        for path in ("etc/hostname", "etc/resolv.conf", "etc/hosts", "var/log/dpkg.log", "usr/sbin/policy-rc.d"):
            assert not os.path.lexists(os.path.join(tree, path)), path
        for path in ("dev", "run", "tmp", "var/lib/apt/lists", "var/cache/apt/archives"):
            if os.path.isdir(os.path.join(tree, path)):
                assert os.listdir(os.path.join(tree, path)) == [], path


def test_no_file_is_younger_than_the_epoch_and_none_is_a_device(first):
    _, made = first
    seen = 0
    for tree in made.trees:
        for directory, _, names in os.walk(tree):
            seen += len(names)
            for name in names:
                info = os.lstat(os.path.join(directory, name))
                assert info.st_mtime <= 1577836800, os.path.join(directory, name)
                assert not stat.S_ISBLK(info.st_mode)
                assert not stat.S_ISCHR(info.st_mode) or info.st_rdev == 0
    assert seen > 4000


def test_what_cannot_be_had(first):
    building, _ = first
    with pytest.raises(ApplyError, match=r"package is not found.*no-such-package") as caught:
        building.make(layer("apt", packages=["no-such-package"]), base=BASE)
    assert "envkit.yaml:7:5" in str(caught.value)
    nowhere = {"http_proxy": "http://127.0.0.1:9", "PATH": os.environ["PATH"]}
    shutil.rmtree(os.path.join(building.home.cache, "build/apt"))
    with pytest.raises(ApplyError, match="package lists cannot be fetched") as caught:
        building.make(layer("apt", packages=["sl"]), base=BASE, environ=nowhere)
    assert caught.value.hint
    with pytest.raises(ApplyError, match="Debian base cannot be made"):
        building.make(base={"debian": "nosuchsuite"})
    with pytest.raises(ConflictError, match="frozen"):
        building.make(APT, base=BASE, lock=Lockfile(frozen=True))


def _wheel(directory, version, code):
    """A distribution as a wheel (PEP 427)."""
    info = f"demo-{version}.dist-info"
    os.makedirs(directory, exist_ok=True)
    with zipfile.ZipFile(os.path.join(directory, f"demo-{version}-py3-none-any.whl"), "w") as archive:
        archive.writestr("demo.py", code)
        archive.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: demo\nVersion: {version}\n")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")


def test_pip_is_locked_by_digest(first, places):
    building, _ = first
    wheels = str(places / "wheels")
    _wheel(wheels, "1.0", "VERSION = 1\n")
    environ = {**os.environ, "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": wheels}
    python = layer("apt", packages=["python3", "python3-venv"])
    demo = layer("pip", packages=["demo>=1"], venv="/opt/venv")
    check = shell("/opt/venv/bin/python3 -c 'import demo; print(demo.VERSION)' > /version; touch /opt/venv/lib")

    path = places / "pip.lock"

    def make(**options):
        lock = Lockfile.read(str(path), **options)
        return building.make(python, demo, check, base=BASE, environ=environ, lock=lock, name=f"test/{len(options)}")

    made = make()
    assert made.content("version", 3) == b"1\n"
    assert set(made.entries(3)) == {".", "version"}, "bytecode was compiled in its own layer and is valid"
    site = "opt/venv/lib/python3.11/site-packages"
    assert {f"{site}/demo.py", f"{site}/__pycache__/demo.cpython-311.pyc"} <= made.entries(2).keys()
    assert f"{site}/demo-1.0.dist-info/direct_url.json" not in made.entries(2)
    _wheel(wheels, "2.0", "VERSION = 2\n")
    assert make(frozen=True).built == []
    data = json.loads(path.read_text())
    (entry,) = data["pip"].values()
    entry["packages"]["demo"]["sha256"] = ["0" * 64]
    path.write_text(json.dumps(data))
    with pytest.raises(ApplyError, match="pip install failed") as caught:
        make()
    assert any("HASH" in line.upper() for line in caught.value.log)
    del data["pip"]
    path.write_text(json.dumps(data))
    assert make().content("version", 3) == b"1\n", "without a lock, what was made before will do"
