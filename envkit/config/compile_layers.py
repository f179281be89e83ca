"""`images.X.layers` -> canonical layers: kinds, args (spec/layers.py) and the digests of what they read."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from envkit.address import Address
from envkit.config.draft import Draft
from envkit.config.inputs import project_path
from envkit.config.quantities import mode
from envkit.config.suggest import did_you_mean
from envkit.errors import HostError
from envkit.spec.environment import Dependency

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Args = dict[str, Any]

KINDS = ("apt", "pip", "npm", "copy", "files", "archive", "link", "remove", "run", "user")
"""In the order in which a key decides: `run` with `user` is a run."""



def compile_layers(draft: Draft, written: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """LayerSpecs in order."""
    made = []
    for index, item in enumerate(written):
        kind = next((each for each in KINDS if each in item), None)
        if kind is not None:
            layer = _Layer(draft, f"layers[{index}]", item)
            args = _COMPILERS[kind](layer)
            made.append({"kind": kind, "args": args, **layer.inputs()})
            draft.came_from(f"layers[{index}]", f"layers[{index}]")
            draft.came_from(f"layers[{index}].args", f"layers[{index}]")
    return made


class _Layer:
    """One layer as written, and the digests of its inputs."""

    def __init__(self, draft: Draft, below: str, item: Mapping[str, Any]) -> None:
        self.draft = draft
        self.below = below
        self.item = item
        self.digests: list[str] = []

    def texts(self, key: str) -> list[str]:
        value = self.item.get(key)
        return [value] if isinstance(value, str) else [str(each) for each in value or ()]

    def read(self, path: str, key: str, exclude: Sequence[str] = (), *, ignoring: bool = False) -> str:
        """The absolute path of a project file or directory; its digest becomes part of the layer's inputs. ignoring:
        the project's ignore file counts."""
        scope = self.draft.scope
        full = project_path(scope.model.directory, path)
        place = self.draft.path(f"{self.below}.{key}")
        try:
            digest = scope.inputs.tree(full, exclude, rules_of=scope.model.directory if ignoring else "")
        except HostError as problem:
            scope.error("invalid-value", "A value is not valid", f"{place}: {problem}", place, problem.hint)
            return full
        except OSError as problem:
            scope.error("unreadable-file", "A file cannot be read", f"{problem.filename or full}: {problem.strerror}",
                        place, "make it readable, or leave it out with .envkitignore")  # fmt: skip
            return full
        if digest is None:
            if not scope.tolerant:
                scope.error("missing-file", "A file does not exist", f"{place} reads {full}", place,
                            "create it, or correct the path")  # fmt: skip
        else:
            self.digests.append(digest)
        return full

    def inputs(self) -> dict[str, str]:
        if not self.digests:
            return {}
        if len(self.digests) == 1:
            return {"inputs": self.digests[0]}
        from envkit.digest import fingerprint

        return {"inputs": fingerprint(self.digests)}

    def some(self, **values: Any) -> Args:
        """The values that are not absent."""
        return {key: value for key, value in values.items() if value not in (None, "", [], {}, False)}

    def owner(self, item: Mapping[str, Any] | None = None) -> str | None:
        value = (self.item if item is None else item).get("owner")
        text = None if value is None else str(value)
        return None if text in ("root", "root:root", "0", "0:0", "root:0", "0:root") else text

    def mode(self, item: Mapping[str, Any], below: str) -> int | None:
        value: int | None = self.draft.read(mode, item.get("mode"), f"{self.below}.{below}")
        return value


def _apt(layer: _Layer) -> Args:
    return {"packages": sorted(set(layer.texts("apt"))), **layer.some(recommends=layer.item.get("recommends"))}


def _pip(layer: _Layer) -> Args:
    requirements = layer.item.get("requirements")
    return layer.some(
        packages=sorted(set(layer.texts("pip"))), venv=layer.item.get("venv"),
        requirements=layer.read(requirements, "requirements") if requirements else None,
    )  # fmt: skip


_MANIFESTS = ("*", "!package.json", "!package-lock.json", "!npm-shrinkwrap.json")


def _npm(layer: _Layer) -> Args:
    to = layer.item.get("to")
    if to is None:
        return {"packages": sorted(set(layer.texts("npm")))}
    context = layer.read(layer.texts("npm")[0], "npm", _MANIFESTS)
    return {"context": context, "to": to, **layer.some(dev=layer.item.get("dev"))}


