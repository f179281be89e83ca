"""volume: ls, rm, snapshots, snapshot, restore, export, import."""

from __future__ import annotations

import argparse
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from envkit.errors import NotFoundError, UnsupportedError, UsageError
from envkit.values import as_dict

if TYPE_CHECKING:
    from envkit.backend.base import Filled, SnapshotInfo
    from envkit.cli.context import Context
    from envkit.events import Emit

PARTS = "ls|rm|snapshots|snapshot|restore|export|import"


def add_volume(parser: argparse.ArgumentParser) -> None:
    parts = parser.add_subparsers(dest="part", metavar=PARTS, required=False)
    listing = parts.add_parser("ls", help="list volumes")
    listing.add_argument("--all", action="store_true", help="those of every environment")
    listing.add_argument("--size", action="store_true", help="measure them")
    listing.add_argument("-q", "--quiet", action="store_true", help="only names")
    removing = parts.add_parser("rm", help="remove volumes and their data, or snapshots (VOLUME@SNAPSHOT)")
    removing.add_argument("names", nargs="+", metavar="NAME", help="the volume's name, or its key in the file")
    removing.add_argument("--yes", "-y", action="store_true", help="do not ask")
    kept = parts.add_parser("snapshots", help="list snapshots")
    kept.add_argument("name", nargs="?", metavar="VOLUME", help="those of the environment when not given")
    kept.add_argument("--all", action="store_true", help="those of every environment")
    kept.add_argument("-q", "--quiet", action="store_true", help="only names")
    taking = parts.add_parser("snapshot", help="keep what a volume holds now")
    taking.add_argument("name", metavar="VOLUME", help="its name, or its key in the file")
    taking.add_argument("--name", dest="snapshot", default="", metavar="NAME", help="the snapshot's name (the time)")
    taking.add_argument("--pause", action="store_true", help="freeze the instances that have the volume meanwhile")
    back = parts.add_parser("restore", help="give a volume what a snapshot holds; what it held becomes a snapshot")
    back.add_argument("name", metavar="VOLUME")
    back.add_argument("snapshot", metavar="SNAPSHOT")
    out = parts.add_parser("export", help="write a volume as a tar archive")
    out.add_argument("name", metavar="VOLUME[@SNAPSHOT]")
    out.add_argument("archive", metavar="FILE", help="- is stdout; .gz and .zst are compressed")
    out.add_argument("--pause", action="store_true", help="freeze the instances that have the volume meanwhile")
    filling = parts.add_parser("import", help="fill a volume from a tar archive; what it held becomes a snapshot")
    filling.add_argument("name", metavar="VOLUME")
    filling.add_argument("archive", metavar="FILE", help="- is stdin; compressed archives are recognised")
    for part in (back, filling):
        part.add_argument("--stop", action="store_true", help="stop what has the volume, and start it afterwards")


def volume(context: Context) -> int:
    part = context.options.part or "ls"
    return {"rm": _remove, "snapshots": _snapshots, "snapshot": _snapshot, "restore": _restore, "export": _export,
            "import": _import, "ls": _list}[part](context)  # fmt: skip


def _list(context: Context) -> int:
    from envkit.views.table import bytes_text, render_table

    options = context.options
    everything = getattr(options, "all", False)
    rows = context.backend.volumes(None if everything else context.environment_name())
    if getattr(options, "size", False):
        from envkit.host.tree import tree_size
        from envkit.values import replace

        rows = [replace(row, size=tree_size(row.path)) for row in rows]
    if context.json:
        context.print_json([as_dict(row) for row in rows])
    elif getattr(options, "quiet", False):
        for row in rows:
            context.terminal.out(row.name)
    else:
        table = [
            [row.name, row.environment or "-", row.driver, ", ".join(row.used_by) or "-",
             bytes_text(row.size) if row.size is not None else "-"]
            for row in rows
        ]  # fmt: skip
        context.terminal.out(
            render_table(["NAME", "ENVIRONMENT", "DRIVER", "USED BY", "SIZE"], table, context.terminal.style)
        )
    return 0


def _remove(context: Context) -> int:
    from envkit.host.content import tree_content
    from envkit.views.table import content_text

    options, terminal = context.options, context.terminal
    chosen = [_named(context, name) for name in options.names]
    paths = {row.name: row.path for row in context.backend.volumes(None)}
    if not options.yes:
        for name, snapshot in chosen:
            if snapshot:
                rows = context.backend.volume_data().snapshots(name)
                held = next(((row.bytes, row.files) for row in rows if row.name == snapshot), (0, 0))
            else:
                held = tree_content(paths[name]) if name in paths else (0, 0)
            line = f"  - {'snapshot' if snapshot else 'volume'} {_title(name, snapshot)}: {content_text(*held)}"
            terminal.err(terminal.err_style(line, "red"))
        if not context.confirm("This destroys the data above.", "--yes"):
            terminal.err("Nothing was done.")
            return 1
    for name, snapshot in chosen:
        if snapshot:
            context.backend.volume_data().remove(name, snapshot)
        elif (kept := context.backend.remove_volume(name)) is not None:
            terminal.err(f"{name} is protected: its data is kept as {_title(name, kept.name)}")
        terminal.out(_title(name, snapshot))
    return 0


