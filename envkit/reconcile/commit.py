"""The commit that a directory's git repository has checked out, read without git. Source: gitrepository-layout(5)."""

from __future__ import annotations

import os

from envkit.lean import pattern

_HASH = pattern(r"[0-9a-f]{40}(?:[0-9a-f]{24})?")


def commit_of(directory: str) -> str | None:
    """The commit's hash; None outside of a repository, before the first commit, or when it cannot be read."""
    try:
        git = _git_directory(os.path.abspath(directory))
        return _resolve(git, _read(os.path.join(git, "HEAD"))) if git else None
    except (OSError, UnicodeDecodeError):
        return None


def _git_directory(directory: str) -> str | None:
    """`.git` of directory or of a parent; a worktree's or submodule's is a file that points to it."""
    while True:
        found = os.path.join(directory, ".git")
        if os.path.isdir(found):
            return found
        if os.path.isfile(found):
            return os.path.join(directory, _read(found).removeprefix("gitdir: "))
        parent = os.path.dirname(directory)
        if parent == directory:
            return None
        directory = parent


def _resolve(git: str, head: str) -> str | None:
    if _HASH.fullmatch(head):
        return head
    name = head.removeprefix("ref: ")
    common = os.path.join(git, "commondir")
    shared = os.path.join(git, _read(common)) if os.path.isfile(common) else git
    for base in (git, shared):
        path = os.path.join(base, name)
        if os.path.isfile(path):
            text = _read(path)
            return text if _HASH.fullmatch(text) else None
    packed = os.path.join(shared, "packed-refs")
    if os.path.isfile(packed):
        for line in _read(packed).splitlines():
            commit, _, reference = line.partition(" ")
            if reference == name and _HASH.fullmatch(commit):
                return commit
    return None


def _read(path: str) -> str:
    with open(path, encoding="utf-8") as file:
        return file.read().strip()
