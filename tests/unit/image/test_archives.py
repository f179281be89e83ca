"""What is saved here is read by everybody, and what everybody saves is read here."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from envkit.errors import EnvkitError, ImageError, NotFoundError
from envkit.events import ignore
from envkit.host import mounts
from envkit.host.home import Home
from envkit.image.archive import load, save
from envkit.image.store import Store
from envkit.image.tar import Entry
from envkit.image.tarwrite import archive
from tests.support.archives import old_docker_archive
from tests.support.dockerd import Dockerd
from tests.support.layers import first_layer
from tests.support.trees import describe

pytestmark = pytest.mark.root


def run(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, f"{command}: {done.stderr}"
    return done.stdout


@pytest.fixture
def other(tmp_path: Path) -> Store:
    return Store(Home(str(tmp_path / "other")))


@pytest.fixture
def podman(tmp_path: Path) -> Iterator[Callable[..., str]]:
    with tempfile.TemporaryDirectory(prefix="ek-") as short:  # podman refuses a longer runroot than 50 characters
        options = ["--root", f"{tmp_path}/podman", "--runroot", f"{short}/run", "--storage-driver", "vfs"]
        yield lambda *arguments: run("podman", *options, *arguments)


@pytest.fixture(scope="module")
def dockerd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dockerd]:
    daemon = Dockerd(tmp_path_factory.mktemp("dockerd") / "d")
    yield daemon
    daemon.stop()


def merged(store: Store, reference: str, place: Path) -> dict[str, Any]:
    """The image's root as a container would see it."""
    for name in ("stub", "root"):
        (place / name).mkdir(parents=True)
    trees = store.ensure_trees(store.image(reference))
    mounts.overlay([*trees[::-1], str(place / "stub")], str(place / "root"), read_only=True)
    try:
        return describe(str(place / "root"))
    finally:
        mounts.unmount(str(place / "root"))


def contents(store: Store, reference: str) -> tuple[Any, ...]:
    """What must survive any way of transport."""
    image = store.image(reference)
    return image.config, [layer.diff_id for layer in image.layers], [layer.created_by for layer in image.layers]


@pytest.mark.parametrize("form", ["docker", "oci"])
def test_save_and_load_give_the_image_again(
    store: Store, other: Store, reference: str, form: Any, tmp_path: Path
) -> None:
    path = str(tmp_path / "image.tar")
    save(store, ["tests/two:1"], path, form)
    assert load(other, path, ignore) == [reference]
    assert contents(other, reference) == contents(store, reference)
    assert other.image(reference).digest == store.image(reference).digest
    assert merged(other, reference, tmp_path / "a") == merged(store, reference, tmp_path / "b")


@pytest.mark.parametrize("form", ["docker", "oci"])
def test_an_archive_has_the_same_bytes_each_time(store: Store, reference: str, form: Any, tmp_path: Path) -> None:
    for name in ("one", "two"):
        save(store, [reference], str(tmp_path / name), form)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()
    assert sorted(os.listdir(tmp_path)) == ["home", "one", "two"]


def test_several_images_share_their_layers(store: Store, other: Store, reference: str, tmp_path: Path) -> None:
    image = store.image(reference)
    store.add_image({"config": {"User": "one"}}, image.layers[:1], "tests/one")
    store.tag("tests/again:2", image.digest)
    for form in ("docker", "oci"):
        path = str(tmp_path / form)
        save(store, ["tests/one", reference, "tests/again:2"], path, form)  # type: ignore[arg-type]
        with tarfile.open(path) as archive:
            names = archive.getnames()
        assert len(names) == len(set(names))
        assert sorted(load(Store(Home(str(tmp_path / f"home-{form}"))), path, ignore)) == [
            "docker.io/tests/again:2", "docker.io/tests/one:latest", reference,
        ]  # fmt: skip


def test_layout_directories_grow_and_are_read(store: Store, other: Store, reference: str, tmp_path: Path) -> None:
    save(store, [reference], f"{tmp_path}/layout/", "oci")
    assert load(other, str(tmp_path / "layout"), ignore) == [reference]
    assert run("skopeo", "inspect", "--format", "{{.Digest}}", f"oci:{tmp_path}/layout:{reference}").strip() == (
        store.image(reference).digest
    )


