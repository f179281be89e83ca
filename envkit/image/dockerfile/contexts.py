"""The contexts of a build: the directory that it reads from, and further ones by name.

A Git URL is fetched when git is here. Source: Docker documentation, "Build context" (Git fragments `#ref:directory`);
Compose Build Specification, `additional_contexts`.
"""

from __future__ import annotations

import hashlib
import os
import posixpath
from collections.abc import Mapping
from typing import Any, NamedTuple

from envkit.errors import HostError, NotFoundError, UnsupportedError
from envkit.host import files
from envkit.host.ignore import Ignore, of_dockerfile
from envkit.host.lock import Lock
from envkit.host.process import find, run
from envkit.host.tree import StatCache
from envkit.image.dockerfile.sources import Source
from envkit.image.step import Context

DOCKERFILE = "Dockerfile"


class Named(NamedTuple):
    """A further context: a directory (source), or an image of the store (base: what bases.make understands)."""

    source: Source | None
    base: Mapping[str, str] | None = None


def is_git(text: str) -> bool:
    """Whether a context is a Git URL."""
    head = text.partition("#")[0]
    return text.startswith(("git://", "git@", "ssh://", "github.com/")) or (
        text.startswith(("https://", "http://", "file://")) and (head.endswith(".git") or "#" in text)
    )


def read(context: Context, asked: Mapping[str, Any]) -> tuple[Source, str, str]:
    """(the build's context, the Dockerfile's text, its path for messages). Raises NotFoundError."""
    directory = _directory(context, str(asked.get("context") or context.directory))
    inline = asked.get("dockerfile_inline")
    if inline:
        return _source(context, directory, "the build's context", ""), str(inline), "dockerfile_inline"
    path = os.path.normpath(os.path.join(directory, str(asked.get("dockerfile") or DOCKERFILE)))
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as file:
            text = file.read()
    except OSError as error:
        hint = "create it, or name another one by `dockerfile:`"
        raise NotFoundError("the Dockerfile cannot be read", f"{path}: {error.strerror}", hint) from error
    return _source(context, directory, "the build's context", path), text, path


def named(context: Context, asked: Mapping[str, Any]) -> dict[str, Named]:
    """The additional contexts. Raises NotFoundError, UnsupportedError."""
    made = {}
    for name, text in (asked.get("additional_contexts") or {}).items():
        kind, colon, rest = str(text).partition(":")
        if kind == "image" and colon:
            made[name] = Named(None, {"image": rest})
        elif kind == "docker-image" and rest.startswith("//"):
            made[name] = Named(None, {"reference": rest[2:]})
        elif kind == "oci-layout" and rest.startswith("//"):
            path, _, tag = rest[2:].partition(":")
            made[name] = Named(None, {"oci": os.path.join(context.directory, path), **({"tag": tag} if tag else {})})
        else:
            directory = _directory(context, str(text))
            made[name] = Named(_source(context, directory, f"the context {name}", ""))
    return made


def _source(context: Context, directory: str, name: str, dockerfile: str) -> Source:
    path = of_dockerfile(directory, dockerfile)
    ignore = Ignore.from_file(path) if path else Ignore()
    return Source(directory, name, ignore, cache=StatCache.at(context.home.cache, directory + "//dockerfile"))


def _directory(context: Context, text: str) -> str:
    """The directory of a context on this machine."""
    if is_git(text):
        return clone(context, text)
    if "://" in text:
        hint = "download and unpack it, and name the directory"
        raise UnsupportedError("a context cannot be fetched from there", text, hint)
    path = os.path.join(context.directory, text)
    if not os.path.isdir(path):
        raise NotFoundError("the context is no directory", path, "create it, or correct the path")
    return path


def clone(context: Context, url: str) -> str:
    """A checkout of a Git URL below the cache; its reference is looked up each time."""
    if find("git") is None:
        hint = "install the package git, or clone it yourself and name the directory"
        raise UnsupportedError("a Git context needs git", url, hint)
    address, _, fragment = url.partition("#")
    reference, _, inside = fragment.partition(":")
    if address.startswith("github.com/"):
        address = "https://" + address
    name = hashlib.sha256(f"{address}#{reference}".encode()).hexdigest()[:24]
    base = os.path.join(context.home.cache, "build", "git")
    files.make_directory(base, 0o700)
    path = os.path.join(base, name)
    environment = {
        **{key: value for key, value in context.environ.items() if not key.startswith("GIT_")},
        "GIT_TERMINAL_PROMPT": "0",
    }
    with Lock(path + ".lock", {"purpose": "fetching a Git context"}):
        try:
            if not os.path.isdir(os.path.join(path, ".git")):
                run(["git", "init", "--quiet", path], env=environment, timeout=60)
            fetch = ["fetch", "--quiet", "--depth", "1", "--force", "--", address, reference or "HEAD"]
            run(["git", "-C", path, *fetch], env=environment, timeout=600)
            run(["git", "-C", path, "checkout", "--quiet", "--force", "FETCH_HEAD"], env=environment, timeout=120)
            run(["git", "-C", path, "clean", "--quiet", "-ffdx"], env=environment, timeout=120)
        except HostError as error:
            hint = "check the URL, the reference after #, and that git can reach it without asking"
            raise NotFoundError("a Git context cannot be fetched", f"{url}: {error.stderr.strip()}", hint) from error
    place = os.path.realpath(os.path.join(path, posixpath.normpath("/" + inside).lstrip("/")))
    if not (place + "/").startswith(os.path.realpath(path) + "/") or not os.path.isdir(place):
        raise NotFoundError("a Git context has no such directory", url, "it is what follows `:` after the #")
    return place
