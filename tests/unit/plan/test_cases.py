"""tests/cases/plan: one healthy environment, one mutation per case, the whole plan as text.

`python -m tests.unit.plan.test_cases` writes what came out into the files; read the difference before committing it.
"""

from __future__ import annotations

import io
import os
from collections.abc import Mapping
from typing import Any

import pytest
from ruamel.yaml import YAML
from ruamel.yaml.scalarstring import LiteralScalarString

from envkit.address import Address
from envkit.backend.base import Capabilities
from envkit.observed.state import ObservedResource, ObservedState
from envkit.plan.model import Action, Change
from envkit.plan.planner import make_plan
from envkit.spec.environment import Environment
from envkit.values import replace
from tests.support.environments import environment, resource

CASES = os.path.join(os.path.dirname(__file__), "../../cases/plan")
FILES = sorted(name for name in os.listdir(CASES) if name != "base.yaml")
IN_PLACE = frozenset({"limits", "published", "networks.*.link"})
RESTART = frozenset({"config_digests"})
OBSERVED = {"app": "sha256:1", "base": "sha256:b"}


def load(name: str) -> Any:
    yaml = YAML()
    yaml.width = 118
    with open(os.path.join(CASES, name), encoding="utf-8") as stream:
        return yaml.load(stream)


def merged(base: Any, patch: Any) -> Any:
    """patch over base: dictionaries merge, None removes a key, all else replaces."""
    if not isinstance(base, Mapping) or not isinstance(patch, Mapping):
        return patch
    result = {key: value for key, value in base.items() if key not in patch}
    result |= {key: merged(base.get(key), value) for key, value in patch.items() if value is not None}
    return {key: result[key] for key in (*base, *patch) if key in result}


def environment_of(values: Mapping[str, Any], case: Mapping[str, Any]) -> Environment:
    made = [resource(address, plain(item["spec"]), item.get("depends_on")) for address, item in values.items()]
    return environment(*made, disabled=tuple(case.get("disabled", ())), drift_ignore=tuple(case.get("ignore", ())))


def plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    return [plain(item) for item in value] if isinstance(value, list) else value


def observe(applied: Environment, case: Mapping[str, Any]) -> ObservedState:
    """The applied environment as it lives, with the case's mutations."""
    mutations = dict(case.get("observed", {}))
    found: dict[Address, ObservedResource] = {}
    for address, item in applied.resources.items():
        for index in range(1, int(item.spec.get("replicas", 1)) + 1):
            where = address.replica(index)
            mutation = mutations.get(str(where), {})
            if mutation is not None:
                found[where] = alive(where, item.spec, item.fingerprint, mutation)
    return ObservedState("shop", found, plain(case.get("images", OBSERVED)))


def alive(where: Address, spec: Mapping[str, Any], digest: str, mutation: Mapping[str, Any]) -> ObservedResource:
    facts: dict[str, Any] = {"gateway": "10.0.0.1"} if where.kind == "network" else {}
    if where.kind == "service":
        facts = {"state": "running", **{f"limits.{key}": value for key, value in spec.get("limits", {}).items()}}
        facts |= {f"published.{port['target']}/{port['protocol']}": port["published"] for port in spec.get("ports", ())}
    facts |= plain(mutation.get("expected", {}))
    image = {"image": OBSERVED.get(where.name, "sha256:1"), "service": "sha256:1"}.get(where.kind, "")
    observed = ObservedResource(where, spec, digest, facts, {**facts, **plain(mutation.get("actual", {}))}, image)
    return replace(
        observed, attributes=plain(mutation.get("attributes", {})), missing=mutation.get("missing", False),
        complete=mutation.get("complete", True),
    )  # fmt: skip


def lines(change: Change, requires: bool) -> list[str]:
    data = "  LOSES DATA" if change.loses_data else ""
    text = [f"{change.action.symbol.strip() or '='} {change.address}: {change.reason}{data}"]
    for item in change.attributes:
        text.append(f"    {item.path}: {item.before} -> {item.after} ({item.effect})")
    if requires:
        text += [f"    after {item.address} is {item.condition}" for item in change.requires]
    return text


def outcome(case: Mapping[str, Any]) -> str:
    """The plan of one case as text."""
    base = load("base.yaml")
    applied = environment_of(merged(base, case.get("applied", {})), {})
    desired = environment_of(merged(base, case.get("desired", {})), case)
    capabilities = Capabilities("test", case.get("expands_replicas", True), IN_PLACE, RESTART)
    plan = make_plan(desired, observe(applied, case), capabilities, **plain(case.get("options", {})))
    text: list[str] = []
    for change in plan.changes:
        if change.action is not Action.NOOP or change.reason:
            text += lines(change, case.get("show_requires", False))
    if plan.drift:
        text += ["drift:", *(f"  {line}" for change in plan.drift for line in lines(change, False))]
    return "\n".join(text or ["no changes"])


def cases() -> list[Any]:
    found = [(name, number, case["name"]) for name in FILES for number, case in enumerate(load(name))]
    return [pytest.param(name, number, id=f"{name[:-5]}: {title}") for name, number, title in found]


@pytest.mark.parametrize(("name", "number"), cases())
def test_plan(name: str, number: int) -> None:
    case = load(name)[number]
    assert outcome(case) == str(case.get("plan", "")).rstrip("\n")


def adopt() -> None:
    """Write every plan into its case."""
    for name in FILES:
        values = load(name)
        for case in values:
            case["plan"] = LiteralScalarString(outcome(case) + "\n")
        yaml = YAML()
        yaml.width = 118
        stream = io.StringIO()
        yaml.dump(values, stream)
        with open(os.path.join(CASES, name), "w", encoding="utf-8") as file:
            file.write(stream.getvalue())


if __name__ == "__main__":
    adopt()
