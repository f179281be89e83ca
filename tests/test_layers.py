"""The table of rooms (docs/architecture.md) against the code: who imports whom, what stays where, how long a file is.

Every import counts, those under TYPE_CHECKING and inside functions too.
"""

from __future__ import annotations

import ast
import os
import re
from collections.abc import Iterator
from functools import cache

import pytest

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
PACKAGE = os.path.join(ROOT, "envkit")
LONGEST = 400

ROOMS = {
    "envkit": 0, "envkit.errors": 0, "envkit.diagnostics": 0, "envkit.address": 0, "envkit.digest": 0,
    "envkit.events": 0, "envkit.resources": 0, "envkit.values": 0, "envkit.lean": 0,
    "envkit.spec": 1, "envkit.host": 1,
    "envkit.config": 2, "envkit.observed": 2, "envkit.image": 2,
    "envkit.plan": 3,
    "envkit.backend": 4, "envkit.backend.base": 4, "envkit.backend.ownership": 4, "envkit.backend.engine_api": 4,
    "envkit.backend.embedded": 5, "envkit.backend.memory": 5, "envkit.backend.docker": 5, "envkit.backend.swarm": 5,
    "envkit.backend.kubernetes": 5,
    "envkit.backend.select": 6, "envkit.reconcile": 6,
    "envkit.views": 7,
    "envkit.cli": 8, "envkit.__main__": 8,
}  # fmt: skip
"""Module or package -> level. A module belongs to the longest entry that it lies in."""

ONE_ROOM = (
    {name for name, level in ROOMS.items() if level == 0},
    {"envkit.backend", "envkit.backend.base", "envkit.backend.ownership", "envkit.backend.engine_api"},
)
"""Entries of one level that may import one another."""

CONFINED = {
    "ruamel": ("envkit.config",),
    "pydantic": ("envkit.spec", "envkit.config"),
    "pydantic_core": ("envkit.spec", "envkit.config"),
    "rich": ("envkit.views",),
    "textual": ("envkit.views.live",),
    "requests": ("envkit.backend.engine_api",),
    "requests_unixsocket": ("envkit.backend.engine_api",),
    "watchdog": ("envkit.reconcile.watch",),
    "argparse": ("envkit.cli",),
}
PROGRAMS = ("envkit.cli", "envkit.__main__", "envkit.backend.embedded.supervisor")
"""What is started as a process of its own, and so has an exit code."""

STANDARD_ONLY = (
    *ONE_ROOM[0] - {"envkit"}, "envkit.observed", "envkit.plan", "envkit.host", "envkit.backend.base",
    "envkit.spec.canonical", "envkit.spec.environment",
)  # fmt: skip
"""Nothing but the standard library and envkit: the path of a plan without changes loads them."""

IMPURE = {
    "os", "io", "time", "datetime", "random", "subprocess", "socket", "tempfile", "pathlib", "shutil", "threading",
    "logging", "sys", "signal", "uuid", "secrets",
}  # fmt: skip
"""What the planner has no business with: files, clocks, processes, chance."""

SURFACE = {
    "envkit.backend.base": {
        "Backend", "Capabilities", "Done", "ExecRequest", "Filled", "LogEntry", "LogQuery", "Materials", "RunRequest",
        "Session", "SnapshotInfo", "Usage", "VolumeData", "VolumeInfo",
    },
    "envkit.plan.model": {"Action", "AttributeChange", "Change", "Effect", "Plan"},
    "envkit.spec.environment": {"Condition", "Dependency", "Environment", "Resource"},
    "envkit.observed.state": {"Health", "Instance", "InstanceState", "ObservedResource", "ObservedState"},
    "envkit.errors": {
        "ApplyError", "ConflictError", "EngineStoppedError", "EnvkitError", "HostError", "ImageError", "InputError",
        "NotFoundError", "UnsupportedError", "UsageError", "way_out",
    },
    "envkit.diagnostics": {"Diagnostic", "Diagnostics", "Position", "Severity"},
    "envkit.events": {"Emit", "Event", "EventKind", "ignore"},
    "envkit.address": {"Address", "KINDS"},
    "envkit.digest": {"canonical_json", "fingerprint", "is_digest", "sha256"},
}  # fmt: skip
"""The public names of the contracts; one more or one less is a decision, and is written here."""


@cache
def modules() -> dict[str, ast.Module]:
    """Module name -> syntax tree, for the whole package."""
    found: dict[str, ast.Module] = {}
    for directory, _, names in os.walk(PACKAGE):
        for name in names:
            if name.endswith(".py"):
                path = os.path.join(directory, name)
                module = os.path.relpath(path, ROOT)[:-3].replace(os.sep, ".").removesuffix(".__init__")
                with open(path, encoding="utf-8") as file:
                    found[module] = ast.parse(file.read(), path)
    return found


def imports(module: str) -> Iterator[tuple[int, str]]:
    """(line, imported module) of every import; `from package import module` names the module."""
    for node in ast.walk(modules()[module]):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}:{node.lineno}: write absolute imports"
            base = node.module or ""
            for alias in node.names:
                below = f"{base}.{alias.name}"
                yield node.lineno, below if below in modules() else base


def calls(module: str, *names: str) -> list[str]:
    """Where the module calls a function of one of these plain names."""
    return [
        f"{module}:{node.lineno} calls {node.func.id}"
        for node in ast.walk(modules()[module])
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in names
    ]


def room(module: str) -> str:
    """The entry of ROOMS that a module lies in."""
    while module and module not in ROOMS:
        module = module.rpartition(".")[0]
    return module


