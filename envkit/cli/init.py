"""init: a first envkit.yaml, from a template or from a compose file."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from envkit.cli.project import SCHEMA_FILE
from envkit.errors import ConflictError, NotFoundError, UsageError

if TYPE_CHECKING:
    import argparse

    from envkit.cli.context import Context
    from envkit.config.propose.proposal import Proposal

FIRST = "envkit.yaml"


def add_init(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("template", nargs="?", metavar="TEMPLATE", help="python-web when not given")
    parser.add_argument("--list", action="store_true", help="list the templates")
    parser.add_argument("--name", metavar="NAME", help="the environment's name (the directory's)")
    parser.add_argument("--from-compose", nargs="?", const="", metavar="FILE",
                        help="propose an envkit.yaml for a compose file (the one that is here)")  # fmt: skip
    parser.add_argument("-o", "--output", metavar="FILE", help="with --from-compose: where to write it (envkit.yaml)")
    parser.add_argument("--force", action="store_true", help="overwrite files that exist")


def init(context: Context) -> int:
    options = context.options
    if options.list:
        return _list(context)
    if options.from_compose is not None:
        return _from_compose(context)
    if options.output:
        raise UsageError("--output goes with --from-compose", hint="a template's files have their names")
    return _from_template(context)


def _list(context: Context) -> int:
    from envkit.views.table import render_table

    known = _templates()
    if context.json:
        context.print_json([{"name": name, "description": text} for name, text in known.items()])
    else:
        terminal = context.terminal
        terminal.out(render_table(["TEMPLATE", "WHAT IT IS"], [[*item] for item in known.items()], terminal.style))
    return 0


def _templates() -> dict[str, str]:
    from envkit.resources import template_names, template_summary

    return {name: template_summary(name) for name in template_names()}


def _from_template(context: Context) -> int:
    options, known = context.options, _templates()
    if not options.template:
        _offer_compose(context)
    template = options.template or "python-web"
    if template not in known:
        raise NotFoundError("no such template", template, hint=_nearest(template, known))
    written = _write_template(context, template)
    if context.json:
        context.print_json({"written": written, "dry_run": bool(options.dry_run)})
        return 0
    for path in written:
        context.terminal.out(path)
    if not options.dry_run:
        context.terminal.err("\nNext:\n  envkit plan\n  envkit apply")
    return 0


def _nearest(name: str, known: dict[str, str]) -> str:
    import difflib

    if os.path.exists(name):
        return f"for a file: envkit init --from-compose {name}"
    near = difflib.get_close_matches(name, known, n=1)
    return f"did you mean {near[0]}?" if near else f"there is {', '.join(known)}"


def _offer_compose(context: Context) -> None:
    """Raises UsageError where a compose file waits to be taken over."""
    from envkit.config.propose.compose import compose_files

    found = compose_files(context.cwd)
    if found and not os.path.lexists(os.path.join(context.cwd, FIRST)):
        raise UsageError(
            f"{found[0]} is here already",
            hint="envkit init --from-compose proposes an envkit.yaml for it (--dry-run only shows it)\n"
            "envkit apply runs it as it is; envkit init TEMPLATE begins with a template",
        )


def _from_compose(context: Context) -> int:
    from envkit.config.propose.check import options_for
    from envkit.config.propose.compose import compose_files, propose

    options = context.options
    if options.template:
        raise UsageError("--from-compose and a template exclude each other", hint="leave one of them out")
    files = list(options.file or ())
    if options.from_compose:
        files.insert(0, options.from_compose)
    elif not files:
        files = compose_files(context.cwd)
    files = [os.path.join(context.cwd, name) for name in files]
    for name in files:
        if not os.path.isfile(name):
            hint = "name a compose file: envkit init --from-compose FILE"
            raise NotFoundError("A file does not exist", name, hint=hint)
    place = os.path.dirname(files[0]) if files else context.cwd
    if options.project_directory:
        place = os.path.join(context.cwd, options.project_directory)
    output = output_path(context, place)
    proposal = propose(options_for(context.load_options(), files), context.home, output)
    return show(context, proposal, output)


def output_path(context: Context, place: str) -> str:
    """Where the proposal goes. Raises UsageError for a name that would not have envkit's defaults, or another
    directory than the one that its relative paths start from, and ConflictError for what exists."""
    from envkit.config.lookup import is_hardened

    options = context.options
    output = os.path.normpath(os.path.join(context.cwd, options.output or os.path.join(place, FIRST)))
    if not is_hardened(output):
        raise UsageError(f"--output {options.output}: only envkit.yaml and envkit.NAME.yaml have envkit's defaults")
    if os.path.dirname(output) != os.path.normpath(place):
        raise UsageError(f"--output {options.output}: relative paths start at {place}", hint="write it there")
    if os.path.lexists(output) and not (options.force or options.dry_run):
        raise ConflictError("files exist already", os.path.relpath(output, context.cwd),
                            hint="--force overwrites it, --dry-run only shows the proposal")  # fmt: skip
    return output


def show(context: Context, proposal: Proposal, output: str) -> int:
    """Write the proposal, but for a dry run, and say what it changes."""
    from envkit.views.proposal import proposal_json, render_proposal

    dry, terminal = bool(context.options.dry_run), context.terminal
    name = os.path.relpath(output, context.cwd)
    written = [] if dry else _write(context, proposal, output)
    if context.json:
        context.print_json({**proposal_json(proposal), "file": output, "written": written, "dry_run": dry})
        return 0
    if dry:
        terminal.out(proposal.text.rstrip("\n"))
    terminal.err(render_proposal(proposal, terminal.err_style))
    if not dry:
        for path in written:
            terminal.out(path)
        flag = "" if os.path.basename(output) == FIRST else f" -f {name}"
        terminal.err(f"\nNext:\n  envkit{flag} plan\n  envkit{flag} apply")
    return 0


def _write(context: Context, proposal: Proposal, output: str) -> list[str]:
    from envkit.host.files import make_directory, write_atomic

    directory = os.path.dirname(output)
    files = {os.path.join(directory, path): content for path, content in proposal.secrets.items()}
    taken = [path for path, content in files.items() if os.path.lexists(path) and _content(path) != content]
    if taken and not context.options.force:
        names = ", ".join(os.path.relpath(path, context.cwd) for path in taken)
        raise ConflictError("files exist already", names, hint="--force overwrites them")
    for path, content in files.items():
        make_directory(os.path.dirname(path), 0o700)
        write_atomic(path, content, mode=0o600)
    written = [*files]
    if ignored := _ignore(directory, [".envkit/", *(["secrets/"] if files else [])]):
        written.append(ignored)
    write_atomic(output, proposal.text.encode())
    _write_schema(directory)
    return [os.path.relpath(path, context.cwd) for path in (output, *written, os.path.join(directory, SCHEMA_FILE))]


def _content(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read()


def _ignore(directory: str, lines: list[str]) -> str:
    """Add lines to .gitignore that it does not have; its path when it was changed."""
    from envkit.host.files import write_atomic

    path = os.path.join(directory, ".gitignore")
    text = _content(path).decode(errors="surrogateescape") if os.path.isfile(path) else ""
    missing = [line for line in lines if line not in text.split() and f"/{line}" not in text.split()]
    if not missing:
        return ""
    text = text + "\n" * bool(text and not text.endswith("\n")) + "".join(f"{line}\n" for line in missing)
    write_atomic(path, text.encode(errors="surrogateescape"))
    return path


def _write_schema(directory: str) -> None:
    from envkit.host.files import make_directory, write_atomic
    from envkit.resources import schema_text

    target = os.path.join(directory, SCHEMA_FILE)
    make_directory(os.path.dirname(target), 0o755)
    write_atomic(target, schema_text("environment").encode())


def _write_template(context: Context, template: str) -> list[str]:
    """Copy the template's files into the current directory; their names. Raises ConflictError before any write."""
    import secrets

    from envkit.host.files import make_directory, write_atomic
    from envkit.resources import template_dir

    root = template_dir(template)
    name = context.options.name or _project_name(context.cwd)
    files = sorted(
        os.path.relpath(os.path.join(parent, file), root) for parent, _, found in os.walk(root) for file in found
    )
    files = [path for path in files if path != "template.txt"]
    taken = [path for path in files if os.path.lexists(os.path.join(context.cwd, path))]
    if taken and not (context.options.force or context.options.dry_run):
        raise ConflictError("files exist already", ", ".join(taken), hint="--force overwrites them")
    if context.options.dry_run:
        return [*files, SCHEMA_FILE]
    for path in files:
        source, target = os.path.join(root, path), os.path.join(context.cwd, path)
        with open(source, "rb") as stream:
            content = stream.read().replace(b"__NAME__", name.encode())
        secret = b"__SECRET__" in content
        if secret:
            content = content.replace(b"__SECRET__", secrets.token_urlsafe(18).encode())
        make_directory(os.path.dirname(target), 0o755)
        write_atomic(target, content, mode=0o600 if secret else 0o755 if os.access(source, os.X_OK) else 0o644)
    _write_schema(context.cwd)
    return [*files, SCHEMA_FILE]


def _project_name(directory: str) -> str:
    """The directory's name by Compose's rule: lower case, a-z 0-9 _ - only, no leading _ or -."""
    kept = "".join(
        char for char in os.path.basename(directory).lower() if char.isascii() and (char.isalnum() or char in "_-")
    )
    return kept.lstrip("_-") or "app"
