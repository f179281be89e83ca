"""What a registry, or the way to it, said: a constant sentence, what exactly, and what to do about it."""

from __future__ import annotations

import re
from collections.abc import Sequence

from envkit.errors import HostError


class RegistryError(HostError):
    """kind: one of the keys of this module's table; transient: whether asking again may help."""

    def __init__(
        self, kind: str, detail: str, *, command: Sequence[str] = (), returncode: int = 0, stderr: str = ""
    ) -> None:
        summary, hint = _KINDS[kind]
        super().__init__(summary, detail, hint, command=command, returncode=returncode, stderr=stderr)
        self.kind = kind

    @property
    def transient(self) -> bool:
        return self.kind in ("interrupted", "server", "damaged")


_KINDS = {
    "blocked": ("the registry is blocked on this machine", "registries.conf(5) forbids it: `blocked = true`"),
    "certificate": (
        "the registry's certificate is not trusted",
        "put its authority's certificate into /etc/containers/certs.d/HOST:PORT/ca.crt or /etc/docker/certs.d/HOST:PORT"
        "/ca.crt, or say `insecure = true` for it in registries.conf(5)",
    ),
    "plain-http": ("the registry does not speak TLS", "say `insecure = true` for it in registries.conf(5)"),
    "unauthorised": (
        "the registry refuses these credentials, or wants some",
        "log in by `skopeo login HOST` or `docker login HOST`; many show a private image as one that is not there",
    ),
    "not-found": ("the registry has no such image", "check the name and the tag"),
    "rate-limited": ("the registry refuses more requests for now", "wait, log in for a higher limit, or use a mirror"),
    "unknown-host": (
        "the registry's name is not known", "check its spelling, the network and the name server; a mirror of "
        "registries.conf(5) or `envkit image load FILE` does without it",
    ),
    "refused": ("the registry does not accept connections", "check that it runs, and its port"),
    "unreachable": (
        "the registry cannot be reached", "check the network; a mirror of registries.conf(5) or `envkit image load "
        "FILE` does without it",
    ),
    "disk-full": ("there is no space left for the image", "free some space, for instance by `envkit gc`"),
    "policy": ("this machine's policy rejects the image", "see containers-policy.json(5)"),
    "unsupported": ("this is no image that can be run", "the reference means something else, such as a chart"),
    "server": ("the registry failed", "try again; its administrators can see why in its log"),
    "damaged": ("what the registry sent is not what was asked for", "try again; the registry or a proxy damages it"),
    "interrupted": ("the connection to the registry broke", "run the command again: what is here already is kept"),
    "other": ("skopeo failed", ""),
}  # fmt: skip

_SIGNS = (
    ("blocked", r"is blocked in"),
    ("disk-full", r"no space left|quota exceeded"),
    ("certificate", r"x509:|certificate|tls: (?:unknown|bad|failed)"),
    ("plain-http", r"server gave HTTP response to HTTPS client|first record does not look like a TLS handshake"),
    ("rate-limited", r"toomanyrequests|429|rate limit"),
    ("unauthorised", r"unauthorized|authentication required|denied|invalid username/password|\b40[13]\b|forbidden"),
    ("not-found", r"manifest unknown|name unknown|not found|repository name not known|\b404\b"),
    ("unknown-host", r"no such host|server misbehaving|Temporary failure in name resolution"),
    ("refused", r"connection refused"),
    ("unreachable", r"i/o timeout|no route to host|network is unreachable|context deadline exceeded|Client\.Timeout"),
    ("damaged", r"[Dd]igest did not match|does not match|unexpected EOF while|verifier"),
    ("interrupted", r"connection reset|broken pipe|\bEOF\b|use of closed network|GOAWAY|stream error"),
    ("server", r"\b50[0234]\b|server error|unavailable"),
    ("policy", r"rejected by policy|policy"),
)

_MESSAGE = re.compile(r'msg="((?:[^"\\]|\\.)*)"')


def from_text(text: str, reference: str, *, command: Sequence[str] = (), returncode: int = 0) -> RegistryError:
    """The error for what skopeo said, on its stderr or through its proxy, about reference."""
    found = _MESSAGE.findall(text)
    said = found[-1].encode("latin-1", "replace").decode("unicode_escape") if found else text.strip()
    said = re.sub(r'^(?:Error parsing image name|parsing image name) ?"[^"]*": ', "", said)
    kind = next((kind for kind, sign in _SIGNS if re.search(sign, said)), "other")
    if "Mirrors also failed" in said and kind == "unknown-host":
        kind = "unreachable"
    detail = said if reference in said else f"{reference}: {said}"
    return RegistryError(kind, detail, command=command, returncode=returncode, stderr=text)
