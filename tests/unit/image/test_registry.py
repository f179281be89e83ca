"""Images to and from a real registry on loopback; skopeo by itself is the judge."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from envkit.digest import sha256
from envkit.errors import EnvkitError, HostError, ImageError, NotFoundError
from envkit.events import Event
from envkit.host import mounts
from envkit.host.home import Home
from envkit.image import reach
from envkit.image.fetch import ensure
from envkit.image.pull import look, pull
from envkit.image.push import push
from envkit.image.registry_errors import RegistryError
from envkit.image.store import Store
from tests.support.images import busybox_layer
from tests.support.layers import first_layer, second_layer
from tests.support.registry import AUTH, PASSWORD, USER, Registry, Wire, skopeo

pytestmark = pytest.mark.root


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    registry = Registry(tmp_path_factory.mktemp("plain"))
    yield registry
    registry.stop()


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    """With TLS by an authority that nobody knows, and a password."""
    registry = Registry(tmp_path_factory.mktemp("guarded"), tls=True, password=True)
    yield registry
    registry.stop()


@pytest.fixture
def other(tmp_path: Path) -> Store:
    return Store(Home(str(tmp_path / "other")))


@pytest.fixture
def person(tmp_path: Path) -> dict[str, str]:
    """The variables of somebody who has no settings at all."""
    (tmp_path / "person").mkdir()
    kept = {name: value for name, value in os.environ.items() if name in ("PATH", "LANG")}
    return {**kept, "HOME": str(tmp_path / "person"), "XDG_RUNTIME_DIR": str(tmp_path / "person")}


def image(store: Store, reference: str, *more: bytes) -> str:
    """An image of two small layers and one of each of more; its digest."""
    layers = []
    for data in (first_layer(), second_layer(), *more):
        layers.append(store.add_layer(io.BytesIO(data), layers))
    return store.add_image({"config": {"Cmd": ["/bin/sh"]}}, layers, reference)


def big_layer(size: int, name: str = "big") -> bytes:
    import tarfile

    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        member = tarfile.TarInfo(name)
        member.size = size
        archive.addfile(member, io.BytesIO(os.urandom(size)))
    return buffer.getvalue()


def refused(kind: str, store: Store, reference: str, environ: dict[str, str] | None = None) -> RegistryError:
    with pytest.raises(RegistryError) as caught:
        pull(store, reference, environ=environ)
    assert caught.value.kind == kind, caught.value
    assert caught.value.hint
    assert store.resolve(reference) is None
    return caught.value


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


# -- what goes wrong on the way


def test_nothing_there(store: Store, plain: Registry) -> None:
    error = refused("not-found", store, f"{plain.host}/team/nothing:1")
    assert f"{plain.host}/team/nothing:1" in error.detail
    began = time.monotonic()
    refused("refused", store, "127.0.0.1:9/x:1")
    refused("unknown-host", store, "registry.invalid/x:1")
    assert time.monotonic() - began < 5
    with pytest.raises(NotFoundError, match="pull_policy is 'never'"):
        ensure(store, f"{plain.host}/team/nothing:1", policy="never")


def test_a_registry_that_never_answers(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reach, "SECONDS", 0.3)

    def slow(*_: object) -> None:
        time.sleep(1)
        raise TimeoutError

    monkeypatch.setattr("socket.create_connection", slow)
    began = time.monotonic()
    error = refused("unreachable", store, "203.0.113.1/x:1")
    assert "no answer within" in error.detail
    assert time.monotonic() - began < 0.9


def test_a_stopped_registry_and_one_that_comes_back(store: Store, other: Store, tmp_path: Path) -> None:
    registry = Registry(tmp_path / "registry")
    try:
        reference = f"{registry.host}/team/app:1"
        digest = image(store, reference)
        push(store, reference)
        registry.stop()
        reach.forget()
        refused("refused", other, reference)
        assert ensure(store, reference) == digest
        warned: list[Event] = []
        assert ensure(store, reference, policy="daily", emit=warned.append) == digest
        assert "the image that is here is used" in warned[-1].message
        with pytest.raises(RegistryError):
            ensure(store, reference, policy="always")
        registry.start()
        assert pull(other, reference) == digest
    finally:
        registry.stop()


def test_a_damaged_blob_is_found(store: Store, other: Store, tmp_path: Path) -> None:
    registry = Registry(tmp_path / "registry")
    try:
        reference = f"{registry.host}/team/app:1"
        image(store, reference)
        push(store, reference)
        layer = store.image(reference).layers[0]
        path = registry.blob(layer.digest)
        path.write_bytes(b"x" * path.stat().st_size)
        with pytest.raises((RegistryError, ImageError)) as caught:
            pull(other, reference)
        assert layer.digest[7:19] in caught.value.detail
        assert not os.path.exists(other.blob_path(layer.digest))
        assert other.resolve(reference) is None
    finally:
        registry.stop()


def test_a_wire_that_breaks_once(store: Store, other: Store, plain: Registry) -> None:
    digest = image(store, f"{plain.host}/team/broken:1", big_layer(3_000_000))
    push(store, f"{plain.host}/team/broken:1")
    wire = Wire(plain.host, cut_after=1_000_000)
    try:
        assert pull(other, f"{wire.host}/team/broken:1") == digest
        assert wire.brought > 3_500_000, "it was not cut"
    finally:
        wire.close()


def test_killed_in_the_middle_it_goes_on(store: Store, other: Store, plain: Registry) -> None:
    small, large = big_layer(200_000, "small"), big_layer(3_000_000)
    digest = image(store, f"{plain.host}/team/slow:1", small, large)
    push(store, f"{plain.host}/team/slow:1")
    wire = Wire(plain.host, rate=1_200_000)
    try:
        reference = f"{wire.host}/team/slow:1"
        command = [sys.executable, "-m", "envkit.cli.main", "image", "pull", reference]
        victim = subprocess.Popen(command, env={**os.environ, "ENVKIT_HOME": other.home.root}, start_new_session=True)
        wanted = other.blob_path(sha256(small))
        deadline = time.monotonic() + 20
        while not os.path.exists(wanted) and time.monotonic() < deadline:
            time.sleep(0.02)
        victim.send_signal(signal.SIGKILL)
        victim.wait(10)
        assert not os.path.exists(other.blob_path(sha256(large)))
        assert other.resolve(reference) is None
        events: list[Event] = []
        assert pull(other, reference, emit=events.append) == digest
        here = {event.data["blob"] for event in events if event.data.get("status") == "here"}
        assert sha256(small) in here
        assert sha256(large) not in here
    finally:
        wire.close()
    deadline = time.monotonic() + 10
    while _children_of_nobody(wire.host) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not _children_of_nobody(wire.host)


def _children_of_nobody(host: str) -> list[str]:
    """skopeos that were left behind."""
    done = subprocess.run(["pgrep", "-af", f"skopeo.*{host}"], capture_output=True, text=True, check=False, timeout=10)
    return done.stdout.splitlines()


def test_two_at_once_share_the_work(store: Store, other: Store, plain: Registry) -> None:
    digest = image(store, f"{plain.host}/team/both:1", big_layer(4_000_000))
    push(store, f"{plain.host}/team/both:1")
    wire = Wire(plain.host, rate=8_000_000)
    events: list[Event] = []
    found: list[str] = []

    def work() -> None:
        found.append(pull(Store(other.home), f"{wire.host}/team/both:1", emit=events.append))

    try:
        threads = [threading.Thread(target=work) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
    finally:
        wire.close()
    assert found == [digest, digest]
    fetched = [event.data["blob"] for event in events if event.data.get("status") == "fetched"]
    assert len(fetched) == len(set(fetched)) == 4


def test_a_full_disk(store: Store, plain: Registry, tmp_path: Path) -> None:
    reference = f"{plain.host}/team/full:1"
    image(store, reference, big_layer(3_000_000))
    push(store, reference)
    small = tmp_path / "small"
    small.mkdir()
    mounts.tmpfs(str(small), ["size=2m"])
    try:
        with pytest.raises(HostError) as caught:
            pull(Store(Home(str(small / "home"))), reference)
        assert "no space left" in caught.value.summary
        assert "envkit gc" in caught.value.hint
    finally:
        mounts.unmount(str(small))


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
