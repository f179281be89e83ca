"""The flags that every command takes, before or after its name, and how a command line is read.

Only the chosen command's flags are declared, so that a command line costs a few milliseconds.
"""

from __future__ import annotations

import sys

from envkit.cli.commands import BY_NAME, COMMANDS
from envkit.cli.words import SUPPRESS, Namespace, Words
from envkit.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from envkit.cli.commands import Command
    from envkit.cli.parser import Parser

BACKENDS = ("embedded", "docker", "podman", "swarm", "kubernetes")
BUILDERS = ("envkit", "engine")

PROGRESS = ("auto", "tty", "plain", "json", "quiet")

_GLOBAL: tuple[tuple[tuple[str, ...], dict[str, Any]], ...] = (
    (("-f", "--file"), {"action": "append", "metavar": "FILE", "help": "a YAML file (repeatable; - is stdin)"}),
    (("-p", "--project-name"), {"metavar": "NAME", "help": "the environment's name"}),
    (("--project-directory",), {"metavar": "DIR", "help": "the base of relative paths and of .env"}),
    (("--env-file",), {"action": "append", "metavar": "FILE", "help": "variables for interpolation, instead of .env"}),
    (("--profile",), {"action": "append", "metavar": "NAME", "help": "enable a profile (repeatable)"}),
    (("--backend", "--runtime"),
     {"choices": BACKENDS, "metavar": "BACKEND", "help": f"where it runs: {', '.join(BACKENDS)}"}),
    (("--target",), {"metavar": "NAME", "help": "a place of `targets:`"}),
    (("--context",), {"metavar": "NAME", "help": "the docker context whose engine is meant"}),
    (("--builder",),
     {"choices": BUILDERS, "metavar": "BUILDER", "help": "who builds Dockerfiles on Docker: envkit, engine"}),
    (("--parallel",), {"type": int, "metavar": "N", "help": "how much to do at once"}),
    (("--lock-timeout",), {"type": float, "metavar": "SECONDS", "help": "how long to wait for another envkit"}),
    (("--json",), {"action": "store_true", "help": "print JSON"}),
    (("--no-color",), {"action": "store_true", "help": "no colours"}),
    (("--plain",), {"action": "store_true", "help": "no moving lines, no questions"}),
    (("--debug",), {"action": "store_true", "help": "show tracebacks"}),
    (("--dry-run",), {"action": "store_true", "help": "say what would be done and do nothing"}),
    (("--progress",), {"choices": PROGRESS, "help": "how work in progress is shown"}),
    (("--ansi",), {"choices": ("never", "always", "auto"), "help": "colours (auto)"}),
    (("--compatibility",), {"action": "store_true", "help": SUPPRESS}),
    (("--all-resources",), {"action": "store_true", "help": SUPPRESS}),
)


def parse(argv: Sequence[str]) -> tuple[Command | None, Namespace]:
    """The chosen command and its options; no command: help or the version was asked for.

    Raises UsageError for everything that cannot be understood.
    """
    before, name, rest = split(argv)
    if name == "help":
        before, name, rest = split([*before, *rest, "--help"])
    options = Namespace(**{_dest(flags): _default(settings) for flags, settings in _GLOBAL})
    if name is None or not _global_words().parse(before, options):
        _global_parser().read(before, options)
    if name is None:
        return None, options
    command = BY_NAME.get(name)
    if command is None:
        raise UsageError(f"there is no command {name!r}", hint=_nearest(name))
    if not _declare(Words(), command).parse(rest, options):
        build_parser(command, name).read(rest, options)
    options.called_as = name
    return command, options


def build_parser(command: Command, name: str = "") -> Parser:
    """The parser of one command: its own flags, then those of the global ones that it does not claim itself."""
    from envkit.cli.parser import Parser

    title = command.help[0].upper() + command.help[1:] + "."
    parser = Parser(prog=f"envkit {name or command.name}", description=title, allow_abbrev=False)
    parser.examples = command.examples
    _declare(parser, command)
    return parser


