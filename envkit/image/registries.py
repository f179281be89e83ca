"""registries.conf: where an image is asked for. What skopeo reads itself (mirrors, blocked, insecure) is read here only
to say early and clearly what cannot be reached; short names are resolved here, since skopeo takes full ones.

Source: containers-registries.conf(5), containers-registries.conf.d(5). A short name is a name without a registry; an
alias comes first, then each of `unqualified-search-registries`, and Docker Hub where neither is configured.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from envkit.errors import EnvkitError
from envkit.image.reference import DEFAULT_DOMAIN, Reference, parse

_HUB = "registry-1.docker.io"  # where docker.io is served


class Endpoint(NamedTuple):
    """A registry's server. host: with its port, if one is written."""

    host: str
    insecure: bool = False


class Registries(NamedTuple):
    """file: given instead of the system's, "" for the system's. search: registries for short names; aliases: short name
    -> full; tables: the [[registry]] tables."""

    file: str
    search: Sequence[str]
    aliases: Mapping[str, str]
    tables: Sequence[Mapping[str, Any]]

    @classmethod
    def load(cls, environ: Mapping[str, str]) -> Registries:
        """What the files say. ENVKIT_REGISTRIES_CONF and CONTAINERS_REGISTRIES_CONF name another main file. Raises
        EnvkitError for a file that cannot be read."""
        given = environ.get("ENVKIT_REGISTRIES_CONF") or environ.get("CONTAINERS_REGISTRIES_CONF") or ""
        search: Sequence[str] = ()
        aliases: dict[str, str] = {}
        tables: dict[str, Mapping[str, Any]] = {}
        for path in _files(given, environ):
            value = _read(path, missing_is_fine=path != given)
            search = value.get("unqualified-search-registries") or search
            aliases.update(value.get("aliases") or {})
            for table in value.get("registry") or ():
                tables[str(table.get("prefix") or table.get("location") or "")] = table
        return cls(given, tuple(search), {name: to for name, to in aliases.items() if to}, tuple(tables.values()))

    def candidates(self, text: str) -> list[Reference]:
        """The full references that text may mean, in the order of asking. Raises InvalidReferenceError."""
        known = parse(text)
        if not _is_short(text, known):
            return [known]
        path = text.partition("@")[0].partition(":")[0]
        if alias := self.aliases.get(path):
            return [parse(alias + known.suffix)]
        return [parse(f"{domain}/{path}{known.suffix}") for domain in self.search] or [known]

    def endpoints(self, reference: Reference) -> list[Endpoint]:
        """The servers that are asked, mirrors first."""
        table = self._table(reference) or {}
        found = [
            Endpoint(str(mirror["location"]).partition("/")[0], bool(mirror.get("insecure")))
            for mirror in table.get("mirror") or () if mirror.get("location") and _applies(mirror, table, reference)
        ]  # fmt: skip
        host = str(table.get("location") or reference.domain).partition("/")[0]
        found.append(Endpoint(_HUB if host == DEFAULT_DOMAIN else host, bool(table.get("insecure"))))
        return found

    def is_blocked(self, reference: Reference) -> bool:
        return bool((self._table(reference) or {}).get("blocked"))

    def mentions(self, reference: Reference) -> bool:
        """Whether a table is about the reference, so that nothing about it is to be guessed."""
        return self._table(reference) is not None

    def _table(self, reference: Reference) -> Mapping[str, Any] | None:
        """The table with the longest prefix."""
        best: tuple[int, Mapping[str, Any] | None] = (-1, None)
        for table in self.tables:
            prefix = str(table.get("prefix") or table.get("location") or "")
            if _begins(str(reference), reference.domain, prefix) and len(prefix) > best[0]:
                best = (len(prefix), table)
        return best[1]


def _is_short(text: str, known: Reference) -> bool:
    return known.domain == DEFAULT_DOMAIN and not text.startswith((f"{DEFAULT_DOMAIN}/", f"index.{DEFAULT_DOMAIN}/"))


def _begins(name: str, domain: str, prefix: str) -> bool:
    if prefix.startswith("*."):
        return domain.endswith(prefix[1:])
    return bool(prefix) and name.startswith(prefix) and name[len(prefix) : len(prefix) + 1] in ("", "/", ":", "@")


def _applies(mirror: Mapping[str, Any], table: Mapping[str, Any], reference: Reference) -> bool:
    when = mirror.get("pull-from-mirror") or ("digest-only" if table.get("mirror-by-digest-only") else "all")
    return when in ("all", "digest-only" if reference.digest else "tag-only")


def _files(given: str, environ: Mapping[str, str]) -> Iterable[str]:
    """The main file, then the drop-ins in the order of their names, the user's after the system's."""
    own = os.path.join(environ.get("HOME") or "/", ".config/containers")
    main = os.path.join(own, "registries.conf")
    if given:
        yield given
    else:
        yield main if os.path.exists(main) else "/etc/containers/registries.conf"
    for directory in ("/etc/containers/registries.conf.d", os.path.join(own, "registries.conf.d")):
        try:
            names = sorted(os.listdir(directory))
        except OSError:
            continue  # absent, or not this user's to read: then it says nothing to skopeo either
        yield from (os.path.join(directory, name) for name in names if name.endswith(".conf"))


def _read(path: str, *, missing_is_fine: bool) -> dict[str, Any]:
    try:
        with open(path, "rb") as file:
            return tomllib.load(file)
    except FileNotFoundError:
        if missing_is_fine:
            return {}
        raise EnvkitError("a file of registries does not exist", path, "correct ENVKIT_REGISTRIES_CONF") from None
    except (OSError, ValueError) as error:
        raise EnvkitError("a file of registries cannot be read", f"{path}: {error}", "correct it") from error
