"""A plan as `plan --json` shows it (docs/reference/json.md). Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from envkit.plan.compare import compare
from envkit.plan.model import Action, AttributeChange, Change, Effect, Plan

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

FORMAT_VERSION = "1.0"


def plan_json(
    plan: Plan, layers: Mapping[str, Sequence[Mapping[str, Any]]] | None = None,
    diagnostics: Sequence[Mapping[str, Any]] = (),
) -> dict[str, Any]:  # fmt: skip
    """The public form: what does nothing is only counted. A reader accepts unknown keys of the same major version.

    layers: those of images that are built, by the images' names; diagnostics: warnings about the files and of the
    backend, as `validate --json` has them."""
    words = ("create", "update", "replace", "delete", "noop")
    return {
        "format_version": FORMAT_VERSION,
        "environment": plan.environment,
        "changes": [_with_layers(change, layers or {}) for change in plan.effective],
        "drift": [change_json(change) for change in plan.drift],
        "summary": {**{word: plan.count(word) for word in words}, "drift": len(plan.drift)},
        "loses_data": plan.loses_data,
        "partial": list(plan.partial),
        "diagnostics": list(diagnostics),
    }


def _with_layers(change: Change, layers: Mapping[str, Sequence[Mapping[str, Any]]]) -> dict[str, Any]:
    rows = layers.get(change.address.name) if change.address.kind == "image" else None
    data = {}
    if (change.loses_data or change.snapshot) and change.observed and "bytes" in change.observed.attributes:
        data = {"data": {key: change.observed.attributes[key] for key in ("bytes", "files")}}
    files = {"files_lost": list(lost)} if (lost := lost_files(change)) else {}
    return {**change_json(change), **({"layers": list(rows)} if rows else {}), **data, **files}


def lost_files(change: Change) -> Sequence[str]:
    """The first files in the instance's own layer, which die with it; the last one is "…" where there are more."""
    if change.address.kind != "service" or change.observed is None:
        return ()
    goes = change.action.replaces or change.action is Action.DELETE
    return change.observed.attributes.get("files") or () if goes else ()


def change_json(change: Change) -> dict[str, Any]:
    """One entry of `changes` or `drift`."""
    value: dict[str, Any] = {
        "address": str(change.address),
        "action": change.action.word,
        "reason": change.reason,
        "attributes": [attribute_json(item) for item in attributes_of(change)],
    }
    if change.action.replaces:
        value["order"] = "stop-first" if change.action.symbol == "-/+" else "start-first"
    if change.loses_data:
        value["loses_data"] = True
    if change.snapshot:
        value["snapshot"] = True
    return value


def attributes_of(change: Change) -> Sequence[AttributeChange]:
    """The change's attributes; for a creation, the whole spec (masked where it must be), which plans do not carry."""
    if change.action is Action.CREATE and change.resource is not None and not change.attributes:
        return compare({}, change.resource.spec, lambda path: Effect.NONE, change.resource.origin)
    return change.attributes


def attribute_json(item: AttributeChange) -> dict[str, Any]:
    return {
        "path": item.path, "before": item.before, "after": item.after, "source": item.source,
        "effect": item.effect.value,
    }  # fmt: skip
