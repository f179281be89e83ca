"""Debian's package database of a root, and apt's words about it. Pure but for reading the one file.

Sources: deb822(5), dpkg-query(1), apt-get(8) (`--simulate`), apt_preferences(5).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from envkit.host.beneath import read_beneath

_INSTALL = re.compile(r"^Inst (?P<name>\S+) (?:\[[^\]]*\] )?\((?P<version>\S+) ")
_CODENAME = re.compile(r'^VERSION_CODENAME="?([a-z]+)"?$', re.MULTILINE)
_MISSING = re.compile(
    r"^E: (?:Unable to locate package (?P<name>\S+)|Package '(?P<other>[^']+)' has no installation candidate"
    r"|Version '(?P<version>[^']+)' for '(?P<versioned>[^']+)' was not found)", re.MULTILINE,
)  # fmt: skip


def installed(root: str) -> dict[str, str]:
    """Installed packages and their versions; a foreign architecture's as `name:arch`."""
    data = (read_beneath(root, "var/lib/dpkg/status", 256 << 20) or b"").decode(errors="replace")
    native = _native(root)
    found = {}
    for stanza in data.split("\n\n"):
        fields = dict(
            line.split(": ", 1) for line in stanza.splitlines()
            if line.startswith(("Package: ", "Version: ", "Status: ", "Architecture: "))
        )  # fmt: skip
        if fields.get("Status", "").endswith(" installed"):
            architecture = fields.get("Architecture", "all")
            name = fields["Package"] if architecture in ("all", native) else f"{fields['Package']}:{architecture}"
            found[name] = fields.get("Version", "")
    return found


def _native(root: str) -> str:
    """The architecture of the root: dpkg's own (its package is there wherever there is a database)."""
    data = (read_beneath(root, "var/lib/dpkg/status", 256 << 20) or b"").decode(errors="replace")
    match = re.search(r"^Package: dpkg\n(?:.+\n)*?Architecture: (\S+)$", data, re.MULTILINE)
    return match[1] if match else ""


def suite_of(root: str) -> str:
    """The lock's name of what the root is made of, `bookworm/amd64` (or what /etc/debian_version says)."""
    data = read_beneath(root, "etc/os-release") or read_beneath(root, "usr/lib/os-release") or b""
    match = _CODENAME.search(data.decode(errors="replace"))
    if match:
        return f"{match[1]}/{_native(root)}"
    debian = (read_beneath(root, "etc/debian_version") or b"").decode(errors="replace").partition("/")[0].strip()
    return f"{debian or 'unknown'}/{_native(root)}"


def to_install(output: Iterable[str]) -> dict[str, str]:
    """Package and version of every `Inst` line of a simulation."""
    found = {}
    for line in output:
        if match := _INSTALL.match(line):
            found[match["name"]] = match["version"]
    return found


def preferences(versions: Mapping[str, str]) -> str:
    """apt_preferences that hold every package at its version, downgrades included."""
    return "\n".join(
        f"Package: {name}\nPin: version {version}\nPin-Priority: 1001\n" for name, version in sorted(versions.items())
    )


def missing(output: Iterable[str]) -> list[str]:
    """The packages that apt says it does not know."""
    return [
        match["name"] or match["other"] or f"{match['versioned']}={match['version']}"
        for match in _MISSING.finditer("\n".join(output))
    ]
