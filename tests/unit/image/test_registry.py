"""Images to and from a real registry on loopback; skopeo by itself is the judge."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from envkit.digest import sha256
from envkit.errors import EnvkitError, ImageError
from envkit.events import Event
from envkit.image.fetch import ensure
from envkit.image.pull import look, pull
from envkit.image.push import push
from envkit.image.registry_errors import RegistryError
from envkit.image.store import Store
from tests.support.images import busybox_layer
from tests.support.layers import first_layer
from tests.support.registry import AUTH, PASSWORD, USER, Registry, image, refused, skopeo

pytestmark = pytest.mark.root


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    """With TLS by an authority that nobody knows, and a password."""
    registry = Registry(tmp_path_factory.mktemp("guarded"), tls=True, password=True)
    yield registry
    registry.stop()


@pytest.fixture
def person(tmp_path: Path) -> dict[str, str]:
    """The variables of somebody who has no settings at all."""
    (tmp_path / "person").mkdir()
    kept = {name: value for name, value in os.environ.items() if name in ("PATH", "LANG")}
    return {**kept, "HOME": str(tmp_path / "person"), "XDG_RUNTIME_DIR": str(tmp_path / "person")}


def test_what_is_pushed_is_what_everybody_pulls(store: Store, other: Store, plain: Registry) -> None:
    reference = f"{plain.host}/team/app:1"
    digest = image(store, reference)
    assert push(store, reference) == digest
    assert sha256(skopeo("inspect", "--raw", "--tls-verify=false", f"docker://{reference}").encode()) == digest
    events: list[Event] = []
    assert pull(other, reference, emit=events.append) == digest
    assert other.resolve(reference) == digest
    assert other.image(reference).config == store.image(reference).config
    assert all(map(os.path.isdir, other.image(reference).trees))
    fetched = {event.data["blob"]: event.data for event in events if event.data.get("status") == "fetched"}
    assert len(fetched) == 3
    assert all(item["bytes"] == item["size"] for item in fetched.values())
    skopeo("copy", f"oci:{other.root}:{reference}", "dir:" + str(Path(other.root).parent / "dir"))


def test_a_docker_manifest_keeps_its_digest(store: Store, other: Store, plain: Registry, tmp_path: Path) -> None:
    image(store, "tests/app:1")
    target = f"{plain.host}/team/docker:1"
    skopeo("copy", "--format", "v2s2", "--dest-tls-verify=false", f"oci:{store.root}:docker.io/tests/app:1",
           f"docker://{target}")  # fmt: skip
    theirs = sha256(skopeo("inspect", "--raw", "--tls-verify=false", f"docker://{target}").encode())
    assert pull(other, target) == theirs
    assert other.resolve(f"{plain.host}/team/docker@{theirs}") == theirs
    assert push(other, target, to=f"{plain.host}/team/again:1") == theirs


def test_an_image_pinned_by_digest(store: Store, other: Store, plain: Registry) -> None:
    reference = f"{plain.host}/team/pinned"
    first = image(store, f"{reference}:1")
    push(store, f"{reference}:1")
    second = image(store, f"{reference}:1", first_layer())
    push(store, f"{reference}:1")
    assert first != second
    assert pull(other, f"{reference}@{first}") == first
    assert pull(other, f"{reference}:1@{first}") == first
    assert ensure(other, f"{reference}:1", pinned=first) == first
    assert other.resolve(f"{reference}:1") == first
    assert pull(other, f"{reference}:1") == second
    refused("not-found", other, f"{reference}@sha256:{'0' * 64}")


def test_a_blob_that_is_here_is_not_fetched(store: Store, other: Store, plain: Registry) -> None:
    image(store, f"{plain.host}/team/few:1")
    image(store, f"{plain.host}/team/many:1", first_layer(), busybox_layer())
    for name in ("few", "many"):
        push(store, f"{plain.host}/team/{name}:1")
    pull(other, f"{plain.host}/team/few:1")
    events: list[Event] = []
    pull(other, f"{plain.host}/team/many:1", emit=events.append)
    status = [event.data["status"] for event in events if event.data.get("status") in ("here", "fetched")]
    assert sorted(status) == ["fetched", "fetched", "here", "here"]  # the configuration and busybox are new
    before = plain.log.count("/blobs/")
    pull(other, f"{plain.host}/team/many:1")
    assert plain.log.count("/blobs/") == before


def index(store: Store, plain: Registry, reference: str) -> tuple[str, dict[str, str]]:
    """Push an index of three platforms; (its digest, platform -> digest of the image)."""
    entries, digests = [], {}
    for architecture, variant in (("arm64", "v8"), ("amd64", ""), ("arm", "v7")):
        layer = store.add_layer(io.BytesIO(first_layer()))
        which = {"architecture": architecture, **({"variant": variant} if variant else {})}
        config = {**which, "config": {"Cmd": [architecture]}}
        digest = store.add_image(config, [layer], f"tests/{architecture}")
        platform = {"os": "linux", **which}
        size = os.path.getsize(store.blob_path(digest))
        media_type = "application/vnd.oci.image.manifest.v1+json"
        entries.append({"mediaType": media_type, "digest": digest, "size": size, "platform": platform})
        digests["/".join(platform.values())] = digest
    value = {"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": entries}
    blob = store.put_bytes(json.dumps(value).encode(), value["mediaType"])  # type: ignore[arg-type]
    layout = Path(store.root).parent / "layout"
    layout.mkdir()
    (layout / "blobs").symlink_to(f"{store.root}/blobs")
    (layout / "oci-layout").write_text('{"imageLayoutVersion":"1.0.0"}')
    entry = {"mediaType": value["mediaType"], "digest": blob.digest, "size": blob.size}
    (layout / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [entry]}))
    skopeo("copy", "--all", "--preserve-digests", "--dest-tls-verify=false", f"oci:{layout}", f"docker://{reference}")
    return blob.digest, digests


def test_the_platform_is_chosen(store: Store, other: Store, plain: Registry) -> None:
    reference = f"{plain.host}/team/platforms:1"
    whole, digests = index(store, plain, reference)
    assert pull(other, reference, platform="linux/amd64") == digests["linux/amd64"]
    assert other.resolve(f"{plain.host}/team/platforms@{whole}") == digests["linux/amd64"]
    entry = other.entry(reference)
    assert entry is not None
    assert entry.origin == whole
    assert ensure(other, reference, platform="linux/arm64") == digests["linux/arm64/v8"]
    assert ensure(other, reference, platform="linux/arm/v7") == digests["linux/arm/v7"]
    assert ensure(other, reference, pinned=whole, platform="linux/amd64") == digests["linux/amd64"]
    with pytest.raises(ImageError, match="wanted linux/s390x, there is linux/arm64/v8, linux/amd64, linux/arm/v7"):
        pull(other, reference, platform="linux/s390x")
    with pytest.raises(ImageError, match="wanted linux/arm/v6"):
        pull(other, reference, platform="linux/arm/v6")


# -- who may, and who is trusted


def test_a_certificate_must_be_known(store: Store, guarded: Registry, person: dict[str, str]) -> None:
    conf = Path(person["HOME"]) / "registries.conf"
    conf.write_text(f'[[registry]]\nlocation = "{guarded.host}"\ninsecure = false\n')
    error = refused("certificate", store, f"{guarded.host}/x:1", {**person, "ENVKIT_REGISTRIES_CONF": str(conf)})
    assert "certs.d" in error.hint


def login(home: Path, host: str, auth: str) -> None:
    (home / ".docker").mkdir()
    (home / ".docker/config.json").write_text(json.dumps({"auths": {host: {"auth": auth}}}))


def strict(person: dict[str, str], registry: Registry) -> dict[str, str]:
    """Loopback registries are trusted as Docker does, unless registries.conf speaks of them."""
    conf = Path(person["HOME"]) / "registries.conf"
    conf.write_text(f'[[registry]]\nlocation = "{registry.host}"\n')
    return {**person, "CONTAINERS_REGISTRIES_CONF": str(conf)}


def test_a_password_is_needed(store: Store, other: Store, guarded: Registry, person: dict[str, str]) -> None:
    home, reference = Path(person["HOME"]), f"{guarded.host}/private/app:1"
    digest = image(store, reference)
    guarded.trust(home)
    environ = strict(person, guarded)
    assert "login" in refused("unauthorised", other, reference, environ).hint
    with pytest.raises(RegistryError, match="credentials"):
        push(store, reference, environ=environ)
    login(home, guarded.host, "YWxhZGRpbjp3cm9uZw==")
    refused("unauthorised", other, reference, environ)
    (home / "elsewhere").mkdir()
    (home / "elsewhere/config.json").write_text(json.dumps({"auths": {guarded.host: {"auth": AUTH}}}))
    environ["DOCKER_CONFIG"] = str(home / "elsewhere")
    assert push(store, reference, environ=environ) == digest
    assert pull(other, reference, environ=environ) == digest


@pytest.mark.parametrize("form", ["credHelpers", "credsStore"])
def test_a_credential_helper_is_asked(
    form: str, store: Store, guarded: Registry, person: dict[str, str], tmp_path: Path
) -> None:
    home, reference = Path(person["HOME"]), f"{guarded.host}/private/{form.lower()}:1"
    guarded.trust(home)
    helper = tmp_path / "docker-credential-tests"
    helper.write_text(
        f'#!/bin/sh\nread server\n'
        f'[ "$1 $server" = "get {guarded.host}" ] || {{ echo credentials not found; exit 1; }}\n'
        f'echo \'{{"ServerURL":"","Username":"{USER}","Secret":"{PASSWORD}"}}\'\n'
    )
    helper.chmod(0o755)
    environ = {**strict(person, guarded), "PATH": f"{tmp_path}:{person['PATH']}", "DOCKER_CONFIG": str(home)}
    settings = {"credHelpers": {guarded.host: "tests"}} if form == "credHelpers" else {"credsStore": "tests"}
    (home / "config.json").write_text(json.dumps({**settings, "auths": {guarded.host: {}}}))
    saved = os.environ["PATH"]
    os.environ["PATH"] = environ["PATH"]
    try:
        digest = image(store, reference)
        assert push(store, reference, environ=environ) == digest
    finally:
        os.environ["PATH"] = saved


# -- mirrors, short names


def test_mirrors_and_short_names(store: Store, other: Store, plain: Registry, person: dict[str, str]) -> None:
    digest = image(store, f"{plain.host}/library/tool:1")
    push(store, f"{plain.host}/library/tool:1")
    image(store, f"{plain.host}/team/short:1", first_layer())
    short = push(store, f"{plain.host}/team/short:1")
    conf = Path(person["HOME"]) / "registries.conf"
    conf.write_text(f"""
