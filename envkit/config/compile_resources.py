"""Networks, volumes, secrets and configs of the model -> their canonical specs."""

from __future__ import annotations

from collections.abc import Mapping

from envkit.address import Address
from envkit.config.draft import Draft, Scope
from envkit.config.keyed import keyed_digest
from envkit.config.quantities import is_true
from envkit.spec.environment import Resource

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


KEPT = 3
"""So many automatic snapshots of a protected volume stay where `keep` is not written."""


def compile_network(scope: Scope, name: str) -> Resource:
    """The Resource of networks.NAME."""
    draft, item = _start(scope, "network", name)
    if item.get("driver") not in (None, "", "bridge", "default"):
        draft.put("driver", item["driver"])
    _put_options(draft, item)
    for key in ("internal", "external", "attachable", "enable_ipv6"):
        draft.put(key, True if is_true(item.get(key)) else None)
    draft.put("enable_ipv4", False if item.get("enable_ipv4") is False else None)
    ipam: Mapping[str, Any] = item.get("ipam") or {}
    subnets = [{key: value for key, value in subnet.items() if value and not key.startswith("x-")}
               for subnet in ipam.get("config") or ()]  # fmt: skip
    draft.put("subnets", [subnet for subnet in subnets if subnet] or None, "ipam.config")
    driver = ipam.get("driver")
    draft.put("ipam_driver", None if driver in (None, "", "default") else driver, "ipam.driver")
    draft.put("ipam_options", ipam.get("options") or None, "ipam.options")
    return draft.make()


def compile_volume(scope: Scope, name: str) -> Resource:
    """The Resource of volumes.NAME."""
    draft, item = _start(scope, "volume", name)
    if item.get("driver") not in (None, "", "local"):
        draft.put("driver", item["driver"])
    _put_options(draft, item)
    draft.put("external", True if is_true(item.get("external")) else None)
    draft.put("protect", _protect(item.get("protect")))
    return draft.make()


def _protect(written: Any) -> dict[str, Any] | None:
    if isinstance(written, Mapping):
        return {"snapshot": written.get("snapshot") is not False, "keep": int(written.get("keep") or KEPT)}
    return {"snapshot": True, "keep": KEPT} if is_true(written) else None


def compile_material(scope: Scope, kind: str, name: str) -> Resource:
    """The Resource of secrets.NAME or configs.NAME, with a keyed digest of the content where it can be read."""
    draft, item = _start(scope, kind, name)
    for key in ("file", "environment"):
        draft.put(key, item.get(key) or None)
    if kind == "config":
        named = item.get("file") or item.get("environment") or is_true(item.get("external"))
        draft.put("content", item.get("content", None if named else ""))
    draft.put("external", True if is_true(item.get("external")) else None)
    draft.put("labels", item.get("labels") or None)
    for key in ("driver", "driver_opts", "template_driver"):
        if item.get(key):
            scope.warning("not-honoured", "A key has no effect", f"{draft.path(key)} is not honoured: envkit fills in "
                          f"{kind}s itself", draft.path(key), "take it away")  # fmt: skip
    draft.put("digest", _digest(draft, item, f"{kind}.{name}"), "file" if item.get("file") else "environment")
    return draft.make()


def _digest(draft: Draft, item: Mapping[str, Any], purpose: str) -> str | None:
    scope = draft.scope
    if path := item.get("file"):
        made = scope.inputs.secret(path, purpose)
        if made is None and not scope.tolerant:
            scope.error("missing-file", "A file does not exist", f"{draft.base} has its content in {path}, which "
                        "cannot be read", draft.path("file"), "create it, or correct the path")  # fmt: skip
        return made
    if variable := item.get("environment"):
        value = scope.model.environ.get(variable)
        if value is None:
            if not scope.tolerant:
                scope.error("missing-variable", "A variable is not set", f"{draft.base} has its content in the "
                            f"variable {variable}, which is not set", draft.path("environment"),
                            f"set {variable} in the shell or in .env")  # fmt: skip
            return None
        return keyed_digest(scope.salt, purpose, value.encode("utf-8", "surrogateescape"))
    if item.get("content") is not None:
        return keyed_digest(scope.salt, purpose, str(item["content"]).encode("utf-8", "surrogateescape"))
    return None


def _start(scope: Scope, kind: str, name: str) -> tuple[Draft, Mapping[str, Any]]:
    item: Mapping[str, Any] = scope.section(f"{kind}s")[name] or {}
    draft = Draft(scope, Address(kind, name), f"{kind}s.{name}")
    draft.put("name", item.get("name") or f"{scope.model.name}_{name}")
    return draft, item


def _put_options(draft: Draft, item: Mapping[str, Any]) -> None:
    draft.put("driver_opts", {key: str(value) for key, value in (item.get("driver_opts") or {}).items()} or None)
    draft.put("labels", item.get("labels") or None)
