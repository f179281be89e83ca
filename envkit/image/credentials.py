"""Who one is at a registry: the files of docker login, podman login and skopeo login, and Docker's credential helpers.

All files count, the first that knows a registry wins: REGISTRY_AUTH_FILE, DOCKER_CONFIG/config.json,
$XDG_RUNTIME_DIR/containers/auth.json, ~/.config/containers/auth.json, ~/.docker/config.json. Sources:
containers-auth.json(5); Docker CLI, "docker login", "Credential stores" and "Credential helpers".

What was found is given to a program as a file in memory, never as an argument and never on a disk.
"""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from envkit.errors import EnvkitError, HostError, UnsupportedError
from envkit.host.process import run

_HUB = "docker.io"
_HUB_SERVER = "https://index.docker.io/v1/"  # what docker login calls Docker Hub
_HELPER_SECONDS = 30.0


@contextmanager
def authfile(hosts: Iterable[str], environ: Mapping[str, str]) -> Iterator[tuple[str, int]]:
    """(path, file descriptor to pass on) of a file with everything known about hosts. Raises EnvkitError."""
    descriptor = os.memfd_create("auth", os.MFD_CLOEXEC)
    try:
        os.write(descriptor, json.dumps({"auths": found(hosts, environ)}).encode())
        yield f"/proc/self/fd/{descriptor}", descriptor
    finally:
        os.close(descriptor)


def found(hosts: Iterable[str], environ: Mapping[str, str]) -> dict[str, dict[str, str]]:
    """The `auths` of an auth file: what the files say, and the helpers about hosts."""
    auths: dict[str, dict[str, str]] = {}
    settled: set[str] = set()
    for path in _paths(environ):
        value = _read(path)
        for host in hosts:
            helper = (value.get("credHelpers") or {}).get(host) or value.get("credsStore")
            if helper and host not in settled and (entry := _ask(str(helper), host, environ)):
                auths[host] = entry
                settled.add(host)
        for name, entry in (value.get("auths") or {}).items():
            if isinstance(entry, dict) and entry.keys() & {"auth", "identitytoken"} and name not in auths:
                auths[name] = {key: str(entry[key]) for key in ("auth", "identitytoken") if entry.get(key)}
                settled.add(_host(name))
    return auths


def _paths(environ: Mapping[str, str]) -> list[str]:
    home, docker_config = environ.get("HOME") or "/", environ.get("DOCKER_CONFIG")
    named = [environ.get("REGISTRY_AUTH_FILE"), docker_config and f"{docker_config}/config.json"]
    runtime = environ.get("XDG_RUNTIME_DIR")
    usual = [runtime and f"{runtime}/containers/auth.json", f"{home}/.config/containers/auth.json"]
    if not runtime:
        usual.insert(0, f"/run/containers/{os.getuid()}/auth.json")
    docker = [] if docker_config else [f"{home}/.docker/config.json"]
    return [path for path in (*named, *usual, *docker) if path]


def _read(path: str) -> dict[str, Any]:
    try:
        with open(path, "rb") as file:
            value = json.loads(file.read() or b"{}")
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else f"not JSON: {error}"
        hint = "log in again, or delete it"
        raise EnvkitError("a file of credentials cannot be read", f"{path}: {why}", hint) from error
    return value if isinstance(value, dict) else {}


def _host(name: str) -> str:
    """`index.docker.io` for "https://index.docker.io/v1/"."""
    host = name.removeprefix("https://").removeprefix("http://").partition("/")[0]
    return _HUB if host in ("index.docker.io", "registry-1.docker.io") else host


def _ask(helper: str, host: str, environ: Mapping[str, str]) -> dict[str, str] | None:
    """What docker-credential-HELPER knows of host; None for nothing. The secret comes through a pipe."""
    server = _HUB_SERVER if host == _HUB else host
    program = f"docker-credential-{helper}"
    try:
        done = run([program, "get"], input=server.encode(), env=dict(environ), timeout=_HELPER_SECONDS, check=False)
    except UnsupportedError as error:
        hint = f"install {program}, or log in without a credential store"
        raise UnsupportedError("a credential helper is not installed", program, hint) from error
    if done.returncode:
        said = (done.stdout + done.stderr).decode(errors="replace").strip()
        if "not found" in said.lower():
            return None
        raise HostError("a credential helper failed", f"{program}: {said[:200]}", command=[program, "get"])
    try:
        value = json.loads(done.stdout)
        name, secret = str(value["Username"]), str(value["Secret"])
    except (ValueError, KeyError, TypeError) as error:
        raise HostError("a credential helper gave no credentials", program, command=[program, "get"]) from error
    if name == "<token>":
        return {"identitytoken": secret}
    return {"auth": base64.b64encode(f"{name}:{secret}".encode()).decode()}
