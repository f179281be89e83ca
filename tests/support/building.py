"""Build images in a child process that has entered the engine namespace, as an envkit command does."""

from __future__ import annotations

import os
import pickle
import traceback
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from envkit.errors import EnvkitError
from envkit.events import Event
from envkit.host.home import Home
from envkit.host.namespace import Engine
from envkit.image.build import build
from envkit.image.lockfile import Lockfile
from envkit.image.store import Store
from tests.support.images import busybox_image

BUSYBOX = {"reference": "busybox:test"}


def in_engine(home: Home, action: Callable[[], Any]) -> Any:
    """The result of action() in a forked child inside the engine namespace, which is gone afterwards.

    An EnvkitError of the child is raised here; anything else fails the test with the child's traceback.
    """
    os.makedirs(home.root, exist_ok=True)
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reader)
        with os.fdopen(writer, "wb") as file:
            file.write(pickle.dumps(_outcome(home, action)))
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as file:
        data = file.read()
    os.waitpid(child, 0)
    kind, value = pickle.loads(data) if data else ("broken", "the child died")
    if kind == "error":
        error, attributes = value
        error.__dict__.update(attributes)
        raise error
    assert kind == "result", value
    return value


def _outcome(home: Home, action: Callable[[], Any]) -> tuple[str, Any]:
    engine = Engine(home)
    try:
        engine.enter()
        return "result", action()
    except EnvkitError as error:
        plain = type(error).__new__(type(error))
        plain.args = (str(error),)
        return "error", (plain, dict(error.__dict__))
    except BaseException:  # noqa: BLE001  (the parent fails the test with it)
        return "broken", traceback.format_exc()
    finally:
        engine.release()


class Building:
    """One home and one project directory; builds images and looks at them."""

    def __init__(self, home: Home, directory: str) -> None:
        self.home = home
        self.directory = directory
        self.store = Store(home)
        self.events: list[Event] = []
        os.makedirs(directory, exist_ok=True)

    def build(
        self, layers: Sequence[Mapping[str, Any]], *, base: Mapping[str, Any] = BUSYBOX, name: str = "test/image",
        config: Mapping[str, Any] | None = None, images: Mapping[str, str] | None = None, **options: Any,
    ) -> str:
        """The digest; to be called inside the engine namespace."""
        if base.get("reference") == "busybox:test" and self.store.resolve("busybox:test") is None:
            busybox_image(self.store)
        spec: Any = {"name": name, "base": dict(base), "layers": list(layers), "config": dict(config or {})}
        options.setdefault("lock", Lockfile())
        return build(
            spec, store=self.store, home=self.home, directory=self.directory, images=images or {},
            emit=self.events.append, origin=lambda path: f"envkit.yaml:7:5 {path}", **options,
        )

    def make(self, *layers: Mapping[str, Any], **options: Any) -> Made:
        """Build in a child; what came out."""
        return in_engine(self.home, lambda: self._made(layers, options))  # type: ignore[no-any-return]

    def _made(self, layers: Sequence[Mapping[str, Any]], options: Any) -> Made:
        self.events.clear()
        digest = self.build(layers, **options)
        image = self.store.image(digest)
        started = [event.data["layer"] for event in self.events if "layer" in event.data]
        warnings = [event.message for event in self.events if event.kind == "warning"]
        own = image.layers[len(image.layers) - len(layers) :]
        return Made(
            digest, [self.store.blob_path(layer.digest) for layer in own], sorted(set(started)), image.config, warnings,
            list(image.trees),
        )  # fmt: skip


class Made:
    """blobs: the tar of each layer asked for; built: the numbers of the layers that were not cached."""

    def __init__(
        self, digest: str, blobs: list[str], built: list[int], config: dict[str, Any], warnings: list[str],
        trees: list[str],
    ) -> None:
        self.digest, self.blobs, self.built, self.config = digest, blobs, built, config
        self.warnings, self.trees = warnings, trees

    def entries(self, number: int = 1) -> dict[str, Any]:
        """Name -> TarInfo of the layer (counted from 1), read by Python's own tarfile."""
        import tarfile

        with tarfile.open(self.blobs[number - 1]) as archive:
            return {member.name: member for member in archive.getmembers()}

    def content(self, path: str, number: int = 1) -> bytes:
        """A file's content in the layer."""
        import tarfile

        with tarfile.open(self.blobs[number - 1]) as archive:
            file = archive.extractfile(path)
            assert file is not None
            return file.read()


def layer(kind: str, inputs: str = "", **args: Any) -> dict[str, Any]:
    """A LayerSpec. A word that ends in _ stands for the key without it."""
    made: dict[str, Any] = {"kind": kind, "args": {key.rstrip("_"): value for key, value in args.items()}}
    return {**made, "inputs": inputs} if inputs else made


def shell(text: str, **args: Any) -> dict[str, Any]:
    """A `run` layer without a network."""
    return layer("run", argv=["/bin/sh", "-ec", text], **{"network": "none", **args})
