"""Where an engine is: DOCKER_HOST, DOCKER_CERT_PATH, and docker's contexts, read as the docker command reads them.

Sources: docs.docker.com/engine/manage-resources/contexts, docker-cli environment variables. A context's name is
looked up by its SHA-256 below ~/.docker/contexts.
"""

from __future__ import annotations

import os

from envkit.backend.engine_api.errors import EngineUnreachableError
from envkit.values import value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

DEFAULT = "unix:///var/run/docker.sock"
SCHEMES = ("unix", "ssh", "tcp", "http", "https")


@value
class EngineAddress:
    """url: unix:///PATH, ssh://[USER@]HOST[:PORT][/SOCKET] or tcp://HOST:PORT. ca, cert, key: PEM files ("" for none).

    tls: encrypt a tcp connection; verify: demand that the engine's certificate is signed by ca (or the system's).
    source: where this was found, for messages.
    """

    url: str
    ca: str = ""
    cert: str = ""
    key: str = ""
    tls: bool = False
    verify: bool = True
    source: str = ""

    @property
    def scheme(self) -> str:
        return self.url.partition("://")[0]

    @property
    def rest(self) -> str:
        """What follows the scheme: a path, or HOST[:PORT]."""
        return self.url.partition("://")[2]

    @property
    def is_local(self) -> bool:
        """Whether the engine shares this machine's files."""
        return self.scheme == "unix"

    def __str__(self) -> str:
        return f"{self.url} ({self.source})" if self.source else self.url


def find_address(environ: Mapping[str, str], *, context: str = "") -> EngineAddress:
    """The engine that the docker command would use: the context that is asked for, DOCKER_HOST, DOCKER_CONTEXT, the
    current context of ~/.docker/config.json, the default socket. Raises EngineUnreachableError for a context that is
    not there and a URL that cannot be read."""
    config = environ.get("DOCKER_CONFIG") or os.path.join(environ.get("HOME") or "/root", ".docker")
    source = "--context"
    if not context:
        if host := environ.get("DOCKER_HOST"):
            return from_url(host, environ, config, "DOCKER_HOST")
        context, source = environ.get("DOCKER_CONTEXT", ""), "DOCKER_CONTEXT"
    if not context:
        context = str(_read(os.path.join(config, "config.json")).get("currentContext") or "")
        source = os.path.join(config, "config.json")
    if context in ("", "default"):
        return from_url(DEFAULT, environ, config, "docker's default")
    return _from_context(context, config, source)


def from_url(url: str, environ: Mapping[str, str], config: str, source: str) -> EngineAddress:
    """A URL with the certificates that DOCKER_CERT_PATH (else ~/.docker) holds, when DOCKER_TLS_VERIFY or DOCKER_TLS is
    set."""
    url = _checked(url, source)
    verify = bool(environ.get("DOCKER_TLS_VERIFY"))
    if url.startswith(("unix:", "ssh:")) or not (verify or environ.get("DOCKER_TLS") or url.startswith("https:")):
        return EngineAddress(url, source=source)
    folder = environ.get("DOCKER_CERT_PATH") or config
    return EngineAddress(url, *_certificates(folder), tls=True, verify=verify, source=source)


def _checked(url: str, source: str) -> str:
    if "://" not in url:
        url = f"unix://{url}" if url.startswith("/") else f"tcp://{url}"
    scheme, _, rest = url.partition("://")
    if scheme not in SCHEMES or not rest.strip("/"):
        raise EngineUnreachableError(
            "An engine's address cannot be read", f"{source}: {url!r}",
            "write unix:///PATH, ssh://USER@HOST or tcp://HOST:PORT",
        )  # fmt: skip
    if scheme == "tcp" and ":" not in rest.rpartition("]")[2]:
        raise EngineUnreachableError(
            "An engine's address cannot be read", f"{source}: {url!r} has no port", "docker uses 2375, for TLS 2376"
        )
    return url.rstrip("/")


def _certificates(folder: str) -> tuple[str, str, str]:
    paths = [os.path.join(folder, name) for name in ("ca.pem", "cert.pem", "key.pem")]
    ca, cert, key = (path if os.path.exists(path) else "" for path in paths)
    return ca, cert, key


def _from_context(name: str, config: str, source: str) -> EngineAddress:
    from hashlib import sha256

    digest = sha256(name.encode()).hexdigest()
    meta = _read(os.path.join(config, "contexts", "meta", digest, "meta.json"))
    endpoint = (meta.get("Endpoints") or {}).get("docker")
    if not endpoint or not endpoint.get("Host"):
        raise EngineUnreachableError(
            "A docker context does not exist", f"{name!r}, from {source}", "`docker context ls` lists what there is"
        )
    url, where = _checked(str(endpoint["Host"]), f"the context {name}"), f"context {name}"
    ca, cert, key = _certificates(os.path.join(config, "contexts", "tls", digest, "docker"))
    if url.startswith(("unix:", "ssh:")) or not (ca or cert or endpoint.get("SkipTLSVerify")):
        return EngineAddress(url, source=where)
    return EngineAddress(url, ca, cert, key, tls=True, verify=not endpoint.get("SkipTLSVerify"), source=where)


def _read(path: str) -> Mapping[str, Any]:
    import json

    try:
        with open(path, "rb") as file:
            found = json.load(file)
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise EngineUnreachableError("A file of docker's cannot be read", f"{path}: {error}") from None
    return found if isinstance(found, dict) else {}
