"""`user:` and `group_add:` resolved in the image's own passwd and group files. Pure.

Rules: a name must be in passwd; a number need not be. Without a group, passwd's gid and the groups that list the user
apply; with an explicit group, only that one. passwd(5), group(5); OCI image-spec config.md `User`.
"""

from __future__ import annotations

from collections.abc import Iterable

from envkit.errors import NotFoundError
from envkit.values import value


@value
class User:
    """A resolved identity inside the container. home is "/" when passwd does not know the uid."""

    uid: int
    gid: int
    groups: tuple[int, ...] = ()
    name: str = ""
    home: str = "/"


def _rows(text: str, columns: int) -> Iterable[list[str]]:
    for line in text.splitlines():
        parts = line.strip().split(":")
        if len(parts) >= columns and not line.startswith("#"):
            yield parts


def _group_id(name: str, group_text: str) -> int:
    for row in _rows(group_text, 3):
        if row[0] == name and row[2].isdigit():
            return int(row[2])
    if name.isdigit():
        return int(name)
    raise NotFoundError(
        "A group does not exist in the image", f"{name!r} is not in its /etc/group", "use a number, or add the group"
    )


def resolve(user: str, passwd: str, group: str, group_add: Iterable[str] = ()) -> User:
    """user: "", NAME, UID, or either followed by `:GROUP`; passwd and group: the files' texts ("" when absent).

    Raises NotFoundError for a name that the image does not have.
    """
    name, _, group_name = (user or "0").partition(":")
    name = name or "0"
    row = next((r for r in _rows(passwd, 4) if r[0] == name and r[2].isdigit() and r[3].isdigit()), None)
    if row is None and name.isdigit():
        row = next((r for r in _rows(passwd, 4) if r[2] == name and r[3].isdigit()), None)
    if row is None and not name.isdigit():
        raise NotFoundError(
            "A user does not exist in the image",
            f"{name!r} is not in its /etc/passwd",
            "use a number, or add the user with a `user` layer",
        )
    uid = int(row[2]) if row else int(name)
    gid = int(row[3]) if row else 0
    login = row[0] if row else ""
    home = (row[5] if row and len(row) > 5 else "") or "/"
    groups: list[int] = []
    if group_name:
        gid = _group_id(group_name, group)
    elif login:
        groups = [int(r[2]) for r in _rows(group, 4) if login in r[3].split(",") and r[2].isdigit()]
    groups += [_group_id(item, group) for item in group_add]
    return User(uid, gid, tuple(sorted(set(groups))), login, home)


def owner(uid: str | None, gid: str | None, default: User, passwd: str, group: str) -> tuple[int, int]:
    """The owner of a secret or config file: uid and gid are numbers or names of the container, None: default's."""
    user_id = default.uid if uid is None else resolve(uid, passwd, group).uid
    group_id = default.gid if gid is None else _group_id(gid, group)
    return user_id, group_id
