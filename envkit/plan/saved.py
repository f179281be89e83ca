"""A plan kept for later: what it was made from and what it said, so that exactly this is carried out or nothing. Pure.

The file holds no specs: the plan is made again from the files and the live objects, and must come out the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from envkit import digest
from envkit.errors import ConflictError, EnvkitError
from envkit.lean import json
from envkit.observed.state import ObservedState
from envkit.plan.effects import Capabilities
from envkit.plan.encode import FORMAT_VERSION, change_json, plan_json
from envkit.plan.model import Plan
from envkit.plan.planner import make_plan
from envkit.spec.environment import Environment, Resource
from envkit.values import value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_MAKE = "make it with envkit plan -o FILE"


@value
class SavedPlan:
    """basis: digest of the observed state. desired: address -> spec's fingerprint. changes: address -> as shown."""

    environment: str
    basis: str
    desired: Mapping[str, str]
    changes: Mapping[str, Mapping[str, Any]]
    partial: tuple[str, ...] = ()
    replace: tuple[str, ...] = ()


def encode_saved(plan: Plan) -> bytes:
    """The content of the file that `plan -o FILE` writes: `plan --json` plus the key `saved`."""
    desired = _desired(change.resource for change in plan.changes if change.resource)
    saved = {"basis": plan.basis, "desired": desired, "replace": list(plan.replace)}
    return json.dumps({**plan_json(plan), "saved": saved}, ensure_ascii=False, indent=1).encode() + b"\n"


def decode_saved(data: bytes, name: str) -> SavedPlan:
    """The inverse. Raises EnvkitError naming the file when it is not a saved plan of a version known here."""
    try:
        value = json.loads(data)
        major = str(value["format_version"]).partition(".")[0]
        saved = value["saved"]
        plan = SavedPlan(
            value["environment"], saved["basis"], dict(saved["desired"]),
            {item["address"]: item for item in value["changes"]}, tuple(value["partial"]), tuple(saved["replace"]),
        )  # fmt: skip
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise EnvkitError("This is not a saved plan", f"{name}: {error!r}", _MAKE) from error
    if major != FORMAT_VERSION.partition(".")[0]:
        raise EnvkitError(
            "The saved plan has another format",
            f"{name} has version {value['format_version']}, this envkit reads {FORMAT_VERSION}", _MAKE,
        )  # fmt: skip
    return plan


def check_saved(
    saved: SavedPlan, environment: Environment, observed: ObservedState, capabilities: Capabilities
) -> Plan:
    """The saved plan, ready to be carried out. Raises ConflictError, saying what differs, when it is stale."""
    if saved.environment != environment.name:
        raise ConflictError(
            "The saved plan is another environment's",
            f"it is {saved.environment}'s, the files here describe {environment.name}",
        )
    plan = make_plan(environment, observed, capabilities, only=saved.partial, replace=saved.replace)
    desired = _desired(change.resource for change in plan.changes if change.resource)
    if desired != saved.desired:
        _refuse("the files have changed since", _differing(saved.desired, desired))
    now = {str(change.address): change_json(change) for change in plan.effective}
    if plan.basis != saved.basis and now != saved.changes:
        _refuse("the environment has changed since", _differing(saved.changes, now))
    return plan


def _desired(resources: Iterable[Resource]) -> dict[str, str]:
    return {str(resource.address): resource.fingerprint for resource in resources}


def _differing(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    return sorted(key for key in before.keys() | after.keys() if before.get(key) != after.get(key))


def _refuse(why: str, addresses: list[str]) -> None:
    shown = ", ".join(addresses[:5]) + (f" and {len(addresses) - 5} more" if len(addresses) > 5 else "")
    raise ConflictError("The saved plan is stale", f"{why}: {shown}" if shown else why, _MAKE)


def desired_digest(environment: Environment) -> str:
    """One digest for everything that is desired (the journal's)."""
    return digest.fingerprint(_desired(environment.resources.values()))
