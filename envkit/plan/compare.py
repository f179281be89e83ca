"""The difference of two canonical specs, attribute by attribute. Pure.

A dictionary is compared key by key down to its leaves. A list of objects is compared by the key that people know its
items by (`ports[80/tcp].published`, `mounts[/data].read_only`); any other list is one value, since its order matters.
"""

from __future__ import annotations

from envkit.plan.model import AttributeChange
from envkit.plan.sensitive import mask

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from typing import Any, TypeAlias

    from envkit.plan.model import Effect

Origin: TypeAlias = "Callable[[str], str]"
EffectOf: TypeAlias = "Callable[[str], Effect]"

_BY_TARGET = frozenset({"mounts", "secrets", "configs", "devices"})
_ABSENT: Any = object()


def compare(
    before: Mapping[str, Any], after: Mapping[str, Any], effect: EffectOf, origin: Origin
) -> list[AttributeChange]:
    """Every attribute that differs, in the order of `before`'s keys, then `after`'s new ones.

    origin: path in `after` (with list positions, `ports[0].target`) -> where it was written.
    """
    found: list[AttributeChange] = []
    for parents, name, path, written, old, new in _mappings(before, after, (), "", ""):
        shown_old, shown_new = mask(parents, name, _value(old), _value(new))
        found.append(AttributeChange(path, shown_old, shown_new, origin(written), effect(path)))
    return found


_Difference: TypeAlias = "tuple[tuple[str, ...], str, str, str, Any, Any]"


def _value(value: Any) -> Any:
    return None if value is _ABSENT else value


def _mappings(
    before: Mapping[str, Any], after: Mapping[str, Any], parents: tuple[str, ...], path: str, written: str
) -> Iterator[_Difference]:
    for key in dict.fromkeys((*before, *after)):
        old, new = before.get(key, _ABSENT), after.get(key, _ABSENT)
        if old is new or old == new:
            continue
        below = f"{path}.{key}" if path else str(key)
        yield from _values(old, new, parents, str(key), below, f"{written}.{key}" if written else str(key))


def _values(old: Any, new: Any, parents: tuple[str, ...], name: str, path: str, written: str) -> Iterator[_Difference]:
    if _splits(old, new, dict):
        yield from _mappings(_or(old, {}), _or(new, {}), (*parents, name), path, written)
    elif _splits(old, new, list) and _is_keyed(name, (*_or(old, ()), *_or(new, ()))):
        yield from _lists(_or(old, ()), _or(new, ()), parents, name, path, written)
    else:
        yield parents, name, path, written, old, new


def _splits(old: Any, new: Any, kind: type) -> bool:
    """Whether both sides are kind (or absent), and at least one has something in it."""
    sides = [side for side in (old, new) if side is not _ABSENT]
    return all(isinstance(side, kind) for side in sides) and any(sides)


def _or(value: Any, default: Any) -> Any:
    return default if value is _ABSENT else value


def _is_keyed(name: str, items: Sequence[Any]) -> bool:
    known = name in _BY_TARGET or name in ("ports", "subnets", "layers")
    return known and all(isinstance(item, dict) for item in items)


def _lists(
    old: Sequence[Any], new: Sequence[Any], parents: tuple[str, ...], name: str, path: str, written: str
) -> Iterator[_Difference]:
    before, after = _labels(name, old, new), _labels(name, new, old)
    positions = {label: position for position, label in enumerate(after)}
    olds, news = dict(zip(before, old, strict=True)), dict(zip(after, new, strict=True))
    found = False
    for label in dict.fromkeys((*before, *after)):
        left, right = olds.get(label, _ABSENT), news.get(label, _ABSENT)
        if left == right:
            continue
        found = True
        below, place = f"{path}[{label}]", f"{written}[{positions[label]}]" if label in positions else written
        if left is _ABSENT or right is _ABSENT:
            yield (*parents, name), label, below, place, left, right
        else:
            yield from _mappings(left, right, (*parents, name), below, place)
    if not found:
        yield parents, name, path, written, old, new


def _labels(name: str, items: Sequence[Mapping[str, Any]], others: Sequence[Mapping[str, Any]]) -> list[str]:
    """One label per item, unique in the list, the same on both sides for the same thing (layers: their position)."""
    if name == "layers":
        return [str(position) for position in range(len(items))]
    from collections import Counter

    short = [_short(name, item) for item in items]
    sides = (short, [_short(name, item) for item in others])
    doubled = {label for side in sides for label, count in Counter(side).items() if count > 1}
    seen: Counter[str] = Counter()
    labels: list[str] = []
    for label, item in zip(short, items, strict=True):
        full = _long(item, label) if name == "ports" and label in doubled else label
        seen[full] += 1
        labels.append(full if seen[full] == 1 else f"{full}#{seen[full]}")
    return labels


def _short(name: str, item: Mapping[str, Any]) -> str:
    if name == "ports":
        return f"{item.get('target')}/{item.get('protocol', 'tcp')}"
    return str(item.get("subnet" if name == "subnets" else "target", ""))


def _long(item: Mapping[str, Any], label: str) -> str:
    host = f"{item['host_ip']}:" if item.get("host_ip") else ""
    return f"{host}{item.get('published', '')}:{label}"
