"""Make an image from its spec: the base, one layer after the other, the configuration.

A layer is looked up by its key first (recipe); only what is not there is made, in a space of its own, captured and put
into the store. The caller has entered the engine namespace, and may build independent images in several threads.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from threading import Event as Flag

from envkit.errors import EnvkitError, HostError, NotFoundError, UnsupportedError
from envkit.events import Emit, Event, EventKind
from envkit.host.home import Home
from envkit.host.idmap import IdMap
from envkit.image import bases, kinds, normalise, recipe
from envkit.image.capture import capture_upper
from envkit.image.lockfile import Lockfile
from envkit.image.manifest import LayerInfo
from envkit.image.memory import Made, Memory, described
from envkit.image.placing import LayerError
from envkit.image.space import Space, sweep
from envkit.image.step import Context, Step, no_secret
from envkit.image.store import Store
from envkit.spec.canonical import ImageSpec, LayerSpec


@dataclass(frozen=True, slots=True)
class LayerStep:
    """What a build would do about one layer. key is empty where it depends on a layer that is not made yet."""

    number: int
    kind: str
    title: str
    key: str
    cached: bool
    reason: str


def build(
    spec: ImageSpec, *, store: Store, home: Home, directory: str, images: Mapping[str, str], emit: Emit,
    lock: Lockfile | None = None, origin: Callable[[str], str] = lambda path: "",
    secret: Callable[[str], bytes] = no_secret, environ: Mapping[str, str] | None = None,
    cancelled: Flag | None = None, address: str = "",
) -> str:  # fmt: skip
    """The manifest digest of the image, which is in the store afterwards, tagged with spec's name.

    directory: the project's. images: digests of the other images, by key. origin: a path in the spec to its place in
    the YAML. secret: the content of a secret that a `run` layer asks for. environ: this process's variables (proxies,
    pip, npm). Raises ApplyError naming the layer, its place and the last lines of its output; other EnvkitErrors.
    """
    context = Context(
        address or f"image.{spec['name']}", store, home, directory, images, emit, lock or Lockfile(), origin, secret,
        dict(os.environ if environ is None else environ), cancelled,
    )  # fmt: skip
    sweep(home)
    try:
        with store.session():
            return _Builder(context, spec).build()
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            hint = f"free some space, for instance by `envkit gc`; the store is {home.root}"
            raise HostError("there is no space left for the image", str(error), hint) from error
        raise


def layer_plan(
    spec: ImageSpec, *, store: Store, home: Home, directory: str, images: Mapping[str, str], lock: Lockfile | None = None,
    origin: Callable[[str], str] = lambda path: "",
) -> list[LayerStep]:  # fmt: skip
    """What build would do, layer by layer, without doing it."""
    context = Context(
        f"image.{spec['name']}", store, home, directory, images, lambda event: None, lock or Lockfile(), origin,
    )  # fmt: skip
    with store.session():
        return _Builder(context, spec).plan()


class _Builder:
    """One image."""

    def __init__(self, context: Context, spec: ImageSpec) -> None:
        self._context = context
        self._spec = spec
        self._layers: list[LayerSpec] = list(spec.get("layers") or [])
        self._memory = Memory(context.home, context.store)
        self._idmap = IdMap.current()

    def build(self) -> str:
        context, spec = self._context, self._spec
        if "base" not in spec:
            return self._existing()
        base = bases.make(context, spec["base"], self._memory)
        config = recipe.image_config(base.config, spec.get("config") or {})
        variables = recipe.environment_of(config)
        stack = list(base.layers)
        for number, layer in enumerate(self._layers, 1):
            stack.append(self._layer(layer, number, stack, variables))
        history = [*base.history, *(self._history(layer) for layer in self._layers)]
        document = {
            **base.document, "created": recipe.CREATED, "config": config, "history": history,
        }  # fmt: skip
        digest = context.store.add_image(document, stack, spec["name"])
        context.emit(Event(EventKind.DONE, context.address, "build", digest[7:19], {"digest": digest}))
        return digest

    def _existing(self) -> str:
        """An image that is not made here: it has to be in the store."""
        if "build" in self._spec:
            raise UnsupportedError("a Dockerfile cannot be built yet", self._spec["name"], "write its steps as `layers:`")
        reference = self._spec.get("reference", self._spec["name"])
        digest = self._context.store.resolve(reference)
        if digest is None:
            hint = "bring it by `envkit image load FILE`, or write how it is made below `images:`"
            raise NotFoundError("there is no such image in the store", reference, hint)
        return digest

    def _history(self, layer: LayerSpec) -> dict[str, str]:
        return {"created": recipe.CREATED, "created_by": recipe.title(layer)}

    def _step(self, layer: LayerSpec, number: int, space: Space, stack: Sequence[LayerInfo], variables: Mapping[str, str]) -> Step:
        root = space.see(self._context.store.trees(stack))
        return Step(self._context, layer, number, len(self._layers), space, root, variables)

    def _key(self, step: Step, kind: kinds.Kind, stack: Sequence[LayerInfo]) -> str:
        seen = kind.sees(step)
        below = [info.diff_id for info in stack] if step.layer["kind"] in recipe.CHAINED else []
        return recipe.layer_key(step.layer, {"below": below, "seen": seen})

    def _layer(self, layer: LayerSpec, number: int, stack: Sequence[LayerInfo], variables: Mapping[str, str]) -> LayerInfo:
        """The layer, from memory or made now."""
        kind = kinds.find(layer["kind"])
        resolving = kinds.resolving(kind)
        with Space(self._context.home, self._idmap.overlay_options) as space:
            step = self._step(layer, number, space, stack, variables)
            try:
                key = self._key(step, kind, stack)
                with self._memory.lock(key):
                    made = self._memory.find(key, lambda resolved: resolving is None or resolving.matches(step, resolved))
                    if made is None:
                        made = self._make(step, kind, stack)
                        self._memory.remember(key, made.layer, made.resolved)
                    if resolving is not None:
                        resolving.record(step, made.resolved)
            except (LayerError, NotFoundError) as error:
                raise step.error(error.summary, error.detail, error.hint) from error
        info = described(made.layer, recipe.title(layer), step.origin)
        return self._context.store.rebase_layer(info, stack)

    def _make(self, step: Step, kind: kinds.Kind, stack: Sequence[LayerInfo]) -> Made:
        step.progress(force=True)
        store, space = self._context.store, step.space
        trees = store.trees(stack)
        step.root = space.write(trees)
        resolved = kind.make(step)
        space.settle()
        chained = step.layer["kind"] in recipe.CHAINED
        self._normalise(space.upper, step.layer["kind"])
        below = trees if chained else ()
        stream = capture_upper(space.upper, below, self._idmap.overlay_prefix, recipe.EPOCH)
        info = store.add_layer(stream, stack, created_by=recipe.title(step.layer), origin=step.origin)
        return Made(info, resolved)

    def _normalise(self, upper: str, kind: str) -> None:
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

    def plan(self) -> list[LayerStep]:
        base = bases.find(self._context, self._spec.get("base") or {}, self._memory) if "base" in self._spec else None
        if base is None:
            reason = "the base is not made yet"
            return [
                LayerStep(number, layer["kind"], recipe.title(layer), "", False, reason)
                for number, layer in enumerate(self._layers, 1)
            ]  # fmt: skip
        variables = recipe.environment_of(recipe.image_config(base.config, self._spec.get("config") or {}))
        stack = list(base.layers)
        steps: list[LayerStep] = []
        for number, layer in enumerate(self._layers, 1):
            steps.append(self._look(layer, number, stack, variables, steps))
        return steps

    def _look(
        self, layer: LayerSpec, number: int, stack: list[LayerInfo], variables: Mapping[str, str], before: Sequence[LayerStep]
    ) -> LayerStep:
        """Whether one layer is there; when it is, the next one is looked at on top of it."""
        new = next((step for step in before if not step.cached), None)
        if new is not None and layer["kind"] in recipe.CHAINED:
            reason = f"it depends on layer {new.number}, which is made anew"
            return LayerStep(number, layer["kind"], recipe.title(layer), "", False, reason)
        kind = kinds.find(layer["kind"])
        resolving = kinds.resolving(kind)
        with Space(self._context.home, self._idmap.overlay_options) as space:
            step = self._step(layer, number, space, stack, variables)
            try:
                key = self._key(step, kind, stack)
            except EnvkitError as error:
                return LayerStep(number, layer["kind"], recipe.title(layer), "", False, str(error))
            made = self._memory.find(key, lambda resolved: resolving is None or resolving.matches(step, resolved))
        if made is None:
            return LayerStep(number, layer["kind"], recipe.title(layer), key, False, "its inputs are new")
        if new is None:
            stack.append(self._context.store.rebase_layer(made.layer, stack))
        return LayerStep(number, layer["kind"], recipe.title(layer), key, True, "it was made before from the same inputs")


