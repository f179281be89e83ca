"""Descriptors, manifests and image configurations: JSON to values and back, checked.

Sources: OCI image-spec descriptor.md, manifest.md, image-index.md, config.md, annotations.md.
"""

from __future__ import annotations

from envkit.digest import canonical_json, is_digest
from envkit.errors import ImageError
from envkit.image import media
from envkit.lean import hashlib, json
from envkit.values import field, value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

REF_NAME = "org.opencontainers.image.ref.name"
SOURCES = "dev.envkit.sources"  # of an index entry: a JSON list, for each layer the place in the YAML that made it
PULLED = "dev.envkit.pulled"  # of an index entry: when a registry was last asked, in seconds since the epoch
ORIGIN = "dev.envkit.origin"  # of an index entry: the digest that the registry has for the name
MAXIMUM_SIZE = 8 << 20  # bytes of a manifest, an index or a configuration


@value
class Descriptor:
    """What a blob is (media_type), its digest and its size in bytes."""

    media_type: str
    digest: str
    size: int
    annotations: Mapping[str, str] = field(default_factory=dict)

    def encode(self) -> dict[str, Any]:
        value: dict[str, Any] = {"mediaType": self.media_type, "digest": self.digest, "size": self.size}
        if self.annotations:
            value["annotations"] = dict(self.annotations)
        return value


@value
class LayerInfo:
    """One layer of an image.

    digest, size, media_type: of its blob. diff_id: digest of the uncompressed tar. chain_id: identifies the tree, which
    depends on the layers below (config.md, "Layer ChainID"). created_by: the command (history). source: the place in
    the YAML, `envkit.yaml:12:7`, empty for layers of others.
    """

    digest: str
    size: int
    media_type: str
    diff_id: str
    chain_id: str
    created_by: str = ""
    source: str = ""


@value
class Manifest:
    """One image of one platform."""

    config: Descriptor
    layers: tuple[Descriptor, ...]
    media_type: str = media.OCI_MANIFEST

    def encode(self) -> bytes:
        return canonical_json(
            {
                "schemaVersion": 2, "mediaType": self.media_type, "config": self.config.encode(),
                "layers": [layer.encode() for layer in self.layers],
            }
        )  # fmt: skip


def chain_id(parent: str, diff_id: str) -> str:
    """The ChainID of a layer on the layers of chain parent (empty: it is the first)."""
    return "sha256:" + hashlib.sha256(f"{parent} {diff_id}".encode()).hexdigest() if parent else diff_id


def decode_json(data: bytes, what: str) -> dict[str, Any]:
    """A JSON object; `what` names it in the error."""
    try:
        value = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise ImageError("an image's JSON cannot be read", f"{what}: {error}") from error
    if not isinstance(value, dict):
        raise ImageError("an image's JSON is not an object", what)
    return value


def decode_descriptor(value: Any, what: str) -> Descriptor:
    """A descriptor; `what` names its place in the error."""
    if not isinstance(value, dict):
        raise ImageError("a descriptor is not an object", what)
    media_type, digest, size = value.get("mediaType", ""), value.get("digest"), value.get("size")
    if not isinstance(digest, str) or not is_digest(digest):
        raise ImageError("a descriptor has no sha256 digest", f"{what}: {digest!r}")
    if not isinstance(size, int) or isinstance(size, bool) or size < 0:
        raise ImageError("a descriptor has no size", f"{what}: {size!r}")
    annotations = value.get("annotations") or {}
    if not isinstance(media_type, str) or not isinstance(annotations, dict):
        raise ImageError("a descriptor is malformed", what)
    return Descriptor(media_type, digest, size, {str(key): str(text) for key, text in annotations.items()})


def decode_manifest(data: bytes, what: str) -> Manifest:
    """An image manifest (OCI or Docker schema 2)."""
    value = decode_json(data, what)
    media_type = value.get("mediaType") or media.OCI_MANIFEST
    if value.get("schemaVersion") != 2 or media_type not in media.MANIFESTS:
        raise ImageError("this is not an image manifest", f"{what}: {media_type!r}")
    config = decode_descriptor(value.get("config"), f"{what}: config")
    if config.media_type not in media.CONFIGS:
        raise ImageError("this is not the manifest of a container image", f"{what}: config is {config.media_type!r}")
    layers = value.get("layers")
    if not isinstance(layers, list):
        raise ImageError("a manifest has no list of layers", what)
    found = tuple(decode_descriptor(layer, f"{what}: layer {place}") for place, layer in enumerate(layers))
    for layer in found:
        if not media.is_layer(layer.media_type):
            raise ImageError("a layer has an unknown media type", f"{what}: {layer.media_type!r}")
    return Manifest(config, found, media_type)


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and "\0" not in value


def _is_texts(value: Any) -> bool:
    return isinstance(value, list) and all(map(_is_text, value))


def _is_map(value: Any) -> bool:
    return isinstance(value, dict)


# The keys that a process is started from (config.md, "Properties"); null is as good as absent.
_PROCESS = {
    "User": _is_text, "WorkingDir": _is_text, "StopSignal": _is_text, "Env": _is_texts, "Cmd": _is_texts,
    "Entrypoint": _is_texts, "Labels": _is_map, "ExposedPorts": _is_map, "Volumes": _is_map, "Healthcheck": _is_map,
}  # fmt: skip


def decode_config(data: bytes, what: str) -> dict[str, Any]:
    """An image configuration whose rootfs and history have the right shape."""
    value = decode_json(data, what)
    rootfs = value.get("rootfs")
    diff_ids = rootfs.get("diff_ids") if isinstance(rootfs, dict) else None
    if not isinstance(diff_ids, list) or not all(isinstance(item, str) and is_digest(item) for item in diff_ids):
        raise ImageError("an image configuration has no rootfs.diff_ids", what)
    history = value.get("history")
    if history is not None and not (isinstance(history, list) and all(isinstance(item, dict) for item in history)):
        raise ImageError("an image configuration has a malformed history", what)
    process = value.get("config") or {}
    if not isinstance(process, dict):
        raise ImageError("an image configuration has a malformed config", what)
    for key, check in _PROCESS.items():
        if process.get(key) is not None and not check(process[key]):
            raise ImageError("an image configuration is malformed", f"{what}: config.{key}: {str(process[key])[:80]}")
    return value


def layer_infos(
    manifest: Manifest, config: Mapping[str, Any], what: str, sources: Sequence[str] = ()
) -> tuple[LayerInfo, ...]:
    """The layers, bottom first, joined with their diff ids, history and sources."""
    diff_ids: list[str] = config["rootfs"]["diff_ids"]
    if len(diff_ids) != len(manifest.layers):
        raise ImageError(
            "manifest and configuration disagree about the number of layers",
            f"{what}: {len(manifest.layers)} layers, {len(diff_ids)} diff_ids",
        )
    history = [item for item in config.get("history") or () if not item.get("empty_layer")]
    made = [str(item.get("created_by") or "") for item in history] if len(history) == len(diff_ids) else []
    layers: list[LayerInfo] = []
    chain = ""
    for place, (layer, diff_id) in enumerate(zip(manifest.layers, diff_ids, strict=True)):
        chain = chain_id(chain, diff_id)
        source = sources[place] if place < len(sources) else ""
        created_by = made[place] if made else ""
        layers.append(LayerInfo(layer.digest, layer.size, layer.media_type, diff_id, chain, created_by, source))
    return tuple(layers)