unqualified-search-registries = ["127.0.0.1:9", "{plain.host}"]
[[registry]]
prefix = "docker.io"
location = "docker.io"
[[registry.mirror]]
location = "127.0.0.1:9"
[[registry.mirror]]
location = "{plain.host}"
insecure = true
[[registry]]
location = "{plain.host}"
insecure = true
[[registry]]
location = "blocked.example"
blocked = true
[aliases]
"brief" = "{plain.host}/team/short"
""".replace('["127.0.0.1:9", ', "["))
    environ = {**person, "ENVKIT_REGISTRIES_CONF": str(conf)}
    assert pull(other, "docker.io/library/tool:1", environ=environ) == digest
    assert pull(other, "brief:1", environ=environ) == short
    assert other.resolve("brief:1") == other.resolve(f"{plain.host}/team/short:1") == short
    assert pull(other, "library/tool:1", environ=environ) == digest
    refused("blocked", other, "blocked.example/x:1", environ)
    error = refused("not-found", other, "nobody/has-this:1", environ)
    assert plain.host in error.detail


def test_looking_writes_nothing(store: Store, plain: Registry) -> None:
    digest = image(store, f"{plain.host}/team/looked-at:1")
    push(store, f"{plain.host}/team/looked-at:1")
    assert look(f"{plain.host}/team/looked-at:1").digest == digest
    with pytest.raises(EnvkitError):
        look("not a name")


def test_no_skopeo(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    from envkit.errors import UnsupportedError
    from envkit.host import process

    monkeypatch.setattr(process, "find", lambda tool: None)
    with pytest.raises(UnsupportedError) as caught:
        pull(store, "127.0.0.1:9/x")
    assert "apt-get install skopeo" in caught.value.hint