def test_compressed_archives_are_read(store: Store, other: Store, reference: str, tmp_path: Path) -> None:
    save(store, [reference], f"{tmp_path}/x.tar")
    run("zstd", "-q", f"{tmp_path}/x.tar", "-o", f"{tmp_path}/x.tar.zst")
    run("gzip", f"{tmp_path}/x.tar")
    assert load(other, f"{tmp_path}/x.tar.gz", ignore) == [reference]
    assert load(Store(Home(f"{tmp_path}/third")), f"{tmp_path}/x.tar.zst", ignore) == [reference]


# -- foreign readers


def test_gnu_tar_reads_every_layer(store: Store, reference: str, tmp_path: Path) -> None:
    for layer in store.image(reference).layers:
        listed = run("tar", "--list", "--verbose", "--file", store.blob_path(layer.digest))
        assert listed
    (tmp_path / "x").mkdir()
    blob = store.blob_path(store.image(reference).layers[1].digest)
    run("tar", "--extract", "--xattrs", "--xattrs-include=*", "--numeric-owner", "-C", f"{tmp_path}/x", "-f", blob)
    assert os.stat(tmp_path / "x/home/su").st_mode & 0o7777 == 0o4755
    assert os.getxattr(tmp_path / "x/home/big", "user.note") == b"\0\n="


@pytest.mark.parametrize(("form", "transport"), [("docker", "docker-archive"), ("oci", "oci-archive")])
def test_skopeo_reads_it(store: Store, reference: str, form: Any, transport: str, tmp_path: Path) -> None:
    save(store, [reference], f"{tmp_path}/i.tar", form)
    config = json.loads(run("skopeo", "inspect", "--config", f"{transport}:{tmp_path}/i.tar"))
    assert config == store.image(reference).config


def test_skopeo_reads_the_store_itself(store: Store, reference: str) -> None:
    found = json.loads(run("skopeo", "inspect", f"oci:{store.root}:{reference}"))
    assert found["Digest"] == store.image(reference).digest


def test_umoci_unpacks_the_same_root(store: Store, reference: str, tmp_path: Path) -> None:
    save(store, [reference], f"{tmp_path}/layout/", "oci")
    run("umoci", "unpack", "--image", f"{tmp_path}/layout:{reference}", f"{tmp_path}/bundle")
    wanted = merged(store, reference, tmp_path / "m")
    found = describe(f"{tmp_path}/bundle/rootfs")
    for tree in (wanted, found):
        for path in (".", "home"):  # umoci sets the times of directories otherwise
            tree[path]["mtime"] = 0
    assert found == wanted


@pytest.mark.parametrize("form", ["docker", "oci"])
def test_podman_loads_it(store: Store, reference: str, form: Any, podman: Callable[..., str], tmp_path: Path) -> None:
    save(store, [reference], f"{tmp_path}/i.tar", form)
    assert reference in podman("load", "--input", f"{tmp_path}/i.tar")
    [found] = json.loads(podman("image", "inspect", reference))
    assert found["RootFS"]["Layers"] == store.image(reference).config["rootfs"]["diff_ids"]


@pytest.mark.dockerd
@pytest.mark.parametrize("form", ["docker", "oci"])
def test_docker_loads_it_and_saves_it_again(
    store: Store, other: Store, reference: str, form: Any, dockerd: Dockerd, tmp_path: Path
) -> None:
    path = f"{tmp_path}/i.tar"
    save(store, [reference], path, "docker")
    assert "tests/two:1" in dockerd.docker("load", "--input", path)
    [found] = json.loads(dockerd.docker("image", "inspect", "tests/two:1"))
    assert found["RootFS"]["Layers"] == store.image(reference).config["rootfs"]["diff_ids"]
    dockerd.docker("save", "--output", f"{tmp_path}/back.tar", "tests/two:1")
    assert load(other, f"{tmp_path}/back.tar", ignore) == [reference]
    assert contents(other, reference) == contents(store, reference)
    assert merged(other, reference, tmp_path / "a") == merged(store, reference, tmp_path / "b")
    dockerd.docker("image", "rm", "tests/two:1")


# -- foreign writers


@pytest.mark.parametrize("form", ["docker-archive", "oci-archive", "skopeo"])
def test_podmans_archives_are_read(
    store: Store, other: Store, reference: str, form: str, podman: Callable[..., str], tmp_path: Path
) -> None:
    save(store, [reference], f"{tmp_path}/i.tar")
    podman("load", "--input", f"{tmp_path}/i.tar")
    if form == "skopeo":
        run("skopeo", "copy", f"docker-archive:{tmp_path}/i.tar", f"oci:{tmp_path}/out:two")
    else:
        podman("save", "--format", form, "--output", f"{tmp_path}/out", reference)
    [name] = load(other, f"{tmp_path}/out", ignore)
    assert contents(other, name)[1:] == contents(store, reference)[1:]
    assert merged(other, name, tmp_path / "a") == merged(store, reference, tmp_path / "b")


