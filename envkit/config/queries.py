"""What `config` prints of a model: JSON, YAML, lists, hashes, and where every value comes from. Pure: text in lines."""

from __future__ import annotations

import json
import os

from envkit.config.template import variables
from envkit.config.tree import Map, Origin, origin_of
from envkit.diagnostics import Diagnostic, Severity
from envkit.errors import InputError
from envkit.lean import pattern, sha256

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

    from envkit.config.model import Model

_NOT_HASHED = ("build", "pull_policy", "scale", "depends_on", "profiles")
_BARE = pattern(r"[A-Za-z0-9_./][A-Za-z0-9_./@:%+=,~^ $()-]*(?<![: ])")
_YAML_11_BOOLEANS = frozenset(("y", "n", "yes", "no", "on", "off"))


def model_json(model: Model) -> str:
    """The model as Compose's `config --format json` prints it, each `$` doubled. Raises InputError where Compose has
    no JSON for it (an SSH key with a path)."""
    for name, service in model.services.items():
        build = service.get("build")
        for index, key in enumerate((build.get("ssh") if isinstance(build, Map) else None) or ()):
            if "=" in key:
                raise InputError([Diagnostic(
                    Severity.ERROR, "no-json", "The value has no JSON form in Compose",
                    f"`services.{name}.build.ssh` is {key}", model.position(f"services.{name}.build.ssh[{index}]"),
                    "print it with `--format yaml`",
                )])  # fmt: skip
    return json.dumps(_printed(model, model.plain), indent=2, ensure_ascii=False)


def model_yaml(model: Model) -> str:
    """The model as YAML, without what JSON has to say but YAML leaves out (null commands, empty structures)."""
    document = dict(model.plain)
    if model.models:
        document["models"] = model.models
    order = ("name", "services", "networks", "volumes", "secrets", "configs", "models")
    keys = [key for key in order if key in document] + [key for key in document if key not in order]
    shown = {key: _without_nothing(_printed(model, _extended(document[key])), key) for key in keys}
    return "\n".join(_yaml_map(shown, "")) + "\n"


def listing(model: Model, kind: str) -> list[str]:
    """The lines of `config --services`, `--images`, `--volumes`, `--networks`, `--models`, `--profiles`, `--variables`,
    `--environment`."""
    lists: dict[str, Callable[[Model], list[str]]] = {
        "services": lambda model: sorted(model.services), "images": _images,
        "volumes": lambda model: sorted(model.plain.get("volumes") or ()),
        "networks": lambda model: sorted(model.plain.get("networks") or ()),
        "models": lambda model: sorted(model.models), "profiles": _profiles, "variables": _variables,
        "environment": lambda model: [f"{name}={value}" for name, value in sorted(model.environ.items())],
    }  # fmt: skip
    return lists[kind](model)


def _images(model: Model) -> list[str]:
    return [str(item.get("image") or f"{model.name}-{name}") for name, item in sorted(model.services.items())]


def _profiles(model: Model) -> list[str]:
    services = [*model.services.values(), *model.disabled_services.values()]
    return sorted({profile for service in services for profile in service.get("profiles") or ()})


def variable_table(model: Model) -> list[tuple[str, bool, str, str]]:
    """(name, required, default, alternative) of every variable that the files use, sorted. Raises InputError."""
    from envkit.config.load import load_model

    options = model.options
    if options is not None and not options.no_interpolate:
        raw = {name: getattr(options, name) for name in options.__slots__}
        model = load_model(type(options)(**(raw | {"no_interpolate": True})))
    found: dict[str, tuple[str, bool, str, str]] = {}
    left: list[Any] = [model.plain]
    while left:
        value = left.pop()
        if isinstance(value, dict):
            left.extend(value.values())
        elif isinstance(value, list):
            left.extend(value)
        elif isinstance(value, str) and "$" in value:
            for name, default, alternative, required in variables(value):
                found[name] = (name, required, default, alternative)
    return sorted(found.values())


