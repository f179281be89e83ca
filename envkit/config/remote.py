"""Files in Git repositories: `-f`, `include` and `extends` of `URL#REFERENCE:PATH`, as Compose's git loader takes them.

A repository is checked out below the cache each time; a path that is a directory means the usual file in it.
"""

from __future__ import annotations

import os

from envkit.config.sources import Sources
from envkit.diagnostics import Diagnostics, Position

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

_SCHEMES = ("oci://", "https://", "http://", "git://", "ssh://", "git@", "github.com/")
NAMES = ("compose.yaml", "compose.yml", "docker-compose.yml", "docker-compose.yaml", "envkit.yaml", "envkit.yml")


def is_remote(name: str) -> bool:
    """Whether a file's name is a URL."""
    return name.startswith(_SCHEMES)


def local(
    name: str, environ: Mapping[str, str], sources: Sources, problems: Diagnostics, at: Position | None = None
) -> str:
    """The absolute path of a remote file's copy on this machine; "" after a problem."""
    from envkit.errors import EnvkitError
    from envkit.host.git import checkout, is_git
    from envkit.host.home import Home

    if not is_git(name):
        what = "An OCI artifact is not read" if name.startswith("oci://") else "The URL is no Git repository's"
        hint = "fetch it with `docker compose -f … config` or oras" if name.startswith("oci://") else "download it"
        problems.error("remote-file", what, name, at, f"{hint}, and name the copy; Git URLs end in `.git`")
        return ""
    try:
        place = checkout(os.path.join(Home.from_environ(environ).cache, "git"), name, environ)
    except EnvkitError as error:
        problems.error("remote-file", "The remote file cannot be read", f"{error.summary}: {error.detail}", at,
                       error.hint)  # fmt: skip
        return ""
    sources.lasting = False
    if not os.path.isdir(place):
        return place
    found = [os.path.join(place, each) for each in NAMES if os.path.exists(os.path.join(place, each))]
    if not found:
        problems.error("remote-file", "The repository has no file of the usual names there", name, at,
                       "name the file behind the `:`")  # fmt: skip
    return found[0] if found else ""
