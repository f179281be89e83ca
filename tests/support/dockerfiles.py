"""Build Dockerfiles in a child inside the engine namespace, and see what is in the images."""

from __future__ import annotations

import os
import tarfile
from collections.abc import Mapping
from typing import Any

from envkit.host.home import Home
from envkit.image.build import build
from envkit.image.layerplan import LayerStep, layer_plan
from envkit.image.store import Store
from tests.support.building import in_engine
from tests.support.images import busybox_image


class Kitchen:
    """One home and one context directory."""

    def __init__(self, home: Home, directory: str) -> None:
        self.home, self.directory = home, directory
        self.store = Store(home)
        os.makedirs(directory, exist_ok=True)

    def write(self, path: str, content: str | bytes, mode: int = 0o644) -> str:
        """A file of the context."""
        full = os.path.join(self.directory, path)
        os.makedirs(os.path.dirname(full), exist_ok=True)
        with open(full, "wb") as file:
            file.write(content.encode() if isinstance(content, str) else content)
        os.chmod(full, mode)
        return full

    def build(self, text: str | None = None, *, contents: Mapping[str, bytes] | None = None, name: str = "test/image",
              images: Mapping[str, str] | None = None, environ: Mapping[str, str] | None = None, fresh: bool = False,
              **asked: Any) -> Built:  # fmt: skip
        """The image of a Dockerfile's text (None: of the one that is there); asked: further keys of `build:`; contents:
        those of secrets."""
        if text is not None:
            self.write(asked.get("dockerfile", "Dockerfile"), text)
        given = dict(contents or {})

        def action() -> Built:
            self._base()
            events: list[Any] = []
            spec: Any = {"name": name, "build": {"context": self.directory, **asked}}
            digest = build(
                spec, store=self.store, home=self.home, directory=self.directory, images=images or {},
                emit=events.append, secret=given.__getitem__, environ=environ or {}, fresh=fresh,
            )  # fmt: skip
            made = sorted({event.data["layer"] for event in events if "layer" in event.data})
            warnings = [event.message for event in events if str(event.kind) == "warning"]
            return self.built(digest, made, warnings)

        result: Built = in_engine(self.home, action)
        return result

    def plan(self, **asked: Any) -> list[LayerStep]:
        """What a build would do."""
        spec: Any = {"name": "test/image", "build": {"context": self.directory, **asked}}

        def action() -> list[LayerStep]:
            self._base()
            return layer_plan(spec, store=self.store, home=self.home, directory=self.directory, images={})

        steps: list[LayerStep] = in_engine(self.home, action)
        return steps

    def _base(self) -> None:
        if self.store.resolve("busybox") is None:
            busybox_image(self.store, "busybox")

    def built(self, digest: str, made: list[int] | None = None, warnings: list[str] | None = None) -> Built:
        """What is in a stored image."""
        image = self.store.image(digest)
        base = len(self.store.image("busybox").layers)
        start = base if image.layers[:base] == self.store.image("busybox").layers else 0
        files: dict[str, File] = {}
        for layer in image.layers[start:]:
            with tarfile.open(self.store.blob_path(layer.digest)) as archive:
                for member in archive.getmembers():
                    _apply(archive, member, files)
        history = [str(entry["created_by"]) for entry in image.config["history"]]
        return Built(digest, dict(image.config.get("config") or {}), files, made or [], warnings or [], history)


class File:
    """One entry of an image. kind: file, directory, link."""

    def __init__(self, kind: str, mode: int, owner: tuple[int, int], content: str) -> None:
        self.kind, self.mode, self.owner, self.content = kind, mode, owner, content

    def __repr__(self) -> str:
        return f"{self.kind} {self.mode:o} {self.owner} {self.content!r}"


class Built:
    """files: what the image has above busybox, by path. made: numbers of the layers that were not cached."""

    def __init__(self, digest: str, config: dict[str, Any], files: dict[str, File], made: list[int],
                 warnings: list[str], history: list[str]) -> None:  # fmt: skip
        self.digest, self.config, self.files, self.made = digest, config, files, made
        self.warnings, self.history = warnings, history

    def content(self, path: str) -> str:
        return self.files[path].content

    @property
    def names(self) -> set[str]:
        """Paths of all files and links."""
        return {name for name, file in self.files.items() if file.kind != "directory"}


def _apply(archive: tarfile.TarFile, member: tarfile.TarInfo, files: dict[str, File]) -> None:
    path = "/" + member.name.removeprefix("./").strip("/")
    directory, _, name = path.rpartition("/")
    if name.startswith(".wh."):
        gone = f"{directory}/{name[4:]}"
        for other in [each for each in files if each == gone or each.startswith(gone + "/")]:
            del files[other]
        return
    owner = (member.uid, member.gid)
    if member.isdir():
        files[path] = File("directory", member.mode, owner, "")
    elif member.issym():
        files[path] = File("link", member.mode, owner, member.linkname)
    elif member.islnk():
        files[path] = files["/" + member.linkname.strip("/")]
    else:
        content = archive.extractfile(member)
        text = content.read().decode(errors="replace") if content is not None else ""
        files[path] = File("file", member.mode, owner, text)
