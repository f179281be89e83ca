"""diff --targets: how the same environment differs between two places."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from envkit.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from envkit.cli.context import Context
    from envkit.spec.environment import Environment, Resource

_HIDDEN = ("secret_digests", "config_digests", "digest", "content_digest")


def compare_targets(context: Context, written: str) -> int:
    """Print every field that differs between the targets A,B; "" before the comma is the environment without any."""
    names = [name.strip() for name in written.split(",")]
    if len(names) != 2 or not any(names):
        raise UsageError(f"--targets {written}", hint="name two: --targets team,prod")
    rows = list(differences(*(_load(context, name) for name in names)))
    if context.json:
        context.print_json({"targets": names, "differences": rows})
        return 0
    style, address = context.terminal.style, ""
    for row in rows:
        if row["address"] != address:
            address = row["address"]
            context.terminal.out(style(address, "bold"))
        text = f"{_shown(row['a'])} -> {_shown(row['b'])}" if "a" in row else row["what"]
        context.terminal.out(f"  {row['path']}: {text}" if row["path"] else f"  {text}")
    if not rows:
        context.terminal.err(f"{names[0] or 'no target'} and {names[1] or 'no target'} do not differ.")
    return 0


def differences(a: Environment, b: Environment) -> Iterator[dict[str, Any]]:
    """One row per field: address, path, a and b with their sources; for secrets and for what only one side has, `what`
    alone."""
    yield from _settings(a, b)
    for address in dict.fromkeys((*a.resources, *b.resources)):
        here, there = a.resources.get(address), b.resources.get(address)
        if here is None or there is None:
            name = (b if here is None else a).target or "the environment without a target"
            yield {"address": str(address), "path": "", "what": f"only at {name}"}
        elif here.fingerprint != there.fingerprint:
            yield from _fields(str(address), here, there)


def _fields(address: str, here: Resource, there: Resource) -> Iterator[dict[str, Any]]:
    from envkit.plan.compare import compare
    from envkit.plan.model import Effect
    from envkit.plan.sensitive import SENSITIVE

    for item in compare(here.spec, there.spec, lambda path: Effect.NONE, there.origin):
        hidden = SENSITIVE in (item.before, item.after) or any(name in item.path.split(".") for name in _HIDDEN)
        row = {"address": address, "path": item.path}
        yield {**row, "what": "changed"} if hidden else {
            **row, "a": item.before, "b": item.after, "source": item.source,
        }  # fmt: skip


def _settings(a: Environment, b: Environment) -> Iterator[dict[str, Any]]:
    """Where the two places are."""
    here: Mapping[str, Any] = a.targets.get(a.target, {"backend": "embedded"})
    there: Mapping[str, Any] = b.targets.get(b.target, {"backend": "embedded"})
    for key in dict.fromkeys((*here, *there)):
        if here.get(key) != there.get(key):
            yield {"address": "target", "path": key, "a": here.get(key), "b": there.get(key), "source": ""}


def _load(context: Context, name: str) -> Environment:
    from envkit.config.environment import load_environment

    return load_environment(context.load_options(target=name), context.home, tolerant=True).environment


def _shown(value: Any) -> str:
    import json

    if value is None:
        return "absent"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