def _declare(parser: Any, command: Command) -> Any:
    """Tell a Parser or Words the command's own flags, then those global ones that it does not claim itself."""
    module = __import__(f"envkit.cli.{command.module}", fromlist=["*"])
    getattr(module, f"add_{command.function.rstrip('_')}")(parser)
    for each in parser.with_parts():
        shared = each.add_argument_group("options of every command")
        taken, meant = each.taken()
        for flags, settings in _GLOBAL:
            free = [flag for flag in flags if flag not in taken]
            if free and _dest(flags) not in meant:
                shared.add_argument(*free, dest=_dest(flags), **_suppressed(settings, each.suppress))
    return parser


def _suppressed(settings: dict[str, Any], suppress: str) -> dict[str, Any]:
    """The settings of a flag that leaves no trace where it is not given."""
    hidden = {"help": suppress} if settings["help"] == SUPPRESS else {}
    return {**settings, **hidden, "default": suppress}


_FIRST = (
    ("envkit init python-web", "write a first envkit.yaml"),
    ("envkit plan", "show what apply would change"),
    ("envkit up", "make it so, and show what the services print"),
    ("envkit status", "show what runs, what it uses, what has drifted"),
    ("envkit down", "stop and remove it; volumes stay"),
)


def summary() -> str:
    """`envkit` alone: what fits a screen of 24 lines."""
    import textwrap

    lines = ["envkit: one YAML file, a true plan, real containers.", ""]
    lines += [f"  {line:<24}{text}" for line, text in _FIRST]
    for group in dict.fromkeys(command.group for command in COMMANDS):
        names = " ".join(item.name for item in COMMANDS if item.group == group)
        lines += textwrap.wrap(names, 79, initial_indent=f"{f'{group}:':<20}", subsequent_indent=" " * 20)
    lines.insert(len(_FIRST) + 2, "")
    return "\n".join([
        *lines, "", "`envkit --help` has a line for each, `envkit COMMAND --help` has examples,",
        "`envkit explain CODE` says what a message means, `envkit doctor` what lacks.",
    ])  # fmt: skip


def overview() -> str:
    """`envkit --help`."""
    lines = ["envkit: one YAML file, a true plan, real containers.", "", "usage: envkit COMMAND [options]", ""]
    for group in dict.fromkeys(command.group for command in COMMANDS):
        lines.append(f"{group}:")
        lines += [f"  {item.name:<11} {item.help}" for item in COMMANDS if item.group == group]
        lines.append("")
    lines.append("Options of every command are in `envkit COMMAND --help`. Compose's names work too: up, convert.")
    return "\n".join(lines)


def split(argv: Sequence[str]) -> tuple[list[str], str | None, list[str]]:
    """Global flags before the command, the command's name, and everything after it."""
    with_value = {flag for flags, settings in _GLOBAL if "action" not in settings for flag in flags}
    with_value |= {flag for flags, settings in _GLOBAL if settings.get("action") == "append" for flag in flags}
    at = 0
    while at < len(argv):
        word = argv[at]
        if not word.startswith("-") or word == "-":
            return list(argv[:at]), word, list(argv[at + 1 :])
        at += 2 if word in with_value else 1
    return list(argv), None, []


def _global_words() -> Words:
    words = Words()
    for flags, settings in _GLOBAL:
        words.add_argument(*flags, dest=_dest(flags), **_suppressed(settings, words.suppress))
    return words


def _global_parser() -> Parser:
    from envkit.cli.parser import Parser

    parser = Parser(prog="envkit", add_help=False, allow_abbrev=False)
    for flags, settings in _GLOBAL:
        parser.add_argument(*flags, dest=_dest(flags), **_suppressed(settings, parser.suppress))
    parser.add_argument("-h", "--help", action="store_true", default=False)
    parser.add_argument("-V", "--version", action="store_true", default=False)
    return parser


def _dest(flags: Sequence[str]) -> str:
    return next(flag for flag in flags if flag.startswith("--"))[2:].replace("-", "_")


def _default(settings: dict[str, Any]) -> Any:
    return {"append": [], "store_true": False}.get(settings.get("action", ""))


def _nearest(name: str) -> str:
    import difflib

    near = difflib.get_close_matches(name, BY_NAME, 1)
    return f"did you mean `envkit {near[0]}`?" if near else "`envkit --help` lists the commands"


def stdin_is_terminal() -> bool:
    """Whether a question can be asked and answered."""
    return sys.stdin is not None and sys.stdin.isatty()
