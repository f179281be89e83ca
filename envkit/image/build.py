"""Make an image from its spec: the base, one layer after the other, the configuration.

A layer is looked up by its key first (recipe); only what is not there is made, in a space of its own, captured and put
into the store. The caller has entered the engine namespace, and may build independent images in several threads.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Mapping, Sequence
from threading import Event as Flag

from envkit.errors import EnvkitError, HostError, NotFoundError
from envkit.events import Emit, Event, EventKind
from envkit.host.home import Home
from envkit.host.idmap import IdMap
from envkit.image import bases, kinds, lockfile, normalise, recipe
from envkit.image.capture import capture_upper
from envkit.image.lockfile import Lockfile
from envkit.image.manifest import LayerInfo
from envkit.image.memory import Made, Memory, described
from envkit.image.placing import LayerError
from envkit.image.space import Space, sweep
from envkit.image.step import Context, Step, no_secret
from envkit.image.store import Store
from envkit.spec.canonical import ImageSpec, LayerSpec


def build(  # noqa: PLR0913  (keyword-only: what a build needs to know of the world)
    spec: ImageSpec, *, store: Store, home: Home, directory: str, images: Mapping[str, str], emit: Emit,
    lock: Lockfile | None = None, origin: Callable[[str], str] = lambda path: "",
    secret: Callable[[str], bytes] = no_secret, environ: Mapping[str, str] | None = None,
    cancelled: Flag | None = None, address: str = "", fresh: bool = False, pull: bool = False,
) -> str:  # fmt: skip
    """The manifest digest of the image, which is in the store afterwards, tagged with spec's name.

    directory: the project's. images: digests of the other images, by key. lock: absent, the project's envkit.lock; it
    is brought up to date. origin: a path in the spec to its place in the YAML. secret: the content of a secret that a
    `run` layer asks for. environ: this process's variables (proxies, pip, npm). cancelled: set it to end the build
    (InterruptedBuildError). fresh: make every layer again, whatever is remembered. pull: look for newer bases. Raises
    ApplyError naming the layer, its place and the last lines of its output; other EnvkitErrors.
    """
    lock = lock if lock is not None else lockfile.of_project(directory)
    context = Context(
        address or f"image.{spec['name']}", store, home, directory, images, emit, lock, origin, secret,
        dict(os.environ if environ is None else environ), cancelled, fresh, pull,
    )  # fmt: skip
    sweep(home)
    try:
        with store.session():
            digest = Builder(context, spec).build()
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            hint = f"free some space, for instance by `envkit gc`; the store is {home.root}"
            raise HostError("there is no space left for the image", str(error), hint) from error
        raise
    _write(context)
    return digest


def _write(context: Context) -> None:
    """Bring the lock's file up to date; a project that cannot be written to is no reason to fail."""
    try:
        context.lock.write()
    except OSError as error:
        message = f"{lockfile.NAME} cannot be written: {error.strerror}"
        context.emit(Event(EventKind.WARNING, context.address, "build", message))


