"""envkit.image.{aptsources,machine,packages}: what a machine says about its registries, and what a build gets of it."""

from __future__ import annotations

import pytest

from envkit.image import machine, packages
from envkit.image.aptsources import AptSource, canonical, for_this_machine, one_line, parse_deb822, parse_one_line

KEY = "/usr/share/keyrings/debian-archive-keyring.gpg"
MIRROR = "http://mirror.test/debian"

ONE_LINE = [
    ("deb http://h/d bookworm main", [AptSource(("http://h/d",), ("bookworm",), ("main",))]),
    ("deb [signed-by=/k arch=amd64,arm64] http://h/d x main contrib # why",
     [AptSource(("http://h/d",), ("x",), ("main", "contrib"), {"signed-by": "/k", "arch": "amd64 arm64"})]),
    ("# deb http://h/d bookworm main\ndeb-src http://h/d bookworm main\n", []),
    ("deb http://h/d ./\n", [AptSource(("http://h/d",), ("./",), ())]),
    ("\tdeb\thttp://h/d\tbookworm\tmain\n\n", [AptSource(("http://h/d",), ("bookworm",), ("main",))]),
    ("deb http://h/d", []), ("", []),
]  # fmt: skip


@pytest.mark.parametrize(("text", "sources"), ONE_LINE)
def test_one_line_sources(text, sources):
    assert parse_one_line(text) == sources


DEB822 = [
    ("Types: deb\nURIs: http://h/d\nSuites: a b\nComponents: main\nSigned-By: /k\n",
     [AptSource(("http://h/d",), ("a", "b"), ("main",), {"signed-by": "/k"})]),
    ("Types: deb-src\nURIs: http://h/d\nSuites: a\n", []),
    ("Enabled: no\nTypes: deb\nURIs: http://h/d\nSuites: a\n", []),
    ("# c\nTypes: deb\n# c\nURIs: http://h/d\n http://i/d\nSuites: a\n\nTypes: deb\nURIs: u\nSuites: s\n",
     [AptSource(("http://h/d", "http://i/d"), ("a",), ()), AptSource(("u",), ("s",), ())]),
    ("Types: deb\nURIs: u\nSuites: s\nSigned-By:\n -----BEGIN\n .\n x\n",
     [AptSource(("u",), ("s",), (), {"signed-by": "\n -----BEGIN\n .\n x"})]),
]  # fmt: skip


@pytest.mark.parametrize(("text", "sources"), DEB822)
def test_deb822_sources(text, sources):
    assert parse_deb822(text) == sources
    assert [parse_deb822(source.encode()) for source in sources] == [[source] for source in sources]


def test_an_image_names_debian_own_sources():
    assert one_line(canonical("bookworm")) == (
        "deb http://deb.debian.org/debian bookworm main\n"
        "deb http://deb.debian.org/debian bookworm-updates main\n"
        "deb http://security.debian.org/debian-security bookworm-security main\n"
    )
    assert one_line(canonical("sid")) == "deb http://deb.debian.org/debian sid main\n"


def machine_sources(*suites, uri=MIRROR, components=("main", "contrib"), **options):
    return AptSource((uri,), suites, components, {"signed-by": KEY, **options})


def test_the_machine_mirror_serves_debian_suites():
    found = for_this_machine(canonical("bookworm"), [
        machine_sources("bookworm", "bookworm-updates", pin="x"),
        machine_sources("bookworm-security", uri="http://mirror.test/security"),
    ])  # fmt: skip
    assert [(source.uris[0], source.suites, source.components) for source in found] == [
        (MIRROR, ("bookworm",), ("main",)), (MIRROR, ("bookworm-updates",), ("main",)),
        ("http://mirror.test/security", ("bookworm-security",), ("main",)),
    ]  # fmt: skip
    assert found[0].options == {"signed-by": KEY}, "only how to fetch and whom to trust"


def test_a_machine_of_another_release_serves_by_its_mirror():
    found = for_this_machine(canonical("trixie"), [machine_sources("bookworm")])
    assert [source.uris[0] for source in found][:1] == [MIRROR]
    assert found[0].suites == ("trixie",)
    assert found[2].uris == ("http://security.debian.org/debian-security",), "it has no mirror of security"


@pytest.mark.parametrize(
    "other",
    [
        AptSource(("http://vendor.test/debian",), ("bookworm",), ("main",), {"signed-by": "/etc/apt/vendor.gpg"}),
        AptSource(("http://vendor.test/debian",), ("bookworm",), ("vendor",)),
        AptSource(("http://vendor.test/debian",), ("vendor-bookworm/x",), ("main",)),
    ],
)
def test_a_vendor_source_is_not_debian(other):
    assert for_this_machine(canonical("bookworm"), [other]) == for_this_machine(canonical("bookworm"), [])


