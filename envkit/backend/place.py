"""From the settings of a target to the engines that it names."""

from __future__ import annotations

import os

from envkit.backend.engine_api import EngineAddress, find_address
from envkit.backend.engine_api.address import from_url
from envkit.values import replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any


def engine_address(place: Mapping[str, Any], environ: Mapping[str, str], *, host: str = "") -> EngineAddress:
    """The engine of a target (host: of another engine of it): its `host`, its `context`, or where the docker command
    would go. Raises EngineUnreachableError for an address that cannot be read."""
    url = host or str(place.get("host") or "")
    if not url:
        return find_address(environ, context=str(place.get("context") or ""))
    config = environ.get("DOCKER_CONFIG") or os.path.join(environ.get("HOME") or "/root", ".docker")
    found = from_url(url, environ, config, "targets")
    tls: Mapping[str, Any] = place.get("tls") or {}
    if tls and found.scheme in ("tcp", "https"):
        ca, cert, key = (_path(place, tls.get(name)) for name in ("ca", "cert", "key"))
        found = replace(found, ca=ca, cert=cert, key=key, tls=True, verify=tls.get("verify", True) is not False)
    return found


def node_addresses(place: Mapping[str, Any], environ: Mapping[str, str]) -> list[EngineAddress]:
    """The engines of `nodes:`."""
    return [engine_address(place, environ, host=str(url)) for url in place.get("nodes") or ()]


def _path(place: Mapping[str, Any], written: Any) -> str:
    if not written:
        return ""
    return os.path.normpath(os.path.join(str(place.get("directory") or ""), os.path.expanduser(str(written))))  # noqa: PTH111
