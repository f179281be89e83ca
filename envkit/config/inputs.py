"""What an Environment depends on besides the YAML's own text, remembered with its answer.

The compiler asks here for build inputs, profiles, secrets and configs. The compile cache keeps the answers, with those
of the loader, and asks again: as long as all are the same, so is the Environment. Standard library only.
"""

from __future__ import annotations

import os

from envkit.config.keyed import keyed_digest
from envkit.config.sources import ABSENT

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any, TypeAlias

    from envkit.config.sources import Sources
    from envkit.host.home import Home

Asked: TypeAlias = "tuple[str, str, tuple[str, ...], str, bool]"
"""A question about a build input: path, directory of the ignore file, further patterns, ignore file, whether modes
count."""


class Inputs:
    """sources: the loader's, completed here. trees: (*the question, digest) of every build input that was asked for;
    owned: image name -> the questions that were asked for it. secrets: (path, purpose, keyed digest). write: digests of
    trees may be kept below home.cache. held: answers that are taken for granted."""

    def __init__(
        self, home: Home, salt: bytes | None, sources: Sources, *, write: bool = False,
        held: Mapping[Asked, str] | None = None,
    ) -> None:  # fmt: skip
        self.home = home
        self.salt = salt
        self.sources = sources
        self.write = write
        self.held = held or {}
        self.trees: list[tuple[str, str, tuple[str, ...], str, bool, str]] = []
        self.owned: dict[str, list[Asked]] = {}
        self._given = 0  # so many trees belong to an image
        self.secrets: list[tuple[str, str, str]] = []

    def text(self, path: str) -> str | None:
        """A text file, None when it cannot be read."""
        try:
            return self.sources.read(path).decode("utf-8", "surrogateescape")
        except OSError:
            return None

    def exists(self, path: str) -> bool:
        return self.sources.look(path) != ABSENT

    def tree(
        self, path: str, exclude: Sequence[str] = (), *, rules_of: str = "", rules_file: str = "", modes: bool = False
    ) -> str | None:
        """The digest of a file or directory; None when there is nothing. rules_of: the directory whose ignore file
        counts; rules_file: another file with its rules. modes: all permissions count. Raises HostError for a pattern
        that is wrong, OSError for what cannot be read."""
        if not self.exists(path):
            return None
        asked = (path, rules_of, tuple(exclude), rules_file, modes)
        digest = self.held.get(asked) or tree_digest(self.home, *asked, write=self.write)
        self.trees.append((*asked, digest))
        return digest

    def give_to(self, image: str) -> None:
        """What has been asked since the last call was asked for this image."""
        self.owned.setdefault(image, []).extend(row[:5] for row in self.trees[self._given :])
        self._given = len(self.trees)

    def secret(self, path: str, purpose: str) -> str | None:
        """The keyed digest of a file with a secret or config; None when it cannot be read."""
        try:
            with open(path, "rb") as file:
                made = keyed_digest(self.salt, purpose, file.read())
        except OSError:
            return None
        self.secrets.append((path, purpose, made))
        return made

    def record(self) -> dict[str, Any]:
        """Everything that was asked, with the answers, as JSON data."""
        sources = self.sources
        return {"files": sources.files, "found": sources.found, "trees": self.trees, "secrets": self.secrets}

    def holds(self, record: Mapping[str, Any]) -> bool:
        """Whether every question of a record has the same answer now. Raises OSError, HostError."""
        return (
            all(self.sources.look(path) == kind for path, kind in record["found"].items())
            and all(self._digest(path) == digest for path, digest in record["files"].items())
            and all(self.secret(path, purpose) == digest for path, purpose, digest in record["secrets"])
            and all(
                tree_digest(self.home, *asked, write=self.write) == digest for *asked, digest in record["trees"]
            )
        )

    def _digest(self, path: str) -> str:
        if self.text(path) is None:
            return ABSENT
        return self.sources.files[path]


def project_path(directory: str, path: str) -> str:
    """A path of the YAML as an absolute one: relative to the project's directory, `~` is the user's home."""
    return os.path.normpath(os.path.join(directory, os.path.expanduser(path)))  # noqa: PTH111 strings throughout


def tree_digest(
    home: Home, path: str, rules_of: str, exclude: Sequence[str], rules_file: str = "", modes: bool = False, *,
    write: bool,
) -> str:  # fmt: skip
    """The digest of a build input: names, contents, links and whether a file may be executed (modes: its mode)."""
    from envkit.host.ignore import Ignore, rules_for
    from envkit.host.tree import StatCache, digest_tree

    rules = None
    if os.path.isdir(path) and (rules_of or exclude):
        given = Ignore.from_file(rules_file) if rules_file else None
        rules = rules_for(rules_of or path, path, exclude, given)
    return digest_tree(path, rules, StatCache.at(home.cache, path, write=write), modes=modes)
