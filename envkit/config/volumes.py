"""The short syntax of `volumes:` and `devices:` (Compose Specification, 05-services.md#short-syntax-5)."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


_PROPAGATIONS = ("rprivate", "private", "rshared", "shared", "rslave", "slave")
_SELINUX = ("z", "Z")


def parse_volume(text: str) -> dict[str, Any]:
    """`[SOURCE:]TARGET[:OPTIONS]` as the long syntax. Raises ValueError.

    A single letter before a colon is taken for a Windows drive, as in Compose: `n:/e` is one path.
    """
    if not text:
        raise ValueError("an empty volume")
    if len(text) <= 2:
        return {"type": "volume", "target": text}
    parts = _split(text)
    if any(not part for part in parts):
        raise ValueError(f"{text!r} has an empty section between colons")
    if len(parts) > 3:
        raise ValueError(f"{text!r} has too many colons")
    made: dict[str, Any] = {"type": "volume"}
    if len(parts) > 1:
        made["source"] = parts[0]
    made["target"] = parts[min(1, len(parts) - 1)]
    bind, volume = _options(parts[2], made) if len(parts) == 3 else ({}, None)
    if is_path(made.get("source", "")):
        made["type"] = "bind"
        made["bind"] = bind | {"create_host_path": True}
    else:
        volume = volume or {}
        if bind:
            made["bind"] = bind
    if volume is not None:
        made["volume"] = volume
    return made


def _options(text: str, made: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any] | None]:
    """The options for a bind mount and for a volume; `ro` goes to made. Unknown ones are left out, as in Compose."""
    bind: dict[str, Any] = {}
    volume: dict[str, Any] | None = None
    for option in text.split(","):
        if option == "ro":
            made["read_only"] = True
        elif option == "rw":
            made.pop("read_only", None)
        elif option == "nocopy":
            volume = {"nocopy": True}
        elif option in _PROPAGATIONS:
            bind["propagation"] = option
        elif option in _SELINUX:
            bind["selinux"] = option
    return bind, volume


def _split(text: str) -> list[str]:
    """At colons, but not behind a drive letter nor inside `${…}`."""
    parts: list[str] = []
    buffer, depth = "", 0
    for index, char in enumerate(text):
        if char == "$" and text[index + 1 : index + 2] == "{":
            depth += 1
        elif char == "}" and depth:
            depth -= 1
        elif char == ":" and not depth and not (len(buffer) == 1 and buffer.isalpha()):
            parts.append(buffer)
            buffer = ""
            continue
        buffer += char
    parts.append(buffer)
    return parts


def is_path(source: str) -> bool:
    """Whether the source of a short syntax is a path of the host rather than a volume's name."""
    return source[:1] in (".", "/", "~") or source.startswith("\\\\") or (
        len(source) > 1 and source[0].isalpha() and source[1] == ":")  # fmt: skip


def parse_device(text: str) -> dict[str, Any]:
    """`SOURCE[:TARGET[:PERMISSIONS]]`, or a CDI name such as `vendor.com/class=name`. Raises ValueError."""
    parts = text.split(":")
    if len(parts) > 3:
        raise ValueError(f"{text!r} has too many colons")
    source = parts[0]
    target = parts[1] if len(parts) > 1 and parts[1] else source
    permissions = "rwm"
    if len(parts) == 3:
        permissions = parts[2]
    return {"source": source, "target": target, "permissions": permissions}
