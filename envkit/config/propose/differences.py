"""What two Environments differ in, service by service, in the words of the YAML: before -> after."""

from __future__ import annotations

import json

from envkit.values import value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from envkit.spec.environment import Environment

_NO_MATTER = ("image", "secret_digests", "config_digests")
_ABSENT = {
    "read_only": False, "no_new_privileges": False, "init": False, "restart": {"policy": "no"}, "cap_drop": [],
    "cap_add": [], "limits": {}, "mounts": [], "ports": [], "secrets": [],
}  # fmt: skip
"""What a key means that is not there."""


@value
class Difference:
    """One field of one service; before and after are plain data, None for absent."""

    service: str
    field: str
    before: Any
    after: Any

    def as_dict(self) -> dict[str, Any]:
        return {"service": self.service, "field": self.field, "before": self.before, "after": self.after}


def compare(before: Environment, after: Environment) -> list[Difference]:
    """What the services that both have differ in, in the order of names; a field that many share is a row each."""
    made = []
    for name in sorted(before.services.keys() & after.services.keys()):
        old, new = dict(before.services[name].spec), dict(after.services[name].spec)
        for key in sorted(old.keys() | new.keys()):
            if key in _NO_MATTER or old.get(key) == new.get(key):
                continue
            made += _field(name, key, old.get(key), new.get(key))
    return made


def _field(name: str, key: str, old: Any, new: Any) -> list[Difference]:
    old, new = (_ABSENT.get(key) if item is None else item for item in (old, new))
    if key == "environment":
        names = sorted({*(old or {}), *(new or {})})
        sides = [dict.fromkeys(side or (), "set") for side in (old, new)]
        return [Difference(name, f"environment.{each}", *(side.get(each) for side in sides)) for each in names
                if sides[0].get(each) != sides[1].get(each)]  # fmt: skip
    if key == "limits":
        names = sorted({*old, *new})
        return [Difference(name, f"limits.{each}", old.get(each), new.get(each)) for each in names
                if old.get(each) != new.get(each)]  # fmt: skip
    if key == "mounts":
        return _mounts(name, old, new)
    if key == "ports":
        return _ports(name, old, new)
    return [Difference(name, key, old, new)]


def _mounts(name: str, old: list[dict[str, Any]], new: list[dict[str, Any]]) -> list[Difference]:
    sides = [{item["target"]: item for item in side} for side in (old, new)]
    made = []
    for target in sorted(sides[0].keys() | sides[1].keys()):
        shown = [_mount(side.get(target)) for side in sides]
        if shown[0] != shown[1]:
            made.append(Difference(name, f"mounts[{target}]", *shown))
    return made


def _mount(item: Mapping[str, Any] | None) -> str | None:
    if item is None:
        return None
    flags = [key for key in ("read_only", "nosuid", "nodev", "noexec") if item.get(key)]
    source = f" {item['source'].rpartition('/')[2]}" if item.get("source") else ""
    return f"{item['type']}{source}" + (f" ({', '.join(flags)})" if flags else "")


def _ports(name: str, old: list[dict[str, Any]], new: list[dict[str, Any]]) -> list[Difference]:
    def shown(item: Mapping[str, Any] | None) -> str | None:
        return None if item is None else f"{item['host_ip'] or 'every address'}:{item['published'] or 'any port'}"

    sides = [{(item["target"], item["protocol"], item["published"]): item for item in side} for side in (old, new)]
    return [
        Difference(name, f"ports[{key[0]}]", shown(sides[0].get(key)), shown(sides[1].get(key)))
        for key in sorted(sides[0].keys() | sides[1].keys()) if shown(sides[0].get(key)) != shown(sides[1].get(key))
    ]  # fmt: skip


def text_of(item: Any) -> str:
    """A value for people."""
    if item is None:
        return "-"
    if isinstance(item, bool):
        return "yes" if item else "no"
    if isinstance(item, dict) and "policy" in item:
        attempts = f":{item['max_attempts']}" if item.get("max_attempts") else ""
        return f"{item['policy']}{attempts}"
    if isinstance(item, list):
        texts = (each if isinstance(each, str) else str(each.get("source") or json.dumps(each)) for each in item)
        return ", ".join(texts) or "-"
    if isinstance(item, dict) and "driver" in item:
        options = " ".join(f"{key}={each}" for key, each in sorted((item.get("options") or {}).items()))
        return f"{item['driver']} {options}".strip()
    return item if isinstance(item, str) else json.dumps(item, ensure_ascii=False)
