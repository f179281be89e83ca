"""The rules of `develop.watch`, and what of the files below their paths counts. Pure.

Source: Compose Develop Specification. Patterns are Docker's (.dockerignore), relative to the rule's path. `.git` and
what editors leave for a moment never count.
"""

from __future__ import annotations

import os
import re
import shlex

from envkit.host.ignore import Ignore, below
from envkit.values import field, value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Any

    from envkit.config.model import Model
    from envkit.spec.environment import Environment

_PASSING = re.compile(
    r"\.git|\.idea|\.DS_Store|4913|.*~|\.#.*|#.*#|\..*\.sw[a-z]|\..*\.kate-swp|\.goutputstream-.*|.*___jb_(tmp|old)___"
)
"""Names of what editors make while they save (Vim, Emacs, Kate, GNOME, JetBrains), and of git's own files."""


@value
class Rule:
    """One rule of one service. path: absolute; is_file: whether it is one now. context: the directory whose ignore file
    counts as well, "" for none. hook: the `exec` block, in the words of HookSpec. number: its place in the list."""

    service: str
    number: int
    path: str
    action: str
    target: str = ""
    ignore: tuple[str, ...] = ()
    include: tuple[str, ...] = ()
    initial: bool = False
    is_file: bool = False
    context: str = ""
    hook: Mapping[str, Any] = field(default_factory=dict, compare=False)

    @property
    def syncs(self) -> bool:
        return self.action.startswith("sync")

    @property
    def place(self) -> tuple[str, str]:
        """(the directory in the container that paths are relative to, the file's name there or "")."""
        if not self.is_file:
            return self.target, ""
        if self.target.endswith("/"):
            return self.target, os.path.basename(self.path)
        return os.path.dirname(self.target) or "/", os.path.basename(self.target)

    def __str__(self) -> str:
        return f"services.{self.service}.develop.watch[{self.number}]"


def rules_of(model: Model) -> list[Rule]:
    """Every rule of the enabled services, in their order."""
    return [rule for name, service in model.services.items() for rule in _of_service(name, service)]


def _of_service(name: str, service: Mapping[str, Any]) -> Iterator[Rule]:
    context = str((service.get("build") or {}).get("context") or "")
    for number, row in enumerate((service.get("develop") or {}).get("watch") or ()):
        for path in _texts(row.get("path")):
            within = context.startswith("/") and os.path.commonpath((context, path)) == context
            hook = row.get("exec") or {}
            yield Rule(
                name, number, path, str(row.get("action") or ""), str(row.get("target") or ""),
                _texts(row.get("ignore")), _texts(row.get("include")), row.get("initial_sync") in (True, "true"),
                os.path.isfile(path), context if within else "", _hook(hook),
            )  # fmt: skip


def _texts(value: Any) -> tuple[str, ...]:
    return (value,) if isinstance(value, str) else tuple(map(str, value or ()))


def _hook(row: Mapping[str, Any]) -> dict[str, Any]:
    command = row.get("command") or ()
    environment = row.get("environment") or {}
    return {
        "command": shlex.split(command) if isinstance(command, str) else list(map(str, command)),
        "user": str(row.get("user") or ""), "working_dir": str(row.get("working_dir") or ""),
        "privileged": row.get("privileged") in (True, "true"),
        "environment": {key: str(item) for key, item in environment.items() if item is not None},
    }  # fmt: skip


def is_passing(path: str) -> bool:
    """Whether a relative path is, or is in, something that only an editor or git knows of."""
    return any(_PASSING.fullmatch(name) for name in path.split("/"))


class Filter:
    """What counts below a rule's path, by its patterns and the ignore file of the service's build context."""

    def __init__(self, rule: Rule) -> None:
        own = Ignore(rule.ignore)
        if rule.context:
            relative = os.path.relpath(rule.path, rule.context)
            own = below(Ignore.of_directory(rule.context), "" if relative == "." else relative, rule.ignore)
        self._ignore = own
        self._include = Ignore(rule.include)
        self._all = not rule.include

    def counts(self, path: str, is_directory: bool) -> bool:
        """Where only some files count, directories come with them."""
        if is_passing(path) or (self._ignore and self._ignore.matches(path)):
            return False
        return self._all or (not is_directory and self._include.matches(path))

    def enters(self, path: str) -> bool:
        return not is_passing(path) and not (self._ignore and self._ignore.prunes(path))


def mirrored(rule: Rule, environment: Environment) -> str:
    """Why a rule must not sync: the host directory that is bound where it would write, and is watched; "" otherwise."""
    mount = _mount_at(rule, environment)
    if mount is None or mount["type"] != "bind":
        return ""
    rest = os.path.relpath(_clean(rule.target), _clean(mount["target"]))
    host = os.path.realpath(os.path.normpath(os.path.join(str(mount["source"]), rest)))
    path = os.path.realpath(rule.path)
    return host if _is_within(host, path) or _is_within(path, host) else ""


def is_volatile(rule: Rule, environment: Environment) -> bool:
    """Whether a restart loses what the rule has synced: its target is on a tmpfs."""
    mount = _mount_at(rule, environment)
    return mount is not None and mount["type"] == "tmpfs"


def _mount_at(rule: Rule, environment: Environment) -> Mapping[str, Any] | None:
    """The service's mount that the target is on, None for its root."""
    resource = environment.get("service", rule.service)
    rows: list[Mapping[str, Any]] = list(resource.spec.get("mounts") or ()) if resource else []
    above = [row for row in rows if _is_within(_clean(rule.target), _clean(row["target"]))]
    return max(above, key=lambda row: len(_clean(row["target"])), default=None)


def _clean(path: str) -> str:
    return os.path.normpath("/" + path.lstrip("/"))


def _is_within(path: str, directory: str) -> bool:
    return path == directory or path.startswith(directory.rstrip("/") + "/")
