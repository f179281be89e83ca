"""registries.conf, credentials, platforms, policies and errors, without any registry."""

from __future__ import annotations

import base64
import json
import os
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from envkit.errors import EnvkitError, ImageError, UnsupportedError, UsageError
from envkit.image.credentials import authfile, found
from envkit.image.platform import choose, parse_platform
from envkit.image.policy import is_due, period
from envkit.image.reference import parse
from envkit.image.registries import Registries
from envkit.image.registry_errors import from_text

CONF = """
unqualified-search-registries = ["one.example", "two.example:5000"]
[[registry]]
prefix = "example.com/foo"
location = "inner.example/bar"
blocked = false
[[registry.mirror]]
location = "near.example/foo"
insecure = true
[[registry.mirror]]
location = "pinned.example"
pull-from-mirror = "digest-only"
[[registry]]
location = "example.com"
blocked = true
[[registry]]
prefix = "*.wild.example"
insecure = true
[aliases]
"tool" = "three.example/team/tool"
"erased" = ""
"""


@pytest.fixture
def registries(tmp_path: Path) -> Registries:
    (tmp_path / "r.conf").write_text(CONF)
    return Registries.load({"HOME": str(tmp_path), "ENVKIT_REGISTRIES_CONF": str(tmp_path / "r.conf")})


@pytest.mark.parametrize(
    ("written", "asked"),
    [
        ("tool", ["three.example/team/tool:latest"]),
        ("tool:2", ["three.example/team/tool:2"]),
        ("erased", ["one.example/erased:latest", "two.example:5000/erased:latest"]),
        ("team/x:1", ["one.example/team/x:1", "two.example:5000/team/x:1"]),
        ("docker.io/tool", ["docker.io/library/tool:latest"]),
        ("localhost/tool", ["localhost/tool:latest"]),
        ("other.example/tool", ["other.example/tool:latest"]),
    ],
)
def test_short_names(registries: Registries, written: str, asked: list[str]) -> None:
    assert list(map(str, registries.candidates(written))) == asked


@pytest.mark.parametrize(
    ("name", "hosts"),
    [
        ("example.com/foo/x:1", ["near.example", "inner.example"]),
        (f"example.com/foo/x@sha256:{'0' * 64}", ["near.example", "pinned.example", "inner.example"]),
        ("example.com/foobar:1", ["example.com"]),
        ("a.b.wild.example/x", ["a.b.wild.example"]),
        ("docker.io/x/y", ["registry-1.docker.io"]),
    ],
)
def test_endpoints(registries: Registries, name: str, hosts: list[str]) -> None:
    assert [item.host for item in registries.endpoints(parse(name))] == hosts


def test_what_is_blocked_and_insecure(registries: Registries) -> None:
    assert registries.is_blocked(parse("example.com/foobar:1"))
    assert not registries.is_blocked(parse("example.com/foo/x:1"))
    assert registries.endpoints(parse("a.wild.example/x"))[0].insecure
    assert not registries.mentions(parse("wild.example/x"))


def test_drop_ins_and_broken_files(tmp_path: Path) -> None:
    own = tmp_path / ".config/containers"
    (own / "registries.conf.d").mkdir(parents=True)
    (own / "registries.conf").write_text('unqualified-search-registries = ["a.example"]\n')
    (own / "registries.conf.d/10.conf").write_text('[aliases]\n"x" = "b.example/x"\n')
    found = Registries.load({"HOME": str(tmp_path)})
    assert found.search == ("a.example",)
    assert found.aliases["x"] == "b.example/x"
    (own / "registries.conf").write_text("what = [\n")
    with pytest.raises(EnvkitError, match=r"registries\.conf"):
        Registries.load({"HOME": str(tmp_path)})
    with pytest.raises(EnvkitError, match="does not exist"):
        Registries.load({"HOME": str(tmp_path), "ENVKIT_REGISTRIES_CONF": "/nowhere/r.conf"})


def write(path: Path, value: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value))


def test_the_first_file_that_knows_a_registry_wins(tmp_path: Path) -> None:
    write(tmp_path / "run/containers/auth.json", {"auths": {"a.example": {"auth": "cnVu"}}})
    write(tmp_path / ".docker/config.json", {"auths": {"a.example": {"auth": "aG9tZQ=="}, "b.example": {"auth": "Yg=="},
                                                       "c.example": {}}})  # fmt: skip
    environ = {"HOME": str(tmp_path), "XDG_RUNTIME_DIR": str(tmp_path / "run")}
    assert found(["a.example"], environ) == {"a.example": {"auth": "cnVu"}, "b.example": {"auth": "Yg=="}}
    write(tmp_path / "docker/config.json", {"auths": {"a.example": {"auth": "ZG9ja2Vy"}}})
    environ["DOCKER_CONFIG"] = str(tmp_path / "docker")
    assert found(["a.example"], environ) == {"a.example": {"auth": "ZG9ja2Vy"}}
    with authfile(["a.example"], environ) as (path, descriptor):
        assert json.loads(Path(path).read_text())["auths"]["a.example"] == {"auth": "ZG9ja2Vy"}
        assert os.get_inheritable(descriptor) is False
        assert "memfd" in os.readlink(path)
    (tmp_path / "docker/config.json").write_text("{")
    with pytest.raises(EnvkitError, match="not JSON"):
        found([], environ)


