"""Image archives in and out: `docker save` (old form, and with an OCI layout inside), OCI archives, OCI layouts.

Sources: OCI image-spec image-layout.md, image-index.md; moby image/spec v1.2 ("Combined Image JSON + Filesystem
Changeset Format", manifest.json). Every blob is checked against the digest that names it, every layer against its
diff id.
"""

from __future__ import annotations

import errno
import json
import os
import re
from collections.abc import Iterator, Sequence
from typing import Any, Literal, NamedTuple

from envkit.digest import is_digest, sha256
from envkit.errors import HostError, ImageError, NotFoundError
from envkit.events import Emit
from envkit.image import media
from envkit.image.adopt import adopt
from envkit.image.compression import detect
from envkit.image.container import Container, open_container, read_small
from envkit.image.layers import architecture
from envkit.image.manifest import (
    MAXIMUM_SIZE,
    REF_NAME,
    Descriptor,
    Manifest,
    decode_descriptor,
    decode_json,
    decode_manifest,
)  # fmt: skip
from envkit.image.reference import InvalidReferenceError, normalise
from envkit.image.store import Store

_CONTAINERD_NAME = "io.containerd.image.name"
_NESTING = 4  # indexes within indexes


def load(store: Store, path: str, emit: Emit) -> list[str]:
    """Bring every image of an archive, or of a layout directory, into the store, unpacked.

    Returns the references in full text form; an image without a name gives its digest, and is kept under it. Raises
    NotFoundError when path does not exist, ImageError when anything in it is damaged, missing or hostile: then no
    reference has changed.
    """
    try:
        with store.session():
            with open_container(path, store.temporary(), store.limits) as container:
                images = _Loader(store, container, emit, path).images()
            found = [(name, digest) for digest, names in images for name in names or (digest,)]
            for name, digest in found:
                store.tag(name, digest)
    except OSError as error:
        hint = f"`envkit gc` frees space in {store.root}" if error.errno == errno.ENOSPC else ""
        raise HostError("an image archive cannot be loaded", f"{path}: {error}", hint) from error
    return [name for name, _ in found]


class _Named(NamedTuple):
    digest: str
    names: tuple[str, ...]


