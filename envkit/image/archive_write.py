"""Writing image archives. See `archive.save`."""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from typing import Any

from envkit.digest import canonical_json
from envkit.errors import HostError
from envkit.host import files
from envkit.image import media, tar
from envkit.image.compression import decompressed
from envkit.image.manifest import REF_NAME, LayerInfo, decode_manifest
from envkit.image.store import Store, StoredImage
from envkit.image.tarwrite import Item, archive

_CHUNK = 1 << 20
_NAME = "io.containerd.image.name"  # so that containerd and Docker find the whole name


def write(store: Store, references: Sequence[str], path: str, form: str) -> None:
    """See `archive.save`."""
    images = _named(store, references)
    if form == "oci" and (path.endswith("/") or os.path.isdir(path)):
        _write_directory(store, images, path)
        return
    with ExitStack() as stack:
        items = _docker(store, images, stack) if form == "docker" else _oci(store, images)
        _write_file(path, archive(items))


def chunks(store: Store, references: Sequence[str]) -> Iterator[bytes]:
    """See `archive.stream`."""
    with ExitStack() as stack:
        yield from archive(_docker(store, _named(store, references), stack))


def _named(store: Store, references: Sequence[str]) -> dict[str, tuple[StoredImage, list[str]]]:
    """Digest -> (the image, what it is called in the archive)."""
    images: dict[str, tuple[StoredImage, list[str]]] = {}
    for reference in references:
        image = store.image(reference)
        names = images.setdefault(image.digest, (image, []))[1]
        names.extend(name for name in _names(image, reference) if name not in names)
    return images


def _names(image: StoredImage, reference: str) -> list[str]:
    """What the image is called in the archive: as asked for; every name when it was asked for by digest."""
    from envkit.image.reference import InvalidReferenceError, normalise

    try:
        name = normalise(reference)
    except InvalidReferenceError:
        name = ""
    return [name] if name in image.references else list(image.references)


def _docker(store: Store, images: dict[str, tuple[StoredImage, list[str]]], stack: ExitStack) -> Iterator[Item]:
    listing: list[dict[str, Any]] = []
    written: set[str] = set()
    for image, names in images.values():
        config = f"{image.config_digest[7:]}.json"
        layers = [f"{layer.diff_id[7:]}.tar" for layer in image.layers]
        for name, layer in zip(layers, image.layers, strict=True):
            if name not in written:
                yield _plain_layer(store, name, layer, stack)
        if config not in written:
            yield _bytes(config, store.read_blob(image.config_digest))
        written.update(layers, [config])
        tags = [name for name in names if "@" not in name]
        listing.append({"Config": config, "RepoTags": tags or None, "Layers": layers})
    yield _bytes("manifest.json", canonical_json(listing))


def _plain_layer(store: Store, name: str, layer: LayerInfo, stack: ExitStack) -> Item:
    """A layer's tar, uncompressed as `docker load` has always wanted it."""
    path = store.blob_path(layer.digest)
    if media.compression(layer.media_type) != "none":
        temporary = store.temporary()
        stack.callback(files.remove_tree, temporary)
        with open(path, "rb") as file, decompressed(file, store.limits) as plain, open(temporary, "xb") as target:
            while data := plain.read(_CHUNK):
                target.write(data)
        path = temporary
    return tar.Entry(name, size=os.path.getsize(path)), _chunks(path)


def _oci(store: Store, images: dict[str, tuple[StoredImage, list[str]]]) -> Iterator[Item]:
    yield tar.Entry("blobs", tar.DIRECTORY, mode=0o755), ()
    yield tar.Entry("blobs/sha256", tar.DIRECTORY, mode=0o755), ()
    for digest in _blobs(store, images):
        path = store.blob_path(digest)
        yield tar.Entry(f"blobs/sha256/{digest[7:]}", size=os.path.getsize(path)), _chunks(path)
    yield _bytes("index.json", _index(store, images))
    yield _bytes("oci-layout", b'{"imageLayoutVersion":"1.0.0"}')


def _blobs(store: Store, images: dict[str, tuple[StoredImage, list[str]]]) -> list[str]:
    digests: set[str] = set()
    for digest, (image, _) in images.items():
        digests |= {digest, image.config_digest, *(layer.digest for layer in image.layers)}
    return sorted(digests)


def _index(store: Store, images: dict[str, tuple[StoredImage, list[str]]]) -> bytes:
    manifests = []
    for digest, (image, names) in images.items():
        data = store.read_blob(digest)
        entry: dict[str, Any] = {
            "mediaType": decode_manifest(data, digest).media_type, "digest": digest, "size": len(data),
            "platform": {"os": image.config.get("os", "linux"), "architecture": image.config.get("architecture", "")},
        }  # fmt: skip
        manifests += [{**entry, "annotations": {REF_NAME: name, _NAME: name}} for name in names] or [entry]
    return canonical_json({"schemaVersion": 2, "mediaType": media.OCI_INDEX, "manifests": manifests})


def _write_directory(store: Store, images: dict[str, tuple[StoredImage, list[str]]], path: str) -> None:
    """Add the images to the layout at path, or make one. Blobs first, the index last."""
    blobs = os.path.join(path, "blobs/sha256")
    files.make_directory(blobs)
    for digest in _blobs(store, images):
        target = os.path.join(blobs, digest[7:])
        if not os.path.exists(target):
            temporary = f"{target}.{os.getpid()}"
            shutil.copyfile(store.blob_path(digest), temporary)
            os.rename(temporary, target)
    files.write_atomic(os.path.join(path, "oci-layout"), b'{"imageLayoutVersion":"1.0.0"}')
    files.write_atomic(os.path.join(path, "index.json"), _index(store, images))


def _write_file(path: str, chunks: Iterator[bytes]) -> None:
    """Write to path; a regular file is replaced by rename, anything else (a pipe, a terminal's device) written to."""
    special = os.path.exists(path) and not stat.S_ISREG(os.stat(path).st_mode)
    target = path if special else f"{path}.{os.getpid()}.part"
    try:
        try:
            with open(target, "wb") as file:
                for chunk in chunks:
                    file.write(chunk)
                if not special:
                    file.flush()
                    os.fsync(file.fileno())
            if not special:
                os.rename(target, path)
        except BaseException:
            if not special:
                files.remove_tree(target)
            raise
    except OSError as error:
        raise HostError("an image archive cannot be written", f"{path}: {error.strerror}") from error


def _bytes(name: str, data: bytes) -> Item:
    return tar.Entry(name, size=len(data)), (data,)


def _chunks(path: str) -> Iterator[bytes]:
    with open(path, "rb") as file:
        while data := file.read(_CHUNK):
            yield data