def lies_in(module: str, places: tuple[str, ...]) -> bool:
    return any(module == place or module.startswith(f"{place}.") for place in places)


def test_every_module_lies_in_a_room() -> None:
    strangers = [module for module in modules() if room(module) == "envkit" and module not in ROOMS]
    assert not strangers


def test_imports_go_down() -> None:
    wrong = []
    for module in modules():
        here = room(module)
        for line, other in imports(module):
            there = room(other) if other.split(".")[0] == "envkit" else ""
            if not there or there == here or any({here, there} <= group for group in ONE_ROOM):
                continue
            if ROOMS[there] >= ROOMS[here]:
                wrong.append(f"{module}:{line} ({ROOMS[here]}) imports {other} ({ROOMS[there]})")
    assert not wrong, "\n".join(wrong)


def test_no_circles_when_a_module_is_loaded() -> None:
    """Imports at the top of modules have an order (those inside functions and under TYPE_CHECKING are free)."""
    edges = {module: {other for other in _at_load(tree) if other in modules()} for module, tree in modules().items()}
    done: set[str] = set()
    path: list[str] = []

    def visit(module: str) -> None:
        if module in done:
            return
        assert module not in path, " -> ".join([*path[path.index(module) :], module])
        path.append(module)
        for other in sorted(edges[module]):
            visit(other)
        done.add(path.pop())

    for module in sorted(edges):
        visit(module)


def _at_load(tree: ast.Module) -> Iterator[str]:
    for node in tree.body:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                below = f"{node.module}.{alias.name}"
                yield below if below in modules() else node.module


def test_libraries_stay_in_their_rooms() -> None:
    wrong = []
    for module in modules():
        for line, other in imports(module):
            places = CONFINED.get(other.split(".")[0])
            if places is not None and not lies_in(module, places):
                wrong.append(f"{module}:{line} imports {other}, which belongs to {', '.join(places)}")
    assert not wrong, "\n".join(wrong)


def test_the_quick_path_needs_only_the_standard_library() -> None:
    import sys

    wrong = [
        f"{module}:{line} imports {other}"
        for module in modules() if lies_in(module, STANDARD_ONLY)
        for line, other in imports(module) if other.split(".")[0] not in {*sys.stdlib_module_names, "envkit"}
    ]  # fmt: skip
    assert not wrong, "\n".join(wrong)


def test_the_planner_is_pure() -> None:
    wrong = []
    for module in modules():
        if not lies_in(module, ("envkit.plan", "envkit.observed")):
            continue
        for line, other in imports(module):
            if other.split(".")[0] in IMPURE or other.startswith("envkit.host"):
                wrong.append(f"{module}:{line} imports {other}")
        wrong += calls(module, "open", "print", "input")
    assert not wrong, "\n".join(wrong)


def test_only_the_command_line_prints_and_exits() -> None:
    wrong = []
    for module, tree in modules().items():
        if lies_in(module, PROGRAMS):
            continue
        wrong += calls(module, "print", "input", "exit")
        attributes = [node for node in ast.walk(tree) if isinstance(node, ast.Attribute)]
        wrong += [f"{module}:{node.lineno} calls sys.exit" for node in attributes if ast.unparse(node) == "sys.exit"]
    assert not wrong, "\n".join(wrong)


def test_no_shell() -> None:
    wrong = [
        f"{module}:{node.value.lineno}"
        for module, tree in modules().items()
        for node in ast.walk(tree)
        if isinstance(node, ast.keyword) and node.arg == "shell" and ast.unparse(node.value) != "False"
    ]
    assert not wrong


def source_files() -> list[str]:
    found = []
    for top in ("envkit", "tests"):
        for directory, _, names in os.walk(os.path.join(ROOT, top)):
            found += [os.path.join(directory, name) for name in names if name.endswith(".py")]
    return sorted(os.path.relpath(path, ROOT) for path in found)


def test_files_are_short() -> None:
    long = []
    for path in source_files():
        with open(os.path.join(ROOT, path), encoding="utf-8") as file:
            count = sum(1 for _ in file)
        if count > LONGEST:
            long.append(f"{path}: {count} lines")
    assert not long, "\n".join(long)


def test_every_module_says_what_it_is_for() -> None:
    silent = [module for module, tree in modules().items() if tree.body and not ast.get_docstring(tree)]
    assert not silent


def test_nothing_is_left_for_later() -> None:
    marks = re.compile(r"\b(TODO|FIXME|XXX|HACK)\b|NotImplementedError|mark\.(skip|xfail)|(pytest|unittest)\.skip")
    found = []
    for path in source_files():
        if path == os.path.relpath(__file__, ROOT):
            continue
        with open(os.path.join(ROOT, path), encoding="utf-8") as file:
            found += [f"{path}:{number}: {line.strip()}" for number, line in enumerate(file, 1) if marks.search(line)]
    assert not found, "\n".join(found)


@pytest.mark.parametrize("module", sorted(SURFACE))
def test_public_names(module: str) -> None:
    names = set(_bound(modules()[module].body)) - {"TYPE_CHECKING"}
    assert {name for name in names if not name.startswith("_")} == SURFACE[module]


def _bound(body: list[ast.stmt]) -> Iterator[str]:
    """Names of the classes, functions and constants of a module, those for type checkers included."""
    for node in body:
        if isinstance(node, (ast.ClassDef, ast.FunctionDef)):
            yield node.name
        elif isinstance(node, ast.Assign):
            yield from (target.id for target in node.targets if isinstance(target, ast.Name))
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            yield node.target.id
        elif isinstance(node, ast.If):
            yield from _bound(node.body)
