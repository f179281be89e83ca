"""The contexts of a build: the directory that it reads from, and further ones by name.

A Git URL is fetched when git is here. Source: Docker documentation, "Build context" (Git fragments `#ref:directory`);
Compose Build Specification, `additional_contexts`.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, NamedTuple

from envkit.errors import NotFoundError, UnsupportedError
from envkit.host.git import checkout, is_git
from envkit.host.ignore import Ignore, of_dockerfile
from envkit.host.tree import StatCache
from envkit.image.dockerfile.sources import Source
from envkit.image.step import Context

DOCKERFILE = "Dockerfile"


class Named(NamedTuple):
    """A further context: a directory (source), or an image of the store (base: what bases.make understands)."""

    source: Source | None
    base: Mapping[str, str] | None = None


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
    """The directory of a Git URL, below the cache."""
    place = checkout(os.path.join(context.home.cache, "build", "git"), url, context.environ)
    if not os.path.isdir(place):
        raise NotFoundError("a Git context has no such directory", url, "it is what follows `:` after the #")
    return place