def _variables(model: Model) -> list[str]:
    rows = [("NAME", "REQUIRED", "DEFAULT VALUE", "ALTERNATE VALUE")]
    rows += [(name, str(required).lower(), default, other) for name, required, default, other in variable_table(model)]
    widths = [max(len(row[column]) for row in rows) + 3 for column in range(4)]
    return ["".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def service_hashes(model: Model, names: str) -> list[str]:
    """`NAME HASH` for `*` or names with commas: equal to Compose's `config --hash`. Unknown names are left out."""
    wanted = sorted(model.services) if names == "*" else sorted(names.split(","))
    return [f"{name} {service_hash(model.services[name])}" for name in wanted if name in model.services]


def service_hash(service: Map) -> str:
    """sha256 of the service's canonical JSON as Go writes it, without what does not make another container."""
    hashed = {key: service[key] for key in sorted(service) if key not in _NOT_HASHED}
    if "deploy" in hashed:
        hashed["deploy"] = {key: value for key, value in hashed["deploy"].items() if key != "replicas"}
    text = json.dumps(hashed, separators=(",", ":"), ensure_ascii=False)
    for char in "<>&\u2028\u2029":
        text = text.replace(char, f"\\u{ord(char):04x}")
    return sha256(text.encode("utf-8", "surrogateescape")).hexdigest()


class Provenance:
    """One effective value: path, value, origin (None: filled in by envkit), variables: (name, where its value is from)
    and shadowed: the values it replaced, the latest first."""

    def __init__(self, path: str, value: Any, origin: Origin | None, model: Model) -> None:
        self.path = path
        self.value = value
        self.origin = origin
        self.variables = [
            (name, model.environment.source(name) or "its default") for name in (origin.variables if origin else ())
        ]
        self.shadowed: list[tuple[Any, Origin]] = []
        while origin is not None and origin.shadowed is not None:
            self.shadowed.append((origin.shadowed.value, origin.shadowed.origin))
            origin = origin.shadowed.origin


def provenance(model: Model) -> Iterator[Provenance]:
    """Every scalar and empty container of the model, in its order."""

    def below(container: Any, path: str) -> Iterator[Provenance]:
        pairs = container.items() if isinstance(container, dict) else enumerate(container)
        for key, value in pairs:
            here = f"{path}[{key}]" if isinstance(key, int) else f"{path}.{key}" if path else key
            if isinstance(value, (dict, list)) and value:
                yield from below(value, here)
            else:
                yield Provenance(here, value, origin_of(container, key), model)

    yield from below(model.plain, "")


def origin_lines(model: Model, base: str = "") -> list[str]:
    """`path = value  file:line:column`, then indented what it replaced and where its variables come from. base: the
    directory that file names are relative to."""
    lines: list[str] = []
    for item in provenance(model):
        where = _place(item.origin, base) if item.origin else "(filled in)"
        lines.append(f"{item.path} = {_short(item.value)}  {where}")
        lines += [f"    ${name}: {_relative(source, base)}" for name, source in item.variables]
        lines += [f"    replaces {_short(value)}  {_place(origin, base)}" for value, origin in item.shadowed]
    return lines


def origin_records(model: Model, base: str = "") -> list[dict[str, Any]]:
    """The same as JSON data."""
    return [
        {
            "path": item.path, "value": item.value, "source": _place(item.origin, base) if item.origin else None,
            "variables": {name: _relative(source, base) for name, source in item.variables},
            "shadowed": [{"value": value, "source": _place(origin, base)} for value, origin in item.shadowed],
        }
        for item in provenance(model)
    ]  # fmt: skip


def _place(origin: Origin, base: str) -> str:
    return _relative(str(origin.position), base)


def _relative(place: str, base: str) -> str:
    return place.removeprefix(os.path.join(base, "")) if base else place


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 72 else text[:71] + "…"


def _printed(model: Model, value: Any) -> Any:
    """value with `$` doubled, unless its variables were never replaced."""
    if model.options is not None and model.options.no_interpolate:
        return value
    return _double(value)


def _double(value: Any) -> Any:
    if isinstance(value, dict):
        return {key.replace("$", "$$"): _double(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_double(item) for item in value]
    if isinstance(value, str):
        return value.replace("$", "$$")
    return int(value) if isinstance(value, float) and value.is_integer() and abs(value) < 1e21 else value


def _extended(value: Any) -> Any:
    """value with the extensions that the canonical model leaves out, behind the keys of each mapping."""
    if isinstance(value, dict):
        made = {key: _extended(item) for key, item in value.items()}
        return made | value.extensions if isinstance(value, Map) and value.extensions else made
    return [_extended(item) for item in value] if isinstance(value, list) else value


def _without_nothing(value: Any, key: str) -> Any:
    if isinstance(value, dict):
        kept = {name: _without_nothing(item, name) for name, item in value.items()}
        return {
            name: item for name, item in kept.items()
            if not (item is None and name in ("command", "entrypoint"))
            and not (item == {} and name in ("ipam", "resources", "placement"))
        }  # fmt: skip
    return [_without_nothing(item, key) for item in value] if isinstance(value, list) else value


def _yaml_map(value: dict[str, Any], indent: str) -> Iterator[str]:
    for key, item in value.items():
        yield from _yaml_entry(f"{indent}{_yaml_text(key)}:", item, indent)


def _yaml_entry(head: str, item: Any, indent: str) -> Iterator[str]:
    if isinstance(item, dict) and item:
        yield head
        yield from _yaml_map(item, f"{indent}  ")
    elif isinstance(item, list) and item:
        yield head
        for each in item:
            if isinstance(each, dict) and each:
                first, *rest = _yaml_map(each, f"{indent}    ")
                yield f"{indent}  - {first.lstrip()}"
                yield from rest
            else:
                yield f"{indent}  - {_yaml_scalar(each)}"
    else:
        yield f"{head} {_yaml_scalar(item)}"


def _yaml_scalar(value: Any) -> str:
    if isinstance(value, str):
        return _yaml_text(value)
    return json.dumps(value, ensure_ascii=False)


def _yaml_text(text: str) -> str:
    """A string as YAML: bare where it stays a string, else in double quotes."""
    from envkit.config.scalars import resolve

    bare = _BARE.fullmatch(text) and ": " not in text and text.lower() not in _YAML_11_BOOLEANS
    return text if bare and type(resolve(text)) is str else json.dumps(text, ensure_ascii=False)