class _Loader:
    def __init__(self, store: Store, container: Container, emit: Emit, path: str) -> None:
        self._store, self._container, self._emit, self._path = store, container, emit, path
        self._stem = _stem(path)

    def images(self) -> list[_Named]:
        """Every image, stored but not tagged."""
        if self._container.has("manifest.json"):
            return self._docker()
        if self._container.has("index.json"):
            return self._oci()
        raise ImageError(
            "this is not an image archive", f"{self._path} has neither manifest.json nor index.json",
            "give the output of `docker save`, `podman save`, `skopeo copy` or `envkit image save`",
        )  # fmt: skip

    # -- OCI

    def _oci(self) -> list[_Named]:
        found: dict[str, list[str]] = {}
        for descriptor, names in self._roots():
            digest = self._manifest(descriptor)
            found.setdefault(digest, []).extend(name for name in names if name not in found.get(digest, ()))
        if not found:
            raise ImageError("an image layout has no image in it", self._path)
        return [_Named(digest, tuple(names)) for digest, names in found.items()]

    def _roots(self) -> list[tuple[Descriptor, list[str]]]:
        """The manifests that the layout's index leads to on this machine, with their names."""
        roots = []
        for item in self._index_entries(self._json("index.json"), "index.json"):
            descriptor = decode_descriptor(item, f"{self._path}: index.json")
            if not _is_attestation(item):
                roots.append((self._choose(descriptor), self._names(descriptor.annotations)))
        return roots

    def _names(self, annotations: Any) -> list[str]:
        name = annotations.get(_CONTAINERD_NAME) or annotations.get(REF_NAME)
        if not name:
            return []
        if "/" not in name and ":" not in name:
            name = f"{self._stem}:{name}"  # only a tag, as image-layout.md shows it
        try:
            return [normalise(name)]
        except InvalidReferenceError:
            return [normalise(f"{self._stem}:{re.sub(r'[^A-Za-z0-9_.-]', '-', name).lstrip('.-') or 'latest'}")]

    def _choose(self, descriptor: Descriptor, depth: int = 0) -> Descriptor:
        """The manifest for this machine, where the descriptor is an index of several."""
        if descriptor.media_type not in media.INDEXES:
            return descriptor
        if depth >= _NESTING:
            raise ImageError("an image index nests too deeply", f"{self._path}: {descriptor.digest}")
        items = self._index_entries(decode_json(self._blob(descriptor), descriptor.digest), descriptor.digest)
        offered = []
        for item in items:
            platform = item.get("platform") or {}
            if _is_attestation(item):
                continue
            if platform and (platform.get("os"), platform.get("architecture")) != ("linux", architecture()):
                offered.append(f"{platform.get('os')}/{platform.get('architecture')}")
                continue
            return self._choose(decode_descriptor(item, descriptor.digest), depth + 1)
        raise ImageError(
            "an image has no variant for this machine",
            f"{self._path}: wanted linux/{architecture()}, there is {', '.join(offered) or 'nothing'}",
        )

    def _index_entries(self, value: dict[str, Any], what: str) -> list[dict[str, Any]]:
        items = value.get("manifests")
        if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
            raise ImageError("an image index has no list of manifests", f"{self._path}: {what}")
        return items

    def _manifest(self, descriptor: Descriptor) -> str:
        """Store the image of a manifest; returns its digest."""
        data = self._blob(descriptor)
        manifest = decode_manifest(data, descriptor.digest)
        config_data = self._blob(manifest.config)
        for layer in manifest.layers:
            if not os.path.exists(self._store.blob_path(layer.digest)):
                with self._container.open(_blob_name(layer.digest)) as file:
                    self._store.put_blob(file, layer.media_type, expected=layer.digest, size=layer.size)
        return self._finish(manifest, config_data, data)

    def _blob(self, descriptor: Descriptor) -> bytes:
        data = read_small(self._container, _blob_name(descriptor.digest), MAXIMUM_SIZE)
        if sha256(data) != descriptor.digest or len(data) != descriptor.size:
            raise ImageError("a blob is not what its descriptor says", f"{self._path}: {descriptor.digest}")
        return data

    def _json(self, name: str) -> dict[str, Any]:
        return decode_json(read_small(self._container, name, MAXIMUM_SIZE), f"{self._path}: {name}")

    # -- docker

    def _docker(self) -> list[_Named]:
        data = read_small(self._container, "manifest.json", MAXIMUM_SIZE)
        try:
            items = json.loads(data)
        except (ValueError, RecursionError) as error:
            raise ImageError("an image's JSON cannot be read", f"{self._path}: manifest.json: {error}") from error
        if not isinstance(items, list) or not items or not all(_is_docker_item(item) for item in items):
            raise ImageError("this is not what `docker save` writes", f"{self._path}: manifest.json")
        known = self._known_manifests()
        return [
            _Named(self._docker_image(item, known), tuple(normalise(name) for name in item.get("RepoTags") or ()))
            for item in items
        ]

    def _known_manifests(self) -> dict[str, Descriptor]:
        """config digest -> its manifest, where the archive is an OCI layout as well: so the image keeps its digest."""
        if not self._container.has("index.json"):
            return {}
        known = {}
        for item in self._index_entries(self._json("index.json"), "index.json"):
            descriptor = decode_descriptor(item, f"{self._path}: index.json")
            if _is_attestation(item) or not self._container.has(_blob_name(descriptor.digest)):
                continue
            chosen = self._choose(descriptor)
            if self._container.has(_blob_name(chosen.digest)):
                known[decode_manifest(self._blob(chosen), chosen.digest).config.digest] = chosen
        return known

    def _docker_image(self, item: dict[str, Any], known: dict[str, Descriptor]) -> str:
        config_data = read_small(self._container, item["Config"], MAXIMUM_SIZE)
        digest = sha256(config_data)
        claimed = "sha256:" + os.path.basename(item["Config"]).removesuffix(".json")
        if is_digest(claimed) and claimed != digest:
            raise ImageError("a configuration is not what its name says", f"{self._path}: {item['Config']}: {digest}")
        manifest = known.get(digest)
        if manifest and all(
            self._container.has(_blob_name(layer.digest)) for layer in decode_manifest(self._blob(manifest), "").layers
        ):
            return self._manifest(manifest)
        layers = []
        for name in item["Layers"]:
            with self._container.open(name) as file:
                kind = detect(file.read(6))
                file.seek(0)
                claimed = "sha256:" + os.path.basename(name)
                layers.append(
                    self._store.put_blob(
                        file, media.layer_type(kind), expected=claimed if is_digest(claimed) else ""
                    )
                )  # fmt: skip
        config = Descriptor(media.OCI_CONFIG, digest, len(config_data))
        made = Manifest(config, tuple(layers))
        return self._finish(made, config_data, made.encode())

    # -- both

    def _finish(self, manifest: Manifest, config_data: bytes, manifest_data: bytes) -> str:
        return adopt(self._store, manifest, config_data, manifest_data, self._path, self._emit, action="load")


def _is_docker_item(item: Any) -> bool:
    if not isinstance(item, dict) or not isinstance(item.get("Config"), str):
        return False
    layers, tags = item.get("Layers") or [], item.get("RepoTags") or []
    item["Layers"] = layers
    return all(isinstance(value, list) and all(isinstance(text, str) for text in value) for value in (layers, tags))


def _is_attestation(item: dict[str, Any]) -> bool:
    """BuildKit puts provenance beside images, as manifests for the platform unknown/unknown."""
    annotations = item.get("annotations") or {}
    return (item.get("platform") or {}).get("os") == "unknown" or "vnd.docker.reference.type" in annotations


def _blob_name(digest: str) -> str:
    return f"blobs/sha256/{digest[7:]}"


def _stem(path: str) -> str:
    """A name for images that bring only a tag: the archive's own."""
    name = os.path.basename(os.path.abspath(path)).lower()
    for suffix in (".gz", ".zst", ".xz", ".bz2", ".tgz", ".tar", ".oci"):
        name = name.removesuffix(suffix)
    return re.sub(r"[^a-z0-9]+", "-", name).strip("-") or "image"


def save(store: Store, references: Sequence[str], path: str, form: Literal["docker", "oci"] = "docker") -> None:
    """Write images to the file at path, replaced as a whole; the same bytes for the same images.

    form: docker is what `docker load` reads everywhere; oci is an OCI image layout, as a tar file, or as a directory
    when path is one or ends in `/`. Raises NotFoundError for an unknown reference.
    """
    from envkit.image.archive_write import write

    if not references:
        raise NotFoundError("no image was named", path)
    with store.session():
        write(store, references, path, form)


def stream(store: Store, references: Sequence[str]) -> Iterator[bytes]:
    """What save would write in the form docker, as it is made: for `POST /images/load`. Raises NotFoundError."""
    from envkit.image.archive_write import chunks

    with store.session():
        yield from chunks(store, references)
