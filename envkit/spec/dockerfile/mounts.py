"""`RUN --mount=…` as a value. Source: Dockerfile reference, "RUN --mount"."""

from __future__ import annotations

import csv
from collections.abc import Callable

from envkit.values import value

_KINDS = ("bind", "cache", "tmpfs", "secret", "ssh")
_ALLOWED = {
    "bind": {"target", "source", "from", "rw"},
    "cache": {"id", "target", "ro", "sharing", "from", "source", "mode", "uid", "gid"},
    "tmpfs": {"target", "size"},
    "secret": {"id", "target", "required", "mode", "uid", "gid", "env"},
    "ssh": {"id", "target", "required", "mode", "uid", "gid"},
}
_ALIASES = {"dst": "target", "destination": "target", "src": "source", "readonly": "ro", "readwrite": "rw"}
_SHARING = ("shared", "private", "locked")
_UNITS = {"": 1, "b": 1, "k": 1 << 10, "kb": 1 << 10, "m": 1 << 20, "mb": 1 << 20, "g": 1 << 30, "gb": 1 << 30}


class MountError(ValueError):
    """A mount cannot be read; the text says why."""


@value
class RunMount:
    """origin: the stage, image or context of `from`, "" for the build's context. size: bytes, 0: no limit."""

    kind: str
    target: str = ""
    source: str = ""
    origin: str = ""
    id: str = ""
    writable: bool = False
    sharing: str = "shared"
    required: bool = False
    mode: int | None = None
    uid: int = 0
    gid: int = 0
    env: str = ""
    size: int = 0


def parse_mount(text: str, expand: Callable[[str], str] = lambda word: word) -> RunMount:
    """The mount that `type=cache,target=/x` means; expand replaces variables in values. Raises MountError."""
    values: dict[str, str] = {}
    for part in next(csv.reader([text]), []):
        key, equals, value = part.partition("=")
        name = _ALIASES.get(key.strip().lower(), key.strip().lower())
        values[name] = expand(value.strip()) if equals else "true"
    kind = values.pop("type", "bind")
    if kind not in _KINDS:
        raise MountError(f"type={kind} is not one of {', '.join(_KINDS)}")
    if kind in ("bind", "cache"):
        if "ro" in values and kind == "bind":
            values["rw"] = "false" if _true(values.pop("ro")) else "true"
        if "rw" in values and kind == "cache":
            values["ro"] = "false" if _true(values.pop("rw")) else "true"
    for name in values:
        if name not in _ALLOWED[kind]:
            raise MountError(f"{name!r} is no option of a {kind} mount")
    if kind in ("bind", "cache", "tmpfs") and not values.get("target"):
        raise MountError(f"a {kind} mount needs target=")
    if values.get("sharing", "shared") not in _SHARING:
        raise MountError(f"sharing={values['sharing']} is not one of {', '.join(_SHARING)}")
    if kind == "secret" and not values.get("id") and not values.get("target"):
        raise MountError("a secret mount needs id=")
    return RunMount(
        kind, values.get("target", ""), values.get("source", ""), values.get("from", ""), values.get("id", ""),
        _true(values.get("rw", "false")) if kind == "bind" else not _true(values.get("ro", "false")),
        values.get("sharing", "shared"), _true(values.get("required", "false")), _octal(values.get("mode")),
        _number(values, "uid"), _number(values, "gid"), values.get("env", ""), _size(values.get("size", "0")),
    )  # fmt: skip


def _true(text: str) -> bool:
    if text.lower() in ("true", "1"):
        return True
    if text.lower() in ("false", "0"):
        return False
    raise MountError(f"{text!r} is neither true nor false")


def _octal(text: str | None) -> int | None:
    if text is None:
        return None
    try:
        return int(text, 8)
    except ValueError:
        raise MountError(f"mode={text} is no octal number") from None


def _number(values: dict[str, str], name: str) -> int:
    text = values.get(name, "0")
    if not text.isdigit():
        raise MountError(f"{name}={text} is no number")
    return int(text)


def _size(text: str) -> int:
    digits = text.rstrip("bBkKmMgG")
    unit = _UNITS.get(text[len(digits) :].lower())
    if not digits.isdigit() or unit is None:
        raise MountError(f"size={text} is no size")
    return int(digits) * unit