def _copy(layer: _Layer) -> Args:
    item = layer.item
    exclude = [str(each) for each in item.get("exclude") or ()]
    rest = layer.some(owner=layer.owner(), mode=layer.mode(item, "mode"), exclude=exclude)
    if source := item.get("from"):
        images = layer.draft.scope.section("images")
        kind = "image" if source in images else "reference"
        layer.draft.needs(Dependency(Address("image", source)))
        return {"sources": layer.texts("copy"), "to": item["to"], "from": {kind: source}, **rest}
    sources = [layer.read(text, "copy", exclude, ignoring=True) for text in layer.texts("copy")]
    return {"sources": sources, "to": item["to"], **rest}


def _files(layer: _Layer) -> Args:
    made: dict[str, Args] = {}
    for path, written in layer.item["files"].items():
        item = {"content": written} if isinstance(written, str) else written
        below = f"files.{path}"
        entry: Args = {}
        if item.get("file"):
            entry["file"] = layer.read(item["file"], f"{below}.file")
            if item.get("content") is not None:
                place = layer.draft.path(f"{layer.below}.{below}")
                layer.draft.scope.error("conflict", "Two keys exclude each other", f"{place} has both content and file",
                                        place, "take one of them away")  # fmt: skip
        else:
            entry["content"] = item.get("content", "")
        permissions = layer.mode(item, f"{below}.mode")
        made[path] = entry | layer.some(owner=layer.owner(item), mode=None if permissions == 0o644 else permissions)
    return {"files": made}


def _archive(layer: _Layer) -> Args:
    item = layer.item
    source = str(item["archive"])
    place = layer.draft.path(f"{layer.below}.archive")
    if source.startswith(("https://", "http://")):
        if not item.get("sha256"):
            layer.draft.scope.error(
                "missing-key", "A key is missing", f"{place} is fetched from a URL and needs the key 'sha256'", place,
                "add `sha256:` with the archive's digest, so that the image is the same every time",
            )  # fmt: skip
    else:
        source = layer.read(source, "archive")
    return {"source": source, "to": item["to"],
            **layer.some(sha256=item.get("sha256"), strip=item.get("strip"), owner=layer.owner())}  # fmt: skip


def _user(layer: _Layer) -> Args:
    written = layer.item["user"]
    item = {"name": written} if isinstance(written, str) else written
    made: Args = {"name": item["name"]}
    for key in ("uid", "gid", "group", "home", "shell"):
        if item.get(key) is not None:
            made[key] = item[key]
    if item.get("groups"):
        made["groups"] = sorted(set(item["groups"]))
    return made


def _link(layer: _Layer) -> Args:
    return {"links": dict(layer.item["link"])}


def _remove(layer: _Layer) -> Args:
    return {"paths": sorted(set(layer.texts("remove")))}


def _run(layer: _Layer) -> Args:
    from envkit.config.compile_image import variables

    item = layer.item
    written = item["run"]
    secrets = [str(name) for name in item.get("secrets") or ()]
    known = layer.draft.scope.section("secrets")
    for index, name in enumerate(secrets):
        if name not in known:
            place = layer.draft.path(f"{layer.below}.secrets[{index}]")
            hint = did_you_mean(name, known) or f"add it: `secrets: {{{name}: {{file: …}}}}`"
            layer.draft.scope.error("undefined-secret", "A secret is not defined", f"{place} is {name!r}, which is no "
                                    "key below `secrets:`", place, hint)  # fmt: skip
        layer.draft.needs(Dependency(Address("secret", name)))
    return {
        "argv": ["/bin/sh", "-ec", written] if isinstance(written, str) else [str(each) for each in written],
        **layer.some(
            environment=variables(item.get("environment")), user=_user_of(item), workdir=_workdir_of(item),
            network="none" if item.get("network") == "none" else None, cache=sorted(set(item.get("cache") or ())),
            secrets=sorted(secrets),
            mounts=[{"source": layer.read(mount["from"], f"mounts[{index}].from"), "to": mount["to"]}
                    for index, mount in enumerate(item.get("mounts") or ())],
        ),
    }  # fmt: skip


def _user_of(item: Mapping[str, Any]) -> str | None:
    user = item.get("user")
    return None if user in (None, "", "root", 0, "0") else str(user)


def _workdir_of(item: Mapping[str, Any]) -> str | None:
    workdir = item.get("workdir")
    return None if workdir == "/" else workdir


_COMPILERS: dict[str, Callable[[_Layer], Args]] = {
    "apt": _apt, "pip": _pip, "npm": _npm, "copy": _copy, "files": _files, "archive": _archive, "link": _link,
    "remove": _remove, "run": _run, "user": _user,
}  # fmt: skip