def _snapshots(context: Context) -> int:
    from envkit.views.table import bytes_text, render_table

    options, data = context.options, context.backend.volume_data()
    if options.name:
        rows = data.snapshots(_named(context, options.name)[0])
    else:
        wanted = None if options.all else context.environment_name()
        rows = [row for row in data.snapshots() if wanted in (None, row.environment)]
    if context.json:
        context.print_json([_json(row) for row in rows])
    elif options.quiet:
        for row in rows:
            context.terminal.out(_title(row.volume, row.name))
    else:
        table = [
            [row.volume, row.name, _moment(row.taken), bytes_text(row.bytes), str(row.files), row.reason or "-"]
            for row in rows
        ]
        context.terminal.out(
            render_table(["VOLUME", "SNAPSHOT", "TAKEN", "BYTES", "FILES", "WHY"], table, context.terminal.style)
        )
    return 0


def _snapshot(context: Context) -> int:
    from envkit.views.table import content_text

    options = context.options
    name = _named(context, options.name, plain=True)[0]
    made = context.backend.volume_data().take(
        name, options.snapshot, pause=options.pause, emit=_emit(context), lock_timeout=options.lock_timeout
    )
    if context.json:
        context.print_json(_json(made))
        return 0
    if made.vanished:
        _warn(context, f"{made.vanished} files went while they were copied; --pause holds the writers still")
    shared = f", {made.shared} of them share their blocks with the volume" if made.shared else ""
    context.terminal.err(f"{content_text(made.bytes, made.files)}{shared}")
    context.terminal.out(_title(made.volume, made.name))
    return 0


def _restore(context: Context) -> int:
    options = context.options
    name = _named(context, options.name, plain=True)[0]
    filled = context.backend.volume_data().restore(
        name, options.snapshot, stop=options.stop, emit=_emit(context), lock_timeout=options.lock_timeout
    )
    return _tell(context, filled)


def _import(context: Context) -> int:
    from envkit.cli.archive import reading

    options = context.options
    name = _named(context, options.name, plain=True)[0]
    with reading(options.archive, context.cwd) as source:
        filled = context.backend.volume_data().load(
            name, source, stop=options.stop, emit=_emit(context), lock_timeout=options.lock_timeout
        )
    return _tell(context, filled)


def _export(context: Context) -> int:
    from envkit.cli.archive import write
    from envkit.views.table import bytes_text

    options = context.options
    name, snapshot = _named(context, options.name)
    chunks, lost = context.backend.volume_data().export(name, snapshot, pause=options.pause)
    size, written = write(chunks, options.archive, context.cwd)
    for line in lost:
        _warn(context, line)
    if context.json and options.archive != "-":
        context.print_json({"volume": name, "snapshot": snapshot, "file": options.archive, "bytes": size,
                            "written": written, "lost": lost})  # fmt: skip
    elif options.archive != "-":
        packed = f", {bytes_text(written)} compressed" if written != size else ""
        context.terminal.err(f"{_title(name, snapshot)}: {bytes_text(size)} of archive{packed}")
        context.terminal.out(options.archive)
    return 0


def _tell(context: Context, filled: Filled) -> int:
    from envkit.views.table import content_text

    if context.json:
        former = _json(filled.former) if filled.former else None
        context.print_json({**as_dict(filled), "former": former})
        return 0
    for line in filled.lost:
        _warn(context, line)
    if filled.former is not None:
        held = content_text(filled.former.bytes, filled.former.files)
        context.terminal.err(f"what it held ({held}) is {_title(filled.volume, filled.former.name)}")
    context.terminal.err(f"{filled.volume} holds {content_text(filled.bytes, filled.files)} now")
    context.terminal.out(filled.volume)
    return 0


def _named(context: Context, text: str, *, plain: bool = False) -> tuple[str, str]:
    """(the volume's name, the snapshot's or "") of NAME or KEY, with @SNAPSHOT unless plain.

    A volume that is no more has a name as long as it has snapshots. Raises UsageError, NotFoundError.
    """
    name, at, snapshot = text.partition("@")
    if at and (plain or not snapshot):
        raise UsageError(f"{text!r} is not the name of a volume", hint="only rm and export take VOLUME@SNAPSHOT")
    rows = context.backend.volumes(None)
    if any(row.name == name for row in rows):
        return name, snapshot
    kept: list[SnapshotInfo] = []
    with suppress(UnsupportedError, UsageError):  # a backend without snapshots, a dry run
        kept = context.backend.volume_data().snapshots()
    if any(row.volume == name for row in kept):
        return name, snapshot
    environment = context.environment_name()
    every: list[Any] = [*rows, *kept]
    found = [getattr(row, "volume", row.name) for row in every if (row.environment, row.key) == (environment, name)]
    if not found:
        raise NotFoundError(
            "A volume does not exist", repr(name),
            "`envkit volume ls` shows what there is; `envkit create` makes those of the files",
        )  # fmt: skip
    return found[0], snapshot


def _title(volume: str, snapshot: str) -> str:
    return f"{volume}@{snapshot}" if snapshot else volume


def _json(row: SnapshotInfo) -> dict[str, Any]:
    return {**as_dict(row), "taken": _moment(row.taken)}


def _moment(seconds: float) -> str:
    import time

    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))


def _emit(context: Context) -> Emit:
    from envkit.events import ignore

    return ignore if context.json else context.emit()


def _warn(context: Context, text: str) -> None:
    context.terminal.err(f"{context.terminal.err_style('warning', 'bold', 'yellow')}: {text}")
