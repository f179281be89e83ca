"""Phase: in lists whose items have a key, the later of two items with the same key wins, in the earlier one's place."""

from __future__ import annotations

from collections.abc import Callable

from envkit.config.rules import Place, Rewrite, Rules, rewrite
from envkit.config.scalars import go_format
from envkit.config.tree import Map, Seq
from envkit.config.volumes import parse_volume

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

Key = Callable[["Any"], str]


def _name(item: Any) -> str:
    return item.partition("=")[0] if isinstance(item, str) else go_format(item)


def _target(item: Any) -> str:
    if isinstance(item, dict):
        return str(item.get("target", ""))
    try:
        return str(parse_volume(item)["target"]) if isinstance(item, str) else go_format(item)
    except ValueError:
        return str(item)


def _mount(directory: str) -> Key:
    def key(item: Any) -> str:
        if isinstance(item, dict):
            target = item.get("target")
            return str(target) if target is not None else f"{directory}/{item.get('source', '')}"
        return f"{directory}/{item}"

    return key


def _port(item: Any) -> str:
    """A number and the same digits as a string are two ports here, as in Compose."""
    if not isinstance(item, dict):
        return go_format(item)
    host = item.get("host_ip", "0.0.0.0")
    return f"{host}:{item.get('published')!r}:{item.get('target')}/{item.get('protocol', 'tcp')}"


def _env_file(item: Any) -> str:
    return str(item.get("path", "")) if isinstance(item, dict) else str(item)


def _unique(key: Key) -> Rewrite:
    def apply(value: object, _: Place) -> object:
        if not isinstance(value, Seq):
            return value
        made = Seq()
        places: dict[str, int] = {}
        for index, item in enumerate(value):
            name = key(item)
            at = value.at[index]
            if name in places:
                place = places[name]
                made.at[place] = at.over(made[place], made.at[place]) if at else at
                made[place] = item
            else:
                places[name] = len(made)
                made.add(item, at)
        return made

    return apply


_NAMED = (
    "networks.*.labels", "networks.*.ipam.options", "volumes.*.labels", "services.*.annotations",
    "services.*.build.args", "services.*.build.additional_contexts", "services.*.build.platform",
    "services.*.build.tags", "services.*.build.labels", "services.*.cap_add", "services.*.cap_drop",
    "services.*.deploy.labels", "services.*.dns", "services.*.dns_opt", "services.*.dns_search",
    "services.*.environment", "services.*.labels", "services.*.links", "services.*.networks.*.aliases",
    "services.*.networks.*.link_local_ips", "services.*.profiles", "services.*.sysctls", "services.*.tmpfs",
)  # fmt: skip

_TABLE: dict[str, Rewrite] = (
    {path: _unique(_name) for path in _NAMED}
    | {
        "services.*.devices": _unique(_target), "services.*.configs": _unique(_mount("")),
        "services.*.env_file": _unique(_env_file), "services.*.expose": _unique(go_format),
        "services.*.ports": _unique(_port), "services.*.secrets": _unique(_mount("/run/secrets")),
        "services.*.volumes": _unique(_target),
    }
)  # fmt: skip
TABLE: Rules = Rules.of(
    _TABLE | {path.replace("services.*.", "services.*.pre_start.*.", 1): rule for path, rule in _TABLE.items()}
)


def enforce(document: Map) -> None:
    """Apply the table to a document, in place."""
    rewrite(document, TABLE)
