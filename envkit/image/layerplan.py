"""What a build would do, layer by layer, without doing it."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from envkit.errors import EnvkitError
from envkit.events import ignore
from envkit.host.home import Home
from envkit.image import bases, kinds, lockfile, recipe
from envkit.image.build import Builder
from envkit.image.lockfile import Lockfile
from envkit.image.manifest import LayerInfo
from envkit.image.memory import Memory
from envkit.image.space import Space
from envkit.image.step import Context
from envkit.image.store import Store
from envkit.spec.canonical import ImageSpec, LayerSpec
from envkit.values import value


@value
class LayerStep:
    """One layer. key is empty where it depends on a layer that is not made yet; reason: for people."""

    number: int
    kind: str
    title: str
    key: str
    cached: bool
    reason: str


def layer_plan(
    spec: ImageSpec, *, store: Store, home: Home, directory: str, images: Mapping[str, str],
    lock: Lockfile | None = None, origin: Callable[[str], str] = lambda path: "",
) -> list[LayerStep]:  # fmt: skip
    """The layers of spec in order. The caller has entered the engine namespace; only the cache directory is touched."""
    lock = lock if lock is not None else lockfile.of_project(directory)
    context = Context(f"image.{spec['name']}", store, home, directory, images, ignore, lock, origin)
    with store.session():
        if build := spec.get("build"):
            from envkit.image.dockerfile.plan import layer_steps

            return layer_steps(context, build, Memory(home, store), str(spec.get("platform") or ""))
        return _Plan(Builder(context, spec)).steps()


class _Plan:
    def __init__(self, builder: Builder) -> None:
        self._builder = builder
        self._stack: list[LayerInfo] = []
        self._steps: list[LayerStep] = []

    def steps(self) -> list[LayerStep]:
        builder = self._builder
        spec = builder.spec
        if "base" not in spec:
            return []
        base = bases.find(builder.context, spec["base"], builder.memory)
        variables = recipe.environment_of(recipe.image_config(base.config, spec.get("config") or {})) if base else {}
        self._stack = list(base.layers) if base else []
        for number, layer in enumerate(builder.layers, 1):
            missing = ("", False, "its base is not made yet")
            key, cached, reason = self._look(layer, number, variables) if base else missing
            self._steps.append(LayerStep(number, layer["kind"], recipe.title(layer), key, cached, reason))
        return self._steps

    def _look(self, layer: LayerSpec, number: int, variables: Mapping[str, str]) -> tuple[str, bool, str]:
        """Whether one layer is there; when all below it are, the next one is looked at on top of it."""
        builder = self._builder
        new = next((step for step in self._steps if not step.cached), None)
        if new is not None and layer["kind"] in recipe.CHAINED:
            return "", False, f"it depends on layer {new.number}, which is made anew"
        kind = kinds.find(layer["kind"])
        with Space(builder.context.home, builder.idmap.overlay_options) as space:
            step = builder.step(layer, number, space, self._stack, variables)
            try:
                key = builder.key(step, kind, self._stack)
            except EnvkitError as error:
                return "", False, str(error)
            made = builder.find(step, kind, key)
        if made is None:
            return key, False, "its inputs are new"
        if new is None:
            self._stack.append(builder.context.store.rebase_layer(made.layer, self._stack))
        return key, True, "it was made before from the same inputs"
