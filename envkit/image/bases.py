"""What an image starts from: nothing, Debian, another image, a layout or an archive, a reference."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from envkit.errors import ApplyError, HostError, NotFoundError
from envkit.events import Event, EventKind
from envkit.host.idmap import IdMap
from envkit.image import debian, recipe
from envkit.image.capture import capture_tree
from envkit.image.layers import architecture
from envkit.image.manifest import LayerInfo
from envkit.image.memory import Made, Memory
from envkit.image.space import Space
from envkit.image.step import Context
from envkit.image.store import StoredImage
from envkit.values import field, value


@value
class Base:
    """layers: bottom first, unpacked. config: the OCI `config` object; history: one entry per layer; document: what
    else of the OCI configuration is inherited."""

    layers: tuple[LayerInfo, ...] = ()
    config: Mapping[str, Any] = field(default_factory=dict)
    history: tuple[Mapping[str, Any], ...] = ()
    document: Mapping[str, Any] = field(default_factory=dict)


def make(context: Context, base: Mapping[str, Any], memory: Memory) -> Base:
    """The base, made where it is missing. Raises NotFoundError, HostError."""
    if base.get("scratch"):
        return Base()
    if "debian" in base:
        return _debian(context, base, memory)
    if "image" in base:
        if base["image"] not in context.images:
            raise NotFoundError("the image to start from is not built yet", f"images.{base['image']}")
        return _stored(context, context.images[base["image"]])
    if "oci" in base or "archive" in base:
        return _stored(context, _loaded(context, base))
    if "build" in base:
        from envkit.image.dockerfile.build import build as build_dockerfile

        return _stored(context, build_dockerfile(context, "", base["build"], memory))
    return _stored(context, _referenced(context, base["reference"]))


def _referenced(context: Context, reference: str) -> str:
    """The image that a reference means: as the lock says, else as the store or the registry does. What is locked is the
    registry's digest where there is one, which is that of all platforms."""
    from envkit.image.fetch import ensure

    locked = context.lock.get("references", reference) or ""
    digest = ensure(
        context.store, reference, emit=context.emit, address=context.address, policy="always" if context.pull else "",
        pinned=locked, environ=context.environ,
    )  # fmt: skip
    entry = context.store.entry(reference)
    context.lock.record("references", reference, locked or (entry.origin if entry else "") or digest)
    return digest


def find(context: Context, base: Mapping[str, Any], memory: Memory) -> Base | None:
    """The base if it is there already; nothing is made or loaded."""
    if base.get("scratch"):
        return Base()
    if "debian" in base:
        made = _remembered(context, debian.request(base, architecture()), memory)
        return _debian_base(context, made) if made else None
    digest = context.images.get(base.get("image", "")) or (
        context.store.resolve(base["reference"]) if "reference" in base else None
    )
    return _stored(context, digest) if digest else None


def _stored(context: Context, digest: str) -> Base:
    image = context.store.image(digest)
    context.store.ensure_trees(image)
    kept = {key: value for key, value in image.config.items() if key in ("architecture", "os", "variant", "author")}
    return Base(image.layers, image.config.get("config") or {}, _history(image), kept)


def _history(image: StoredImage) -> tuple[Mapping[str, Any], ...]:
    """The image's own history where it fits its layers."""
    own = image.config.get("history") or []
    if sum(1 for item in own if not item.get("empty_layer")) == len(image.layers):
        return tuple(own)
    return tuple({"created": recipe.CREATED, "created_by": layer.created_by or "unknown"} for layer in image.layers)


def _loaded(context: Context, base: Mapping[str, Any]) -> str:
    """The image of a layout or archive of the project."""
    from envkit.image.archive import load

    path = base.get("oci") or base["archive"]
    loaded = load(context.store, path, context.emit)
    wanted = base.get("tag")
    chosen = [name for name in loaded if not wanted or name == wanted or name.endswith(f":{wanted}")]
    if len(chosen) != 1:
        found = ", ".join(loaded) or "none"
        raise NotFoundError(
            "the base is not one image", f"{path} has {found}", "write `tag:` with the one to start from"
        )  # fmt: skip
    return context.store.image(chosen[0]).digest


def _debian(context: Context, base: Mapping[str, Any], memory: Memory) -> Base:
    asked = debian.request(base, architecture())
    key = recipe.base_key(asked)
    with memory.lock(key):
        made = _remembered(context, asked, memory)
        if made is None:
            made = _bootstrap(context, asked)
            memory.remember(key, made.layer, made.resolved)
    context.lock.record_versions(_suite(asked), made.resolved["packages"])
    return _debian_base(context, made)


def _suite(asked: Mapping[str, Any]) -> str:
    return f"{asked['debian']}/{asked['architecture']}"


def _remembered(context: Context, asked: Mapping[str, Any], memory: Memory) -> Made | None:
    if context.fresh:
        return None
    return memory.find(
        recipe.base_key(asked), lambda resolved: context.lock.agrees(_suite(asked), resolved["packages"])
    )


def _bootstrap(context: Context, asked: Mapping[str, Any]) -> Made:
    suite = asked["debian"]
    title = f"debian {suite} ({asked['variant']})"

    def line(text: str) -> None:
        message = f"{title}: {text}"
        context.emit(Event(EventKind.PROGRESS, context.address, "build", message, {"output": text}))

    idmap = IdMap.current()
    with Space(context.home, idmap.overlay_options) as space:
        locked = context.lock.versions(_suite(asked))
        try:
            tree, versions = debian.make(
                space, asked, locked, context.environ, on_line=line, cancelled=context.cancelled
            )
        except HostError as error:
            where = f" at {context.origin('base')}" if context.origin("base") else ""
            raise ApplyError(
                error.summary, f"{title}{where}: {error.detail}", error.hint, address=context.address,
                log=error.stderr.splitlines(),
            ) from error  # fmt: skip
        for name, version in sorted(versions.items()):
            if locked.get(name, version) != version:
                message = f"{name} {locked[name]} of the lock is no longer offered; {version} is taken"
                context.emit(Event(EventKind.WARNING, context.address, "build", message))
        stream = capture_tree(tree, (), idmap.overlay_prefix, recipe.EPOCH)
        return Made(context.store.add_layer(stream, (), created_by=title), {"packages": versions})


def _debian_base(context: Context, made: Made) -> Base:
    layer = context.store.rebase_layer(made.layer, ())
    entry = {"created": recipe.CREATED, "created_by": made.layer.created_by}
    return Base((layer,), debian.CONFIG, (entry,), {})
