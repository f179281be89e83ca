"""Images of the model -> canonical ImageSpecs: those of `images:`, those of `build:`, and plain references."""

from __future__ import annotations

import os
from collections.abc import Mapping

from envkit.address import Address
from envkit.config.compile_service import healthcheck, signal_name
from envkit.config.draft import Draft, Scope
from envkit.config.inputs import project_path
from envkit.config.suggest import did_you_mean
from envkit.spec.environment import Dependency, Resource

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

BASE_KINDS = ("debian", "image", "oci", "archive", "reference", "dockerfile")


def image_name(scope: Scope, key: str) -> str:
    """The name in the store of an image below `images:`."""
    return f"{scope.model.name}/{key}:latest"


def compile_image(scope: Scope, key: str) -> Resource:
    """The Resource of images.KEY."""
    item: Mapping[str, Any] = scope.section("images")[key]
    draft = Draft(scope, Address("image", key), f"images.{key}")
    draft.spec["name"] = image_name(scope, key)
    from envkit.config.compile_layers import compile_layers

    draft.put("base", _base(draft, item.get("from")), "from")
    draft.put("layers", compile_layers(draft, item.get("layers") or ()) or None)
    config = _config(draft, item)
    draft.put("config", config or None, "config")
    for name in config:
        draft.came_from(f"config.{name}", name)
    draft.put("platform", item.get("platform"))
    return draft.make()


def compile_reference(scope: Scope, reference: str, service: Mapping[str, Any], path: str) -> Resource:
    """The Resource of an image that is not made here. path: where it is written (`services.web.image`)."""
    base, _, key = path.rpartition(".")
    draft = Draft(scope, Address("image", reference), base)
    draft.put("name", reference, key)
    draft.put("reference", reference, key)
    for name in ("pull_policy", "platform"):
        draft.put(name, service.get(name) or None)
    return draft.make()


def compile_build(scope: Scope, service_name: str, reference: str) -> Resource:
    """The Resource of what services.NAME.build makes."""
    service: Mapping[str, Any] = scope.section("services")[service_name]
    draft = Draft(scope, Address("image", reference), f"services.{service_name}")
    draft.put("name", reference, "image" if service.get("image") else "build")
    from envkit.config.compile_build import build

    draft.put("build", build(draft, service["build"], "build"))
    for name in ("pull_policy", "platform"):
        draft.put(name, service.get(name) or None)
    return draft.make()


def _base(draft: Draft, written: Any) -> dict[str, Any] | None:
    """ImageSpec.base."""
    scope = draft.scope
    images = scope.section("images")
    if written is None:
        return None
    if isinstance(written, str):
        if written == "scratch":
            return {"scratch": True}
        written = {"image": written} if written in images else {"reference": written}
    kind = next((each for each in BASE_KINDS if each in written), "")
    value = written.get(kind)
    if kind == "debian":
        made: dict[str, Any] = {"debian": value}
        if written.get("variant") not in (None, "minbase"):
            made["variant"] = written["variant"]
        if written.get("packages"):
            made["packages"] = sorted(set(written["packages"]))
        return made
    if kind == "image":
        if value not in images:
            scope.error("undefined-image", "An image is not defined", f"{draft.base} starts from {value!r}, which is "
                        "no key below `images:`", draft.path("from"),
                        did_you_mean(value, images) or "write {reference: …} for an image of a registry")  # fmt: skip
        draft.needs(Dependency(Address("image", value)))
        return {"image": value}
    if kind in ("oci", "archive"):
        path = project_path(scope.model.directory, value)
        made = {kind: path, **({"tag": written["tag"]} if written.get("tag") else {})}
        digest = scope.inputs.tree(path)
        if digest is None and not scope.tolerant:
            scope.error("missing-file", "A file does not exist", f"{draft.base} starts from {path}", draft.path("from"),
                        "create it, or correct the path")  # fmt: skip
        return {**made, **({"inputs": digest} if digest else {})}
    if kind == "dockerfile":
        dockerfile = project_path(scope.model.directory, value)
        context = os.path.join(scope.model.directory, written.get("context") or os.path.dirname(dockerfile))
        asked = {"context": context, "dockerfile": dockerfile, "target": written.get("target"),
                 "args": variables(written.get("args"))}  # fmt: skip
        from envkit.config.compile_build import build

        return {"build": build(draft, asked, "from")}
    draft.needs(Dependency(Address("image", str(value))))
    return {"reference": value}


def variables(written: Any) -> dict[str, str]:
    """A mapping, or a list of NAME=VALUE, as a mapping of texts; names without a value are left out."""
    if isinstance(written, Mapping):
        rows = list(written.items())
    else:
        rows = [(text.partition("=")[0], text.partition("=")[2] if "=" in text else None) for text in written or ()]
    return {str(name): _scalar(value) for name, value in rows if value is not None}


def _scalar(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def arguments(draft: Draft, written: Any, below: str) -> list[str]:
    """A command as a list; a text is split like a shell does."""
    if isinstance(written, str):
        import shlex

        split: list[str] | None = draft.read(shlex.split, written, below)
        return split or []
    return [str(item) for item in written or ()]


def _config(draft: Draft, item: Mapping[str, Any]) -> dict[str, Any]:
    made: dict[str, Any] = {}
    if item.get("user") not in (None, ""):
        made["user"] = str(item["user"])
    if item.get("workdir"):
        made["workdir"] = item["workdir"]
    for key in ("environment", "labels"):
        if values := variables(item.get(key)):
            made[key] = values
    for key in ("entrypoint", "command"):
        if item.get(key) is not None:
            made[key] = arguments(draft, item[key], key)
    if item.get("expose"):
        made["expose"] = sorted({f"{port}" if "/" in str(port) else f"{port}/tcp" for port in item["expose"]})
    if item.get("volumes"):
        made["volumes"] = sorted(set(item["volumes"]))
    if item.get("stop_signal"):
        made["stop_signal"] = signal_name(draft.scope, str(item["stop_signal"]), draft.path("stop_signal"))
    if check := healthcheck(draft.scope, item.get("healthcheck") or {}, draft.path("healthcheck")):
        made["healthcheck"] = check
    return made
