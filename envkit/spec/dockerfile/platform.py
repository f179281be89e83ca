"""This machine's platform in the words of images, and the arguments that every Dockerfile has.

Source: Dockerfile reference, "Automatic platform ARGs in the global scope"; Go's GOOS and GOARCH.
"""

from __future__ import annotations

import os

_ARCHITECTURES = {
    "x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm", "i686": "386", "i386": "386", "loongarch64": "loong64",
}  # fmt: skip
_VARIANTS = {"armv7l": "v7"}
_SPELLINGS = {"x86_64": "amd64", "x86-64": "amd64", "aarch64": "arm64", "arm64/v8": "arm64", "armhf": "arm/v7"}


def architecture() -> str:
    """This machine's architecture in Go's words."""
    machine = os.uname().machine
    return _ARCHITECTURES.get(machine, machine)


def is_native(platform: str) -> bool:
    """Whether `linux/amd64` (or `amd64`, or "") is what this machine runs."""
    kind, slash, rest = platform.lower().partition("/")
    system, wanted = (kind, rest) if slash and kind in ("linux", "windows", "darwin") else ("linux", platform.lower())
    if wanted in ("", "linux"):
        return system == "linux"
    wanted = _SPELLINGS.get(wanted, wanted)
    variant = _VARIANTS.get(os.uname().machine, "")
    return system == "linux" and wanted in (architecture(), f"{architecture()}/{variant}")


def platform_arguments() -> dict[str, str]:
    """TARGETPLATFORM and its relatives."""
    variant = _VARIANTS.get(os.uname().machine, "")
    whole = f"linux/{architecture()}" + (f"/{variant}" if variant else "")
    words = {"PLATFORM": whole, "OS": "linux", "ARCH": architecture(), "VARIANT": variant}
    return {side + word: value for side in ("TARGET", "BUILD") for word, value in words.items()}
