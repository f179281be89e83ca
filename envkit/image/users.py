"""Users and groups of an image, by its own /etc/passwd and /etc/group. Source: passwd(5), group(5)."""

from __future__ import annotations

from typing import NamedTuple

from envkit.errors import NotFoundError
from envkit.host.beneath import read_beneath


class Identity(NamedTuple):
    """Who a process or file belongs to; groups: the further ones that the image's /etc/group gives a user."""

    uid: int
    gid: int
    groups: tuple[int, ...] = ()
    home: str = "/"


ROOT = Identity(0, 0, (), "/root")


def _rows(root: str, path: str) -> list[list[str]]:
    data = read_beneath(root, path)
    return [line.split(":") for line in (data or b"").decode(errors="surrogateescape").splitlines() if ":" in line]


def find(root: str, text: str) -> Identity:
    """USER, USER:GROUP or :GROUP, by name or number, in the image at root. Raises NotFoundError for an unknown name.

    A numeric user without an entry has group 0, as in a Dockerfile's USER.
    """
    user, colon, group = str(text).partition(":")
    rows = [row for row in _rows(root, "etc/passwd") if len(row) >= 4 and row[2].isdigit() and row[3].isdigit()]
    row = next((row for row in rows if user and (row[0] == user or row[2] == user)), None)
    if row is None and user and not user.isdigit():
        raise _unknown("user", user)
    uid = int(row[2]) if row else int(user or 0)
    gid = int(row[3]) if row else 0
    home = row[5] if row and len(row) > 5 and row[5] else "/"
    groups: tuple[int, ...] = ()
    if colon:
        gid = group_id(root, group)
    elif row:
        groups = tuple(
            int(item[2]) for item in _rows(root, "etc/group")
            if len(item) >= 4 and item[2].isdigit() and row[0] in item[3].split(",")
        )  # fmt: skip
    return Identity(uid, gid, groups, home)


def group_id(root: str, group: str) -> int:
    """The number of a group. Raises NotFoundError for an unknown name."""
    for row in _rows(root, "etc/group"):
        if len(row) >= 3 and row[0] == group and row[2].isdigit():
            return int(row[2])
    if group.isdigit():
        return int(group)
    raise _unknown("group", group)


def _unknown(what: str, name: str) -> NotFoundError:
    hint = "make it with a `user` layer before, or write its number"
    return NotFoundError(f"the image has no such {what}", repr(name), hint)
