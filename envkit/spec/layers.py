"""The canonical `args` of each layer kind (LayerSpec.args): what the compiler writes and the builder reads.

Paths of the project are absolute host paths, paths of the image are absolute in the image, modes are integers, owners
are "USER" or "USER:GROUP" by name or number as the image knows them (absent: root). `LayerSpec.inputs` is the digest of
every project file a layer reads; two layers with equal kind, args (host paths aside: see HOST_PATHS) and inputs are
the same layer. Standard library only.
"""

from __future__ import annotations

from typing import Literal, NotRequired, TypedDict

HOST_PATHS = ("requirements", "context", "sources", "source", "file")
"""Keys whose values say where an input lies on this machine: never part of a cache key, `inputs` stands for them."""


class AptArgs(TypedDict):
    """Debian packages (`NAME` or `NAME=VERSION`), sorted. recommends: install Recommends too (absent: no)."""

    packages: list[str]
    recommends: NotRequired[bool]


class PipArgs(TypedDict):
    """Python distributions. requirements: a requirements file of the project. venv: a virtual environment made there
    (absent: the system's Python). At least one of packages (sorted) and requirements is there."""

    packages: NotRequired[list[str]]
    requirements: NotRequired[str]
    venv: NotRequired[str]


class NpmArgs(TypedDict):
    """Either `packages` (sorted), installed globally, or `context`: a project directory whose package.json and
    package-lock.json are installed below `to` as `npm ci` does. dev: with devDependencies (absent: without)."""

    packages: NotRequired[list[str]]
    context: NotRequired[str]
    to: NotRequired[str]
    dev: NotRequired[bool]


CopyArgs = TypedDict(
    "CopyArgs",
    {
        "sources": list[str],
        "to": str,
        "from": NotRequired[dict[str, str]],
        "owner": NotRequired[str],
        "mode": NotRequired[int],
        "exclude": NotRequired[list[str]],
    },
)
"""Files of the project, or of another image when `from` is {"image": KEY} or {"reference": REF} (then sources are
paths in that image). A directory's *content* goes to `to`; a file goes to `to`, or below it when `to` ends in "/" or
there are several sources. exclude: further .dockerignore patterns. mode applies to files."""


class FileArgs(TypedDict):
    """One file made by a `files` layer: `content` as written, or a copy of the project's `file`."""

    content: NotRequired[str]
    file: NotRequired[str]
    mode: NotRequired[int]  # absent: 0644
    owner: NotRequired[str]


class FilesArgs(TypedDict):
    """By path in the image; parents are made 0755 root."""

    files: dict[str, FileArgs]


class ArchiveArgs(TypedDict):
    """A tar or zip archive unpacked below `to`: source is a file of the project or an https URL (then sha256, 64 hex
    digits, is there). strip: leading path components to drop."""

    source: str
    to: str
    sha256: NotRequired[str]
    strip: NotRequired[int]
    owner: NotRequired[str]


class UserArgs(TypedDict):
    """One user and its group. gid absent: equal to uid; uid absent: the next free one. home absent: /nonexistent, and
    no directory is made. shell absent: /usr/sbin/nologin."""

    name: str
    uid: NotRequired[int]
    gid: NotRequired[int]
    group: NotRequired[str]  # absent: a group of the user's own name
    groups: NotRequired[list[str]]  # further ones, which exist in the image; sorted
    home: NotRequired[str]
    shell: NotRequired[str]


class LinkArgs(TypedDict):
    """Symbolic links: path in the image -> target as written."""

    links: dict[str, str]


class RemoveArgs(TypedDict):
    """Paths to take away, sorted; a shell-like pattern (`*`, `?`, `[]`) matches within one directory."""

    paths: list[str]


class BuildMount(TypedDict):
    """A directory or file of the project, visible read-only at `to` during a `run` layer."""

    source: str
    to: str


class RunArgs(TypedDict):
    """A command in the image. argv is complete (a string in the YAML became ["/bin/sh", "-ec", TEXT]).

    environment, user and workdir are for this command alone (absent: the image's, root, /). network: "none" or absent
    (a network of its own). cache: directories kept between builds, never part of the layer. secrets: keys below
    `secrets:`, each a file /run/secrets/NAME, 0400, during the command. mounts: inputs of the project."""

    argv: list[str]
    environment: NotRequired[dict[str, str]]
    user: NotRequired[str]
    workdir: NotRequired[str]
    network: NotRequired[Literal["none"]]
    cache: NotRequired[list[str]]
    secrets: NotRequired[list[str]]
    mounts: NotRequired[list[BuildMount]]
