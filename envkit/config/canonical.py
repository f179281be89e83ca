"""Phase: short syntaxes become long ones (Compose Specification, 05-services.md): later phases know one form."""

from __future__ import annotations

import posixpath
from collections.abc import Callable

from envkit.config.merge import mapping
from envkit.config.ports import parse_port
from envkit.config.rules import Place, Rewrite, Rules, rewrite
from envkit.config.scalars import go_format
from envkit.config.tree import Map, Origin, Seq, as_map, origin_of
from envkit.config.volumes import parse_device, parse_volume
from envkit.diagnostics import Diagnostics

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class Canonical:
    """Rewrites documents in place. lenient: leave what cannot be parsed as it is (for `--no-interpolate`)."""

    def __init__(self, problems: Diagnostics, lenient: bool = False) -> None:
        self.problems = problems
        self.lenient = lenient
        container: dict[str, Rewrite] = {
            "configs.*": _file_mount, "devices.*": self._device, "dns": _strings, "env_file": _env_file,
            "gpus": _gpus, "label_file": _strings, "models": _names, "networks": _names, "secrets.*": _file_mount,
            "volumes.*": self._each(_volume),
        }  # fmt: skip
        service: dict[str, Rewrite] = container | {
            "build": _build, "build.additional_contexts": _key_values, "build.ssh": _ssh,
            "build.secrets.*": _file_mount, "depends_on": _depends_on, "expose.*": self._exposed,
            "develop.watch": _watch, "extends": _extends, "ports": self._ports,
        }  # fmt: skip
        service |= {f"pre_start.*.{path}": rule for path, rule in container.items()}
        self.rules = Rules.of(
            {f"services.*.{path}": rule for path, rule in service.items()}
            | {f"jobs.*.{path}": rule for path, rule in container.items()}
            | {f"{kind}.*": self._external for kind in ("volumes", "networks", "secrets", "configs")}
        )

    def document(self, document: Map) -> None:
        """Apply the table; then drop the empty items that Compose drops."""
        rewrite(document, self.rules)
        services = document.get("services")
        for service in services.values() if isinstance(services, Map) else ():
            if isinstance(service, Map) and isinstance(service.get("dns"), Seq):
                kept = Seq()
                for index, item in enumerate(service["dns"]):
                    if item not in (None, ""):
                        kept.add(item, service["dns"].at[index])
                service["dns"] = kept

    def _failed(self, error: ValueError, place: Place) -> None:
        if not self.lenient:
            origin = origin_of(place.container, place.key)
            self.problems.error(
                "short-syntax", "The short syntax is not understood", f"`{place.path}`: {error}",
                origin.position if origin else None)  # fmt: skip

    def _each(self, parse: Callable[[str], dict[str, Any]]) -> Rewrite:
        def rule(value: object, place: Place) -> object:
            if not isinstance(value, str):
                return value
            try:
                return as_map(parse(value), origin_of(place.container, place.key))
            except ValueError as error:
                self._failed(error, place)
                return value

        return rule

    def _exposed(self, value: object, place: Place) -> object:
        if isinstance(value, float):
            origin = _here(place)
            self.problems.error(
                "short-syntax", "The short syntax is not understood", f"`{place.path}`: {value} is not a port",
                origin.position if origin else None)  # fmt: skip
        return value

    def _device(self, value: object, place: Place) -> object:
        if isinstance(value, Map) and value.get("target") is None:
            origin = _here(place)
            self.problems.error(
                "device-target", "A device needs a target", f"`{place.path}`", origin.position if origin else None,
                "add `target:`, or write the device as one text")  # fmt: skip
        return self._each(parse_device)(value, place)

    def _ports(self, value: object, place: Place) -> object:
        if not isinstance(value, Seq):
            return value
        made = Seq()
        for index, item in enumerate(value):
            origin = value.at[index]
            if isinstance(item, Map):
                made.add(item, origin)
                continue
            try:
                for entry in parse_port(go_format(item)):
                    made.add(as_map(entry, origin), origin)
            except ValueError as error:
                self._failed(error, Place(value, index, f"{place.path}[{index}]"))
                if self.lenient:
                    return value
        return made

    def _external(self, value: object, place: Place) -> object:
        """`external: {name: X}`, long deprecated, is `external: true` and `name: X`."""
        if not isinstance(value, Map) or not isinstance(value.get("external"), Map):
            return value
        external, origin = value["external"], value.at.get("external")
        name = external.get("name")
        value["external"] = True
        if name is None:
            return value
        self.problems.warning(
            "external-name", "`external.name` is deprecated", f"`{place.path}`", origin.position if origin else None,
            "write `external: true` and `name:`")  # fmt: skip
        if value.get("name") not in (None, name):
            self.problems.error(
                "external-name", "`name` and `external.name` differ", f"`{place.path}`",
                origin.position if origin else None, "keep only `name`")  # fmt: skip
        value.put("name", name, external.at.get("name"))
        return value


