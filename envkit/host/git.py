"""Git repositories that a file names: `URL#REFERENCE:DIRECTORY`, checked out below a cache.

Source: Docker documentation, "Build context" (Git fragments). The reference is looked up at each call, so that what a
branch means now is what one gets; a checkout is shared by all that name it.
"""

from __future__ import annotations

import hashlib
import os
import posixpath
from collections.abc import Mapping

from envkit.errors import HostError, NotFoundError, UnsupportedError
from envkit.host import files
from envkit.host.lock import Lock
from envkit.host.process import find, run


def is_git(text: str) -> bool:
    """Whether a build context is a Git URL."""
    head = text.partition("#")[0]
    return text.startswith(("git://", "git@", "ssh://", "github.com/")) or (
        text.startswith(("https://", "http://", "file://")) and (head.endswith(".git") or "#" in text)
    )


def checkout(base: str, url: str, environ: Mapping[str, str]) -> str:
    """What url means, below the directory base: a directory, or a file of the repository.

    Raises UnsupportedError without git, NotFoundError when it cannot be fetched or has no such path.
    """
    if find("git") is None:
        hint = "install the package git, or clone it yourself and name the copy"
        raise UnsupportedError("a Git URL needs git", url, hint)
    address, _, fragment = url.partition("#")
    reference, _, inside = fragment.partition(":")
    if address.startswith("github.com/"):
        address = "https://" + address
    files.make_directory(base, 0o700)
    path = os.path.join(base, hashlib.sha256(f"{address}#{reference}".encode()).hexdigest()[:24])
    environment = {
        **{key: value for key, value in environ.items() if not key.startswith("GIT_")}, "GIT_TERMINAL_PROMPT": "0",
    }  # fmt: skip
    with Lock(path + ".lock", {"purpose": "fetching a Git repository"}):
        try:
            if not os.path.isdir(os.path.join(path, ".git")):
                run(["git", "init", "--quiet", path], env=environment, timeout=60)
            fetch = ["fetch", "--quiet", "--depth", "1", "--force", "--", address, reference or "HEAD"]
            run(["git", "-C", path, *fetch], env=environment, timeout=600)
            run(["git", "-C", path, "checkout", "--quiet", "--force", "FETCH_HEAD"], env=environment, timeout=120)
            run(["git", "-C", path, "clean", "--quiet", "-ffdx"], env=environment, timeout=120)
        except HostError as error:
            hint = "check the URL, the reference after #, and that git can reach it without asking"
            raise NotFoundError("a Git repository cannot be fetched", f"{url}: {error.stderr.strip()}", hint) from error
    place = os.path.realpath(os.path.join(path, posixpath.normpath("/" + inside).lstrip("/")))
    if not (place + "/").startswith(os.path.realpath(path) + "/") or not os.path.exists(place):
        raise NotFoundError("a Git repository has no such directory", url, "it is what follows `:` after the #")
    return place
