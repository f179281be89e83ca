"""Which commit last set a line of a file, by `git blame`. Without git, or outside of a repository, nobody did."""

from __future__ import annotations

import os

from envkit.errors import HostError
from envkit.host.process import find, run
from envkit.values import value

UNCOMMITTED = "0" * 40


@value
class Blame:
    """commit: 40 hex digits, zeros for a line that is not committed yet; time: seconds since the epoch."""

    commit: str
    author: str
    time: int
    summary: str

    @property
    def is_committed(self) -> bool:
        return self.commit.strip("0") != ""


def blame(path: str) -> dict[int, Blame]:
    """Line number (from 1) -> who set it last. {} where git knows nothing of the file."""
    if find("git") is None or not os.path.isfile(path):
        return {}
    # safe.directory: root reads a repository that belongs to the user.
    command = ["git", "-c", "safe.directory=*", "-C", os.path.dirname(path), "blame", "--porcelain", "--", path]
    try:
        done = run(command, timeout=30)
    except HostError:
        return {}
    return decode(done.stdout.decode(errors="replace"))


def decode(text: str) -> dict[int, Blame]:
    """The porcelain format of git-blame(1): a header per line, a commit's facts with its first line only."""
    facts: dict[str, dict[str, str]] = {}
    found: dict[int, Blame] = {}
    commit, number = "", 0
    for row in text.split("\n"):
        if row.startswith("\t"):
            known = facts[commit]
            found[number] = Blame(
                commit, known.get("author", ""), int(known.get("author-time", "0")), known.get("summary", "")
            )
            continue
        word, _, rest = row.partition(" ")
        if len(word) in (40, 64) and rest[:1].isdigit():
            commit, number = word, int(rest.split(" ")[1])
            facts.setdefault(commit, {})
        elif word:
            facts[commit][word] = rest
    return found