def _here(place: Place) -> Origin | None:
    return origin_of(place.container, place.key)


def _volume(text: str) -> dict[str, Any]:
    made = parse_volume(text)
    if made["target"]:
        made["target"] = clean(made["target"])
    return made


def clean(path: str) -> str:
    """A POSIX path without `.`, `..` and repeated slashes."""
    cleaned = posixpath.normpath(path)
    return cleaned[1:] if cleaned.startswith("//") else cleaned


def _strings(value: object, place: Place) -> object:
    if not isinstance(value, str):
        return value
    made = Seq()
    made.add(value, _here(place))
    return made


def _build(value: object, place: Place) -> object:
    return as_map({"context": value}, _here(place)) if isinstance(value, str) else value


def _extends(value: object, place: Place) -> object:
    return as_map({"service": value}, _here(place)) if isinstance(value, str) else value


def _file_mount(value: object, place: Place) -> object:
    return as_map({"source": value}, _here(place)) if isinstance(value, str) else value


def _names(value: object, place: Place) -> object:
    return mapping(value, _here(place), None) if isinstance(value, Seq) else value


def _gpus(value: object, place: Place) -> object:
    if value != "all":
        return value
    made = Seq()
    made.add(as_map({"count": "all"}, _here(place)), _here(place))
    return made


def _depends_on(value: object, place: Place) -> object:
    if isinstance(value, Seq):
        return mapping(value, _here(place), {"condition": "service_started", "required": True})
    if isinstance(value, Map):
        for item in value.values():
            if isinstance(item, Map):
                item.setdefault("required", True)
    return value


def _env_file(value: object, place: Place) -> object:
    items = _strings(value, place)
    if not isinstance(items, Seq):
        return value
    for index, item in enumerate(items):
        if isinstance(item, str):
            items[index] = as_map({"path": item, "required": True}, items.at[index])
        elif isinstance(item, Map):
            item.setdefault("required", True)
    return items


def _key_values(value: object, place: Place) -> object:
    if not isinstance(value, Seq):
        return value
    made = Map()
    for index, item in enumerate(value):
        key, _, text = go_format(item).partition("=")
        made.put(key, text, value.at[index])
    return made


def _ssh(value: object, place: Place) -> object:
    made = Map()
    if isinstance(value, Seq):
        for index, item in enumerate(value):
            key, _, path = go_format(item).partition("=")
            made.put(key, path, value.at[index])
        return made
    if isinstance(value, str):
        key, _, path = value.partition("=")
        made.put(key, path, _here(place))
        return made
    return value


def _watch(value: object, _: Place) -> object:
    """`x-initialSync` is what `initial_sync` was called before it was standard."""
    for rule in value if isinstance(value, Seq) else ():
        if isinstance(rule, Map) and "x-initialSync" in rule and "initial_sync" not in rule:
            rule.put("initial_sync", rule["x-initialSync"], rule.at.get("x-initialSync"))
    return value
