"""diff, explain, graph, rollback: what is, why it is so, and the way back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from envkit.errors import EnvkitError, NotFoundError, UsageError

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator, Mapping

    from envkit.address import Address
    from envkit.cli.context import Context
    from envkit.observed.state import ObservedResource
    from envkit.spec.environment import Resource
    from envkit.views.lessons import Lesson

_SIGNS = {"added": "+", "changed": "~", "deleted": "-"}
_COLOURS = {"added": "green", "changed": "yellow", "deleted": "red"}


def add_diff(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("services", nargs="*", metavar="SERVICE", help="web, or web[2] for one replica")
    parser.add_argument("--targets", metavar="A,B", help="how the environment differs between two places of `targets:`")


def diff(context: Context) -> int:
    """What services have written into their own layers; with --targets, how two places differ."""
    if context.options.targets:
        from envkit.cli.compare import compare_targets

        return compare_targets(context, context.options.targets)
    if not context.options.services:
        raise UsageError("diff needs a service", hint="envkit diff web, or envkit diff --targets team,prod")
    name, style = context.environment_name(), context.terminal.style
    found: dict[str, list[dict[str, str]]] = {}
    for address in context.addresses(name, context.options.services):
        rows = context.backend.written(name, address)
        found[str(address)] = [{"kind": kind, "path": path} for kind, path in rows]
    if context.json:
        context.print_json(found)
        return 0
    for text, files in found.items():
        if len(found) > 1:
            context.terminal.out(style(text, "bold"))
        for row in files:
            context.terminal.out(f"{style(_SIGNS[row['kind']], _COLOURS[row['kind']])} {row['path']}")
        if not files:
            context.terminal.err(f"{text} has written nothing into its own layer.")
    return 0


def add_explain(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("address", nargs="?", metavar="ADDRESS|CODE",
                        help="service.web, or web; volume.data, image.app …; or a message's code: unknown-key, E0301")
    parser.add_argument("--list", action="store_true", help="list the codes of messages")


def explain(context: Context) -> int:
    """What one address is now, who set its values, and what apply did to it; or what the code of a message means."""
    word = context.options.address
    if context.options.list or word is None:
        return _codes(context)
    if "." not in word and "[" not in word and (lesson := _lesson_of(context, word)) is not None:
        return _teach(context, lesson)
    from envkit.plan.selection import addresses
    from envkit.reconcile.journal import read_journal
    from envkit.views.explain import explain_json, render_explanation

    environment = context.load().environment
    observed = context.backend.observe(environment)
    known = {*environment.resources, *observed.resources}
    address = addresses([word], known, "explain")[0]
    resource = environment.resources.get(address.replica(1))
    here = observed.resources.get(address)
    entries = [
        {"generation": entry["generation"], "time": entry["time"], "who": entry["who"], **change}
        for entry in read_journal(context.home, environment.name)
        for change in entry.get("changes", ()) if change.get("address") == str(address)
    ]  # fmt: skip
    explained = explain_json(
        str(address), dict(_now(context, address, here)), list(_values(resource)), entries[-10:]
    )
    if context.json:
        context.print_json(explained)
    else:
        context.terminal.out(render_explanation(explained, context.terminal.style, base=context.cwd))
    return 0


def _codes(context: Context) -> int:
    """Every code, a line each."""
    from envkit.views.lessons import lessons, render_list

    if not context.options.list:
        raise UsageError("explain needs an address or a code", hint="envkit explain web, or envkit explain --list")
    if context.json:
        context.print_json([{"code": code, "number": item.id, "summary": item.summary}
                            for code, item in lessons().items()])  # fmt: skip
    else:
        context.terminal.out(render_list(context.terminal.style))
    return 0


def _lesson_of(context: Context, word: str) -> Lesson | None:
    """What a word means as a code; None when it is a service, whose name comes first, or nothing near a code.

    Raises NotFoundError for what can only be a code, and is none.
    """
    from envkit.views.lessons import is_number, lesson, near

    found = lesson(word)
    meant = near(word)
    if found is None and not meant and not is_number(word):
        return None
    try:
        if word in context.identify().services:
            return None
    except EnvkitError:  # files that cannot be read are why one asks
        pass
    if found is None:
        hint = f"did you mean {meant[0]}?" if meant else "envkit explain --list has them all"
        raise NotFoundError("There is no such code", word, hint)
    return found


def _teach(context: Context, found: Lesson) -> int:
    """The lesson, under the name by which it was asked for."""
    from envkit.views.lessons import is_number, lesson_json, render_lesson

    code = found.code if is_number(context.options.address) else context.options.address
    if context.json:
        context.print_json(lesson_json(found, code))
    else:
        context.terminal.out(render_lesson(found, context.terminal.style, code=code, width=context.terminal.width))
    return 0


def _now(context: Context, address: Address, here: ObservedResource | None) -> Iterator[tuple[str, Any]]:
    if here is None or here.missing:
        yield "state", "does not exist"
        return
    if "state" in here.actual:
        yield "state", here.actual["state"]
    for key in ("health", "exit_code", "id", "pid", "image", "restarts", "ports", "name"):
        if here.attributes.get(key) not in (None, "", 0, [], ()):
            yield key, here.attributes[key]
    if here.image_digest:
        yield "digest", here.image_digest
    for path in sorted({*here.expected, *here.actual}):
        if here.expected.get(path) != here.actual.get(path) and path != "state":
            yield f"drift of {path}", f"{here.expected.get(path)} -> {here.actual.get(path)}"
    if files := here.attributes.get("files"):
        yield "written files", ", ".join(files[:5]) + (" …" if len(files) > 5 else "")


def _values(resource: Resource | None) -> Iterator[Mapping[str, Any]]:
    """Every value with its place and the commit that last set that line."""
    from envkit.reconcile.blame import Blame, blame
    from envkit.views.explain import commit_json, leaves

    blamed: dict[str, dict[int, Blame]] = {}
    for path, value in leaves(resource.spec) if resource is not None else ():
        source = resource.origin(path) if resource is not None else ""
        file, line = _place(source)
        if file and file not in blamed:
            blamed[file] = blame(file)
        commit = commit_json(blamed[file].get(line)) if file else None
        yield {"path": path, "value": value, "source": source, "commit": commit}


def _place(source: str) -> tuple[str, int]:
    """file:line:col -> (file, line); ("", 0) for anything else."""
    parts = source.rsplit(":", 2)
    return (parts[0], int(parts[1])) if len(parts) == 3 and parts[1].isdigit() else ("", 0)


def add_graph(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--format", default="mermaid", choices=("mermaid", "dot", "svg"), help="mermaid, dot or svg")


def graph(context: Context) -> int:
    """What depends on what."""
    from envkit.views import graph as views

    environment = context.identify()
    if context.json:
        edges = views.edges_of(environment)
        context.print_json({
            "nodes": [str(address) for address in environment.resources],
            "edges": [{"from": str(source), "to": str(target), "condition": label or "applied"}
                      for source, target, label in edges],
        })  # fmt: skip
        return 0
    context.terminal.out(getattr(views, context.options.format)(environment))
    return 0


def add_rollback(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("generation", nargs="?", metavar="N", help="which (the one before the latest)")
    parser.add_argument("--yes", "-y", action="store_true", help="do not ask")


def rollback(context: Context) -> int:
    """Make it what an earlier generation was: its specs, and the images that it ran with."""
    from envkit.cli.apply import carry_out
    from envkit.plan.planner import make_plan
    from envkit.reconcile.rollback import AsThen, generation_before, read_generation
    from envkit.views.plan import render_plan

    options, terminal = context.options, context.terminal
    if options.generation is not None and not options.generation.isdigit():
        raise UsageError(f"{options.generation} is no generation", hint="envkit history lists them")
    loaded = context.load()
    name = loaded.environment.name
    number = generation_before(context.home, name, int(options.generation) if options.generation else None)
    environment, images = read_generation(context.home, name, number)
    backend: Any = AsThen(context.backend, images)
    made = make_plan(environment, backend.observe(environment), backend.capabilities())
    if made.is_empty:
        terminal.out(f"No changes. The environment is as it was in generation {number}.")
        return 0
    if not context.json:
        terminal.err(render_plan(made, terminal.err_style, base=context.cwd) + "\n")
    if options.dry_run:
        return 0
    if not (options.yes or context.confirm(f"Go back to generation {number}?", "--yes")):
        terminal.err("Nothing was done.")
        return 1
    context.backend = backend
    return carry_out(context, made, environment, loaded.materials, command="rollback")
