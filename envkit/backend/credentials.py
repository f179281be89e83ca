"""Who one is at a registry, as the engine wants it: the header X-Registry-Auth (Engine API, Authentication)."""

from __future__ import annotations

import base64
import json
import os

from envkit.errors import EnvkitError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

HUB = "docker.io"


def auth_header(domain: str) -> dict[str, str]:
    """{} where nothing is known."""
    from envkit.image.credentials import found

    auths = found([domain], os.environ)
    others = ("https://index.docker.io/v1/", "index.docker.io") if domain == HUB else ()
    names = (domain, f"https://{domain}", *others)
    entry = next((auths[name] for name in names if name in auths), None)
    if entry is None:
        return {}
    known = {"serveraddress": "https://index.docker.io/v1/" if domain == HUB else domain}
    if token := entry.get("identitytoken"):
        known["identitytoken"] = token
    elif auth := entry.get("auth"):
        user, _, password = base64.b64decode(auth).decode(errors="replace").partition(":")
        known |= {"username": user, "password": password}
    return {"X-Registry-Auth": base64.urlsafe_b64encode(json.dumps(known).encode()).decode()}


def config_header(references: Sequence[str]) -> dict[str, str]:
    """X-Registry-Config of a build, for the registries of its bases (Engine API, Image, Build)."""
    from envkit.image.reference import parse

    found = {}
    for reference in references:
        try:
            domain = parse(reference).domain
        except EnvkitError:
            continue  # a stage's name, or what the builder refuses itself
        if header := auth_header(domain).get("X-Registry-Auth"):
            known = json.loads(base64.urlsafe_b64decode(header))
            found[known["serveraddress"]] = known
    return {"X-Registry-Config": base64.urlsafe_b64encode(json.dumps(found).encode()).decode()} if found else {}


def auth_of(reference: str) -> dict[str, str]:
    """The same for an image; {} for an id, which no registry has."""
    if reference.startswith("sha256:"):
        return {}
    from envkit.image.reference import parse

    return auth_header(parse(reference).domain)
