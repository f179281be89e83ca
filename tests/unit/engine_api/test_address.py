"""Where the docker command would go, envkit goes."""

from __future__ import annotations

import json
from hashlib import sha256
from pathlib import Path

import pytest

from envkit.backend.engine_api import EngineUnreachableError, find_address
from envkit.backend.engine_api.dial import ssh_arguments


def config(folder: Path, *, current: str = "", contexts: dict[str, str] | None = None, tls: str = "") -> dict[str, str]:
    """A ~/.docker with contexts (name -> host), one with certificates; the variables that lead there."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps({"currentContext": current} if current else {}))
    for name, host in (contexts or {}).items():
        digest = sha256(name.encode()).hexdigest()
        place = folder / "contexts/meta" / digest
        place.mkdir(parents=True)
        endpoint = {"Host": host, "SkipTLSVerify": False}
        (place / "meta.json").write_text(json.dumps({"Name": name, "Endpoints": {"docker": endpoint}}))
        if name == tls:
            keys = folder / "contexts/tls" / digest / "docker"
            keys.mkdir(parents=True)
            for file in ("ca.pem", "cert.pem", "key.pem"):
                (keys / file).write_text("x")
    return {"DOCKER_CONFIG": str(folder)}


def test_the_default(tmp_path: Path) -> None:
    assert find_address({"DOCKER_CONFIG": str(tmp_path)}).url == "unix:///var/run/docker.sock"


def test_the_order_of_precedence(tmp_path: Path) -> None:
    base = config(tmp_path, current="c", contexts={name: f"unix:///{name}.sock" for name in "abc"})
    assert find_address(base).url == "unix:///c.sock"
    assert find_address({**base, "DOCKER_CONTEXT": "b"}).url == "unix:///b.sock"
    assert find_address({**base, "DOCKER_CONTEXT": "b", "DOCKER_HOST": "unix:///h.sock"}).url == "unix:///h.sock"
    assert find_address({**base, "DOCKER_HOST": "unix:///h.sock"}, context="a").url == "unix:///a.sock"
    assert find_address({**base, "DOCKER_CONTEXT": "default"}).url == "unix:///var/run/docker.sock"


def test_a_context_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(EngineUnreachableError) as caught:
        find_address({**config(tmp_path), "DOCKER_CONTEXT": "gone"})
    assert "'gone', from DOCKER_CONTEXT" in str(caught.value)


def test_certificates_of_a_context(tmp_path: Path) -> None:
    found = find_address(config(tmp_path, current="far", contexts={"far": "tcp://far:2376"}, tls="far"))
    assert found.tls
    assert found.verify
    assert found.ca.endswith("/docker/ca.pem")


def test_certificates_of_variables(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("x")
    base = {"DOCKER_HOST": "tcp://far:2376", "DOCKER_CERT_PATH": str(tmp_path)}
    assert not find_address(base).tls
    found = find_address({**base, "DOCKER_TLS_VERIFY": "1"})
    assert (found.tls, found.verify, found.ca, found.cert) == (True, True, str(tmp_path / "ca.pem"), "")
    assert not find_address({**base, "DOCKER_TLS": "1"}).verify


@pytest.mark.parametrize("url", ["ftp://x", "tcp://", "unix://", "tcp://host"])
def test_what_cannot_be_read(url: str) -> None:
    with pytest.raises(EngineUnreachableError):
        find_address({"DOCKER_HOST": url})


def test_ssh_is_called_as_docker_calls_it() -> None:
    words = ssh_arguments(find_address({"DOCKER_HOST": "ssh://me@far:2222"}))
    assert words[-9:] == ["-l", "me", "-p", "2222", "--", "far", "docker", "system", "dial-stdio"]
    assert "BatchMode=yes" in words
