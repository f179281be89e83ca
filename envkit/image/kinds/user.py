"""A user and its group, written into the image's own files as useradd would, without a program of the image.

Depends on those files alone. Source: passwd(5), group(5), shadow(5), gshadow(5); uids of people 1000-59999 (Debian
policy 9.2.2).
"""

from __future__ import annotations

import os
from typing import Any

from envkit.digest import sha256
from envkit.host.beneath import open_beneath, read_beneath
from envkit.image.placing import LayerError, Placer, survey
from envkit.image.recipe import EPOCH
from envkit.image.step import Step

_FILES = ("etc/passwd", "etc/group", "etc/shadow", "etc/gshadow")
_DAYS = EPOCH // 86400


def sees(step: Step) -> Any:
    contents = {name: sha256(data) if (data := read_beneath(step.root, name)) is not None else "" for name in _FILES}
    home = step.args.get("home")
    return {"files": contents, "below": survey(step.root, ["etc", *([home] if home else [])])}


class _Table:
    """The rows of one of the files."""

    def __init__(self, root: str, path: str) -> None:
        self.path = path
        self.data = read_beneath(root, path)
        self.lines = (self.data or b"").decode(errors="surrogateescape").splitlines()

    def rows(self) -> list[list[str]]:
        return [line.split(":") for line in self.lines if ":" in line]

    def row(self, name: str) -> list[str] | None:
        return next((row for row in self.rows() if row[0] == name), None)

    def numbers(self) -> set[int]:
        return {int(row[2]) for row in self.rows() if len(row) > 2 and row[2].isdigit()}

    def add(self, *fields: str) -> None:
        self.lines.append(":".join(fields))

    def join(self, name: str, member: str, column: int) -> None:
        """Add member to the list in the last column of the row called name."""
        for place, line in enumerate(self.lines):
            row = line.split(":")
            if row[0] == name and len(row) > column:
                row[column] = ",".join(dict.fromkeys([*filter(None, row[column].split(",")), member]))
                self.lines[place] = ":".join(row)

    def write(self, root: str, placer: Placer, mode: int, gid: int) -> None:
        content = ("\n".join(self.lines) + "\n").encode(errors="surrogateescape")
        if content == self.data:
            return
        try:
            descriptor = open_beneath(root, self.path, os.O_PATH | os.O_CLOEXEC)
        except FileNotFoundError:
            placer.put(self.path, content, mode, 0, gid)
            return
        info = os.fstat(descriptor)
        os.close(descriptor)
        placer.put(self.path, content, info.st_mode & 0o7777, info.st_uid, info.st_gid)


def make(step: Step) -> Any:
    args, root = step.args, step.root
    passwd, group, shadow, gshadow = (_Table(root, path) for path in _FILES)
    name = args["name"]
    if passwd.row(name):
        raise LayerError("the image has this user already", name, "take the `user` layer away, or choose another name")
    uid = args["uid"] if "uid" in args else _free(passwd.numbers() | group.numbers())
    if uid in passwd.numbers():
        other = next(row[0] for row in passwd.rows() if len(row) > 2 and row[2] == str(uid))
        raise LayerError("the user's number is taken", f"{uid} is {other!r} in the image", "choose another uid")
    gid = _group(args, uid, group, gshadow)
    home = args.get("home", "/nonexistent")
    passwd.add(name, "x", str(uid), str(gid), "", home, args.get("shell", "/usr/sbin/nologin"))
    if shadow.data is not None:
        shadow.add(name, "!", str(_DAYS), "0", "99999", "7", "", "", "")
    for further in args.get("groups", ()):
        if not group.row(further):
            raise LayerError("the image has no such group", further, "groups lists groups that exist in the image")
        group.join(further, name, 3)
        gshadow.join(further, name, 3)
    with Placer(root) as placer:
        for table, mode in ((passwd, 0o644), (group, 0o644), (shadow, 0o640), (gshadow, 0o640)):
            if table.data is not None or table in (passwd, group):
                table.write(root, placer, mode, 0)
        if "home" in args and args["home"] not in ("/", "/nonexistent"):
            placer.make_directory(home, 0o755, uid, gid)


def _free(taken: set[int]) -> int:
    return next(number for number in range(1000, 60000) if number not in taken)


def _group(args: dict[str, Any], uid: int, group: _Table, gshadow: _Table) -> int:
    """The user's group, made when the image has none of that name."""
    name = args.get("group", args["name"])
    row = group.row(name)
    wanted = args.get("gid")
    if row is not None:
        if wanted is not None and row[2] != str(wanted):
            raise LayerError("the group has another number", f"{name!r} is {row[2]} in the image, not {wanted}")
        return int(row[2])
    gid = uid if wanted is None else wanted
    if gid in group.numbers():
        other = next(row[0] for row in group.rows() if len(row) > 2 and row[2] == str(gid))
        hint = f"write `group: {other}`, or choose another gid"
        raise LayerError("the group's number is taken", f"{gid} is {other!r} in the image", hint)
    group.add(name, "x", str(gid), "")
    if gshadow.data is not None:
        gshadow.add(name, "!", "", "")
    return gid