def test_a_helper_for_docker_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    helper = tmp_path / "docker-credential-hub"
    helper.write_text('#!/bin/sh\nread server; echo "{\\"Username\\":\\"u\\",\\"Secret\\":\\"$server\\"}"\n')
    helper.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    write(tmp_path / ".docker/config.json", {"credsStore": "hub"})
    environ = {"HOME": str(tmp_path), "PATH": os.environ["PATH"], "XDG_RUNTIME_DIR": str(tmp_path)}
    auth = found(["docker.io"], environ)["docker.io"]["auth"]
    assert base64.b64decode(auth) == b"u:https://index.docker.io/v1/"
    write(tmp_path / ".docker/config.json", {"credsStore": "not-there"})
    with pytest.raises(UnsupportedError, match="docker-credential-not-there"):
        found(["docker.io"], environ)


@pytest.mark.parametrize(
    ("text", "machine", "meant"),
    [
        ("", "amd64", "linux/amd64"), ("linux/arm/v7", "amd64", "linux/arm/v7"), ("aarch64", "amd64", "linux/arm64"),
        ("linux", "arm64", "linux/arm64"), ("linux/x86_64", "arm64", "linux/amd64"),
    ],
)  # fmt: skip
def test_platforms(text: str, machine: str, meant: str) -> None:
    assert str(parse_platform(text, machine)) == meant


@pytest.mark.parametrize("text", ["windows/amd64", "linux/", "a/b/c/d", "/"])
def test_no_platform(text: str) -> None:
    with pytest.raises(UsageError):
        parse_platform(text, "amd64")


def test_the_nearest_variant_is_taken() -> None:
    def entry(architecture: str, variant: str = "", name: str = "linux") -> dict[str, object]:
        return {"platform": {"os": name, "architecture": architecture, "variant": variant}}

    arms = [entry("arm", "v5"), entry("arm", "v7"), entry("arm", "v6")]
    items = [entry("unknown", name="unknown"), *arms, entry("arm64", "v8")]
    assert choose(items, parse_platform("linux/arm/v7", ""), "x") is items[2]
    assert choose(items[:2] + items[3:], parse_platform("linux/arm/v7", ""), "x") is items[3]
    assert choose(items, parse_platform("linux/arm64", ""), "x") is items[4]
    with pytest.raises(ImageError, match="there is linux/arm/v5"):
        choose(items[:2], parse_platform("linux/amd64", ""), "x")


@pytest.mark.parametrize(
    ("policy", "seconds"),
    [
        ("", None), ("missing", None), ("if_not_present", None), ("never", None), ("build", None), ("always", 0),
        ("daily", 86400), ("weekly", 604800), ("every_12h", 43200), ("every_1h30m", 5400), ("every_2w1d", 1296000),
        ("every_45s", 45),
    ],
)  # fmt: skip
def test_periods(policy: str, seconds: float | None) -> None:
    assert period(policy) == seconds


@given(st.floats(0, 2e9), st.sampled_from(["daily", "weekly", "every_5m"]))
def test_an_image_is_due_once_its_time_is_over(pulled: float, policy: str) -> None:
    age = time.time() - pulled
    assert is_due(policy, pulled) == (pulled == 0 or age >= (period(policy) or 0) - 1e-3)
    assert not is_due("missing", pulled)
    assert is_due("always", time.time())


@pytest.mark.parametrize("policy", ["sometimes", "every_", "every_5", "every_x1h"])
def test_no_policy(policy: str) -> None:
    with pytest.raises(ValueError, match="pull policy"):
        period(policy)


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        ("reading manifest 9 in r.example/x: manifest unknown: manifest unknown", "not-found"),
        ("reading manifest 1 in r.example/x: unauthorized: authentication required", "unauthorised"),
        ("requested access to the resource is denied", "unauthorised"),
        ("Get https://r.example/v2/: dial tcp: lookup r.example on 10.0.0.1:53: no such host", "unknown-host"),
        ("dial tcp 127.0.0.1:9: connect: connection refused", "refused"),
        ("dial tcp 203.0.113.1:443: i/o timeout", "unreachable"),
        ("x509: certificate signed by unknown authority", "certificate"),
        ("http: server gave HTTP response to HTTPS client", "plain-http"),
        ("toomanyrequests: You have reached your pull rate limit", "rate-limited"),
        ("registry r.example is blocked in /etc/containers/registries.conf", "blocked"),
        ("read tcp 127.0.0.1:1->127.0.0.1:2: read: connection reset by peer", "interrupted"),
        ("unexpected EOF", "interrupted"),
        ("write /x: no space left on device", "disk-full"),
        ("received unexpected HTTP status: 503 Service Unavailable", "server"),
        ("Source image rejected: Running image r.example/x is rejected by policy.", "policy"),
        ("something nobody has seen", "other"),
    ],
)
def test_what_registries_say(said: str, kind: str) -> None:
    log = 'time="2026-01-02" level=fatal msg="Error parsing image name \\"docker://r.example/x:1\\": ' + said + '"'
    for text in (said, log):
        error = from_text(text, "r.example/x:1")
        assert error.kind == kind
        assert said in error.detail
        assert "docker://" not in error.detail
    assert error.transient == (kind in ("interrupted", "server"))
