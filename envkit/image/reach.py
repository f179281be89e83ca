"""Can a registry's server be reached at all? Asked before skopeo is, which waits half a minute for each try."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Mapping, Sequence
from urllib.parse import urlsplit

from envkit.image.registries import Endpoint
from envkit.image.registry_errors import RegistryError

SECONDS = 4.0  # for looking up a name and for connecting, together
_known: set[str] = set()  # hosts that this process has reached
_silent: dict[str, float] = {}  # host -> when it did not answer; not asked again for _MEMORY seconds
_MEMORY = 15.0


def check(endpoints: Sequence[Endpoint], reference: str, environ: Mapping[str, str]) -> None:
    """Return when one of the endpoints accepts connections. Raises RegistryError naming each and why it does not."""
    if any(item.host in _known for item in endpoints):
        return
    hosts = [item.host for item in endpoints]
    if all(time.monotonic() - _silent.get(host, -_MEMORY) < _MEMORY for host in hosts):
        raise RegistryError("unreachable", f"{reference}: no answer from {', '.join(hosts)} a moment ago")
    tries = [_Try(host, _proxy(host, environ)) for host in hosts]
    for one in tries:
        one.join(SECONDS)
        if one.works:
            _known.add(one.host)
            return
        if one.kind == "unreachable":
            _silent[one.host] = time.monotonic()
    kinds = {one.kind for one in tries}
    detail = "; ".join(dict.fromkeys(f"{one.host}: {one.why}" for one in tries))
    raise RegistryError(kinds.pop() if len(kinds) == 1 else "unreachable", f"{reference}: {detail}")


def forget() -> None:
    """Whatever was reached, or not, counts no longer."""
    _known.clear()
    _silent.clear()


class _Try(threading.Thread):
    """One attempt in a thread of its own, since looking up a name cannot be limited in time otherwise."""

    def __init__(self, host: str, proxy: str) -> None:
        super().__init__(daemon=True, name=f"reach {host}")
        self.host, self._server = host, proxy or host
        self.works = False
        self.kind, self.why = "unreachable", f"no answer within {SECONDS:g} s"
        self.start()

    def run(self) -> None:
        address = urlsplit(f"//{self._server}")
        ports = [address.port] if address.port else [443, 80]
        for port in ports:
            try:
                socket.create_connection((address.hostname or "", port), SECONDS).close()
            except socket.gaierror as error:
                self.kind, self.why = "unknown-host", f"{address.hostname}: {error.strerror}"
                return
            except ConnectionRefusedError:
                self.kind, self.why = "refused", f"nothing listens on port {port}"
            except OSError as error:
                self.kind, self.why = "unreachable", error.strerror or str(error)
            else:
                self.works = True
                return


def _proxy(host: str, environ: Mapping[str, str]) -> str:
    """HOST:PORT of the proxy that leads to host, as Go's net/http reads the environment; "" for none."""
    name = host.rpartition(":")[0] or host
    if name in ("localhost", "::1") or name.startswith("127."):
        return ""
    for excluded in (environ.get("NO_PROXY") or environ.get("no_proxy") or "").split(","):
        bare = excluded.strip().lstrip(".")
        if bare and (bare in ("*", name) or name.endswith(f".{bare}")):
            return ""
    proxy = environ.get("HTTPS_PROXY") or environ.get("https_proxy") or ""
    if not proxy:
        return ""
    found = urlsplit(proxy if "://" in proxy else f"http://{proxy}")
    default = {"https": 443, "socks5": 1080}.get(found.scheme, 80)
    return f"{found.hostname}:{found.port or default}"


def is_loopback(host: str) -> bool:
    """Whether host is this machine: such registries may speak plain HTTP, as with Docker."""
    name = host.rpartition(":")[0] if not host.endswith("]") else host
    return (name or host) in ("localhost", "[::1]") or (name or host).startswith("127.")


def policy_exists(environ: Mapping[str, str]) -> bool:
    """Whether this machine has a policy about images (containers-policy.json(5)); skopeo works without one only when
    it is told so."""
    home = environ.get("HOME") or "/"
    return any(map(os.path.exists, (f"{home}/.config/containers/policy.json", "/etc/containers/policy.json")))