def test_gzip_and_zstd_layers_of_skopeo_are_read(store: Store, other: Store, reference: str, tmp_path: Path) -> None:
    save(store, [reference], f"{tmp_path}/plain/", "oci")
    for kind in ("gzip", "zstd"):
        target = f"{tmp_path}/{kind}"
        run(
            "skopeo", "copy", "--dest-compress-format", kind, "--dest-compress",
            f"oci:{tmp_path}/plain:{reference}", f"dir:{target}",
        )  # fmt: skip
        layout = _as_layout(target)
        [name] = load(Store(Home(f"{target}-home")), layout, ignore)
        assert contents(Store(Home(f"{target}-home")), name)[1] == contents(store, reference)[1]


def _as_layout(directory: str) -> str:
    """skopeo's dir: transport as an OCI layout."""
    blobs = f"{directory}/layout/blobs/sha256"
    os.makedirs(blobs)
    manifest = Path(directory, "manifest.json").read_bytes()
    digest = hashlib.sha256(manifest).hexdigest()
    for name in os.listdir(directory):
        if len(name) == 64:
            shutil.copy(f"{directory}/{name}", f"{blobs}/{name}")
    Path(blobs, digest).write_bytes(manifest)
    media_type = json.loads(manifest).get("mediaType", "application/vnd.oci.image.manifest.v1+json")
    entry = {"mediaType": media_type, "digest": f"sha256:{digest}", "size": len(manifest)}
    Path(directory, "layout/index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [entry]}))
    return f"{directory}/layout"


def test_old_docker_archives_are_read(other: Store, tmp_path: Path) -> None:
    old_docker_archive(tmp_path / "old.tar", first_layer())
    assert load(other, str(tmp_path / "old.tar"), ignore) == ["docker.io/library/old:1"]
    image = other.image("old:1")
    assert [layer.created_by for layer in image.layers] == ["one", "two"]
    assert image.layers[0].digest == image.layers[1].digest
    assert len(set(image.trees)) == 2


def test_an_image_without_a_name_is_kept_by_its_digest(other: Store, tmp_path: Path) -> None:
    old_docker_archive(tmp_path / "old.tar", first_layer(), tags=None)
    [digest] = load(other, str(tmp_path / "old.tar"), ignore)
    assert other.image(digest).digest == digest
    assert [image.digest for image in other.list()] == [digest]
    assert other.image(digest[7:20]).references == ()
    other.tag("named", digest)
    assert other.names() == {"docker.io/library/named:latest": digest}


# -- damage

Change = Callable[[dict[str, bytes]], object]


def _flip(name: str) -> Change:
    def change(files: dict[str, bytes]) -> None:
        for key, data in list(files.items()):
            if name in key:
                files[key] = data[:-600] + b"!" + data[-599:] if len(data) > 600 else data + b" "

    return change


def _replace(old: bytes, new: bytes) -> Change:
    return lambda files: files.update({key: data.replace(old, new) for key, data in files.items()})


def _set(name: str, data: bytes) -> Change:
    return lambda files: files.update({name: data})


def _drop(name: str) -> Change:
    return lambda files: [files.pop(key) for key in list(files) if name in key]


DAMAGE: dict[str, tuple[str, Change]] = {
    "docker: a changed layer": ("docker", _flip(".tar")),
    "docker: a changed configuration": ("docker", _replace(b'"A=1"', b'"A=2"')),
    "docker: no layer": ("docker", _drop(".tar")),
    "docker: no JSON": ("docker", _set("manifest.json", b"{")),
    "docker: no list": ("docker", _set("manifest.json", b"{}")),
    "docker: an empty list": ("docker", _set("manifest.json", b"[]")),
    "docker: an odd list": ("docker", _set("manifest.json", b'[{"Config": 1}]')),
    "docker: deep JSON": ("docker", _set("manifest.json", b"[" * 100_000)),
    "docker: names outside": ("docker", _set("manifest.json", b'[{"Config": "../../etc/passwd", "Layers": []}]')),
    "oci: changed blobs": ("oci", _flip("blobs/sha256/")),
    "oci: no blobs": ("oci", _drop("blobs/sha256/")),
    "oci: no list": ("oci", _set("index.json", b'{"manifests": 5}')),
    "oci: nothing in it": ("oci", _set("index.json", b'{"manifests": []}')),
    "oci: a digest that climbs": ("oci", _set("index.json", b'{"manifests": [{"digest": "sha256:../x", "size": 1}]}')),
    "neither": ("oci", _drop("index.json")),
}  # fmt: skip


@pytest.mark.parametrize("case", DAMAGE)
def test_damaged_archive_is_refused_and_nothing_is_tagged(
    store: Store, other: Store, reference: str, case: str, tmp_path: Path
) -> None:
    form, change = DAMAGE[case]
    save(store, [reference], f"{tmp_path}/good.tar", form)  # type: ignore[arg-type]
    with tarfile.open(tmp_path / "good.tar") as archive:
        files = {}
        for member in archive:
            if member.isfile() and (content := archive.extractfile(member)):
                files[member.name] = content.read()
    change(files)
    with tarfile.open(tmp_path / "bad.tar", "w") as archive:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    with pytest.raises(ImageError) as caught:
        load(other, f"{tmp_path}/bad.tar", ignore)
    assert str(caught.value)
    assert other.list() == []
    assert os.listdir(f"{other.root}/tmp") == []


def test_cut_off_archive_is_refused(store: Store, other: Store, reference: str, tmp_path: Path) -> None:
    save(store, [reference], f"{tmp_path}/good.tar")
    data = (tmp_path / "good.tar").read_bytes()
    for name, part in (("a", data[:100_000]), ("b", gzip.compress(data[:1_000_900])), ("c", data[:700]), ("d", b"")):
        (tmp_path / name).write_bytes(part)
        with pytest.raises(ImageError):
            load(other, str(tmp_path / name), ignore)


def test_missing_archive_is_named(other: Store, tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match=r"nothing\.tar"):
        load(other, f"{tmp_path}/nothing.tar", ignore)
    with pytest.raises(EnvkitError):
        save(other, ["nothing"], f"{tmp_path}/x.tar")
    assert not (tmp_path / "x.tar").exists()


def test_layout_directory_with_symlinks_is_not_followed_out(
    store: Store, other: Store, reference: str, tmp_path: Path
) -> None:
    save(store, [reference], f"{tmp_path}/layout/", "oci")
    blobs = tmp_path / "layout/blobs/sha256"
    for name in os.listdir(blobs):
        shutil.move(blobs / name, tmp_path / name)
        (blobs / name).symlink_to(tmp_path / name)
    with pytest.raises(ImageError):
        load(other, f"{tmp_path}/layout", ignore)


def test_variant_for_this_machine_is_chosen(store: Store, other: Store, reference: str, tmp_path: Path) -> None:
    save(store, [reference], f"{tmp_path}/layout/", "oci")
    index = json.loads((tmp_path / "layout/index.json").read_bytes())
    [mine] = index["manifests"]
    foreign = {**mine, "digest": "sha256:" + "0" * 64, "platform": {"os": "linux", "architecture": "s390x"}}
    attestation = {**mine, "platform": {"os": "unknown", "architecture": "unknown"}}
    inner = json.dumps({"schemaVersion": 2, "manifests": [foreign, attestation, mine]}).encode()
    digest = hashlib.sha256(inner).hexdigest()
    (tmp_path / "layout/blobs/sha256" / digest).write_bytes(inner)
    entry = {
        "mediaType": "application/vnd.oci.image.index.v1+json", "digest": f"sha256:{digest}", "size": len(inner),
        "annotations": {"org.opencontainers.image.ref.name": "many:1"},
    }  # fmt: skip
    (tmp_path / "layout/index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [entry]}))
    assert load(other, f"{tmp_path}/layout", ignore) == ["docker.io/library/many:1"]
    assert other.image("many:1").digest == mine["digest"]


def test_a_hostile_layer_in_an_archive_is_named(other: Store, tmp_path: Path) -> None:
    bad = b"".join(archive([(Entry("ok"), ()), (Entry("../evil"), ())]))
    old_docker_archive(tmp_path / "bad.tar", bad)
    with pytest.raises(ImageError, match=r"bad\.tar: layer 1 of 2: entry '\.\./evil'"):
        load(other, f"{tmp_path}/bad.tar", ignore)
    assert other.list() == []
    assert not (tmp_path / "evil").exists()