def test_a_source_that_the_image_added_stays():
    own = AptSource(("https://apt.test/x",), ("bookworm-x",), ("main",), {"signed-by": "/etc/apt/keyrings/x.gpg"})
    assert for_this_machine([own], [machine_sources("bookworm")]) == [own]


def test_pip_settings_of_files_and_variables(tmp_path):
    home = tmp_path / "home"
    (home / ".config/pip").mkdir(parents=True)
    (home / ".config/pip/pip.conf").write_text(
        "[global]\nindex-url = https://a.test/simple\nfind_links = /w\n    /v\n[install]\nno-compile = yes\n"
    )
    found = machine.pip_settings({"HOME": str(home), "XDG_CONFIG_DIRS": str(tmp_path), "PIP_INDEX_URL": "https://b.test/s"})
    assert found["index-url"] == "https://b.test/s"
    assert found["find-links"] == "/w\n/v"
    assert "no-compile" not in found


def test_npm_settings_of_files_and_variables(tmp_path):
    (tmp_path / ".npmrc").write_text(
        "registry=https://a.test/\n# c\n@s:registry = https://s.test/\n//a.test/:_authToken=${TOKEN_X}\nfund=false\n"
    )
    found = machine.npm_settings({"HOME": str(tmp_path), "NPM_CONFIG_REGISTRY": "https://b.test/"})
    assert found["registry"] == "https://b.test/"
    assert found["@s:registry"] == "https://s.test/"
    assert "//a.test/:_authToken" in found
    assert "fund" not in found


def test_proxies_in_both_spellings():
    assert machine.proxies({"HTTPS_PROXY": "http://p:1", "no_proxy": "x"}) == {
        "https_proxy": "http://p:1", "HTTPS_PROXY": "http://p:1", "no_proxy": "x", "NO_PROXY": "x",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("proxy", "loopback"),
    [("http://127.0.0.1:3128", True), ("http://u:p@localhost:1", True), ("http://[::1]:1", True),
     ("http://10.0.0.1:3128", False), ("http://localhost.example:1", False)],
)  # fmt: skip
def test_a_proxy_on_the_loopback(proxy, loopback):
    assert machine.loopback_proxy({"http_proxy": proxy}) == (proxy if loopback else "")


def test_local_paths_of_settings(tmp_path):
    index = tmp_path / "index/simple"
    index.mkdir(parents=True)
    wheels = tmp_path / "wheels"
    wheels.mkdir()
    assert machine.local_paths([f"file://{index} https://h/simple", str(wheels), "/no/such", "yes"]) == [
        str(tmp_path / "index"), str(wheels),
    ]  # fmt: skip


STATUS = """\
Package: dpkg
Status: install ok installed
Priority: required
Architecture: amd64
Version: 1.21

Package: gone
Status: deinstall ok config-files
Architecture: amd64
Version: 1

Package: libc6
Status: install ok installed
Architecture: i386
Version: 2.36

Package: tzdata
Status: install ok installed
Architecture: all
Version: 2024a
"""


def test_installed_packages(tmp_path):
    (tmp_path / "var/lib/dpkg").mkdir(parents=True)
    (tmp_path / "etc").mkdir()
    (tmp_path / "var/lib/dpkg/status").write_text(STATUS)
    root = str(tmp_path)
    assert packages.installed(root) == {"dpkg": "1.21", "libc6:i386": "2.36", "tzdata": "2024a"}
    (tmp_path / "etc/debian_version").write_text("trixie/sid\n")
    assert packages.suite_of(root) == "trixie/amd64"
    (tmp_path / "etc/os-release").write_text('NAME=x\nVERSION_CODENAME="bookworm"\n')
    assert packages.suite_of(root) == "bookworm/amd64"


def test_words_of_apt():
    assert packages.to_install([
        "Inst libssl3 (3.0.11 Debian:12/stable [amd64])", "Inst libc6 [2.35] (2.36 Debian:12/stable [amd64]) []",
        "Conf libssl3 (3.0.11 Debian:12/stable [amd64])",
    ]) == {"libssl3": "3.0.11", "libc6": "2.36"}  # fmt: skip
    assert packages.missing([
        "E: Unable to locate package nope", "E: Package 'virtual' has no installation candidate",
        "E: Version '9' for 'nginx' was not found",
    ]) == ["nope", "virtual", "nginx=9"]  # fmt: skip
    assert packages.preferences({"b": "2", "a": "1"}).startswith("Package: a\nPin: version 1\nPin-Priority: 1001\n")
