"""Who one is at a registry, as the engine wants it: the header X-Registry-Auth (Engine API, Authentication)."""

from __future__ import annotations

import base64
import json
import os

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


def auth_of(reference: str) -> dict[str, str]:
    """The same for an image; {} for an id, which no registry has."""
    if reference.startswith("sha256:"):
        return {}
    from envkit.image.reference import parse

    return auth_header(parse(reference).domain)