class Builder:
    """One image in the making."""

    def __init__(self, context: Context, spec: ImageSpec) -> None:
        self.context = context
        self.spec = spec
        self.layers: list[LayerSpec] = list(spec.get("layers") or [])
        self.memory = Memory(context.home, context.store)
        self.idmap = IdMap.current()

    def build(self) -> str:
        """The digest of the image, tagged."""
        if "build" in self.spec:
            from envkit.image.dockerfile.build import build as build_dockerfile

            spec = self.spec
            return build_dockerfile(
                self.context, spec["name"], spec["build"], self.memory, str(spec.get("platform") or "")
            )
        if "base" not in self.spec:
            return self._existing()
        if "build" not in self.spec["base"] and (digest := self._remembered(self._whole_key())):
            return digest
        base = bases.make(self.context, self.spec["base"], self.memory)
        config = recipe.image_config(base.config, self.spec.get("config") or {})
        variables = recipe.environment_of(config)
        stack = list(base.layers)
        for number, layer in enumerate(self.layers, 1):
            stack.append(self._layer(layer, number, stack, variables))
        made = ({"created": recipe.CREATED, "created_by": recipe.title(layer)} for layer in self.layers)
        document = {**base.document, "created": recipe.CREATED, "config": config, "history": [*base.history, *made]}
        digest = self.context.store.add_image(document, stack, self.spec["name"])
        self.memory.remember_image(self._whole_key(), digest)  # the lock may have grown meanwhile
        return digest

    def _whole_key(self) -> str:
        """The key of the whole image: its recipe, the other images in it, where it is written, and the lock."""
        context = self.context
        others = {name: context.images[name] for name in recipe.images_in(self.spec) if name in context.images}
        others.update({name: context.store.resolve(name) or "" for name in recipe.references_in(self.spec)})
        places = [context.origin(f"layers[{place}]") for place in range(len(self.layers))]
        return recipe.image_key(self.spec, others, places, context.lock.encode())

    def _remembered(self, key: str) -> str:
        """The image, if it was made from the same before and is what its name means; else ""."""
        if self.context.lock.refresh or self.context.fresh:
            return ""
        store, digest = self.context.store, self.memory.find_image(key)
        if not digest or store.resolve(self.spec["name"]) != digest:
            return ""
        try:
            store.ensure_trees(store.image(digest))
        except EnvkitError:
            return ""  # a part of it has been lost: make it again
        return digest

    def _existing(self) -> str:
        """An image that is not made here: it has to be in the store."""
        reference = self.spec.get("reference", self.spec["name"])
        digest = self.context.store.resolve(reference)
        if digest is None:
            hint = "bring it by `envkit image load FILE`, or write how it is made below `images:`"
            raise NotFoundError("there is no such image in the store", reference, hint)
        return digest

    def step(
        self, layer: LayerSpec, number: int, space: Space, stack: Sequence[LayerInfo], variables: Mapping[str, str]
    ) -> Step:
        """The step of one layer on top of stack, its root to be looked at only."""
        root = space.see(self.context.store.trees(stack))
        return Step(self.context, layer, number, len(self.layers), space, root, variables)

    def key(self, step: Step, kind: kinds.Kind, stack: Sequence[LayerInfo]) -> str:
        """The layer's key. Raises LayerError, NotFoundError when the root lacks what the layer names."""
        seen = kind.sees(step)
        below = [info.diff_id for info in stack] if step.layer["kind"] in recipe.CHAINED else []
        return recipe.layer_key(step.layer, {"below": below, "seen": seen})

    def find(self, step: Step, kind: kinds.Kind, key: str) -> Made | None:
        """The layer of key, if it was made before and is what the lock asks for."""
        if self.context.fresh:
            return None
        resolving = kinds.resolving(kind)
        return self.memory.find(key, lambda resolved: resolving is None or resolving.matches(step, resolved))

    def _layer(
        self, layer: LayerSpec, number: int, stack: Sequence[LayerInfo], variables: Mapping[str, str]
    ) -> LayerInfo:
        """The layer, from memory or made now."""
        kind = kinds.find(layer["kind"])
        with Space(self.context.home, self.idmap.overlay_options) as space:
            step = self.step(layer, number, space, stack, variables)
            try:
                key = self.key(step, kind, stack)
                with self.memory.lock(key):
                    made = self.find(step, kind, key)
                    if made is None:
                        made = self._make(step, kind, stack)
                        self.memory.remember(key, made.layer, made.resolved)
                if resolving := kinds.resolving(kind):
                    resolving.record(step, made.resolved)
            except (LayerError, NotFoundError) as error:
                raise step.error(error.summary, error.detail, error.hint) from error
        return self.context.store.rebase_layer(described(made.layer, recipe.title(layer), step.origin), stack)

    def _make(self, step: Step, kind: kinds.Kind, stack: Sequence[LayerInfo]) -> Made:
        step.progress(force=True)
        store, space = self.context.store, step.space
        trees = store.trees(stack)
        below, step.root = step.root, space.write(trees)
        resolved = kind.make(step)
        space.settle()
        step.root = below
        _normalise(space.upper, step.layer["kind"])
        # An independent layer holds all that it says, also what the layers below happen to say as well.
        compared = trees if step.layer["kind"] in recipe.CHAINED else ()
        stream = capture_upper(space.upper, compared, self.idmap.overlay_prefix, recipe.EPOCH)
        info = store.add_layer(stream, stack, created_by=recipe.title(step.layer), origin=step.origin)
        return Made(info, resolved)


def _normalise(upper: str, kind: str) -> None:
    if kind not in recipe.CHAINED:
        normalise.settle_directories(upper)
        return
    if kind != "remove":
        normalise.clean(upper, *normalise.LEFTOVERS)
        normalise.forget_machine_id(upper)
        normalise.settle_bytecode(upper)
    if kind == "apt":
        normalise.clean(upper, *normalise.KEYS)
        normalise.drop_links(upper, "etc/ssl/certs/*", "ssl-cert-snakeoil.pem")
