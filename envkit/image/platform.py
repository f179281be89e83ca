"""Platforms: `linux/arm64/v8`, and the image of an index that fits one. Source: OCI image-spec image-index.md."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from envkit.errors import ImageError, UsageError

_SAME = {"x86_64": "amd64", "x86-64": "amd64", "aarch64": "arm64", "armhf": "arm", "i386": "386"}
_ORDER = ("v8", "v7", "v6", "v5")


class Platform(NamedTuple):
    """variant: "" for any."""

    os: str
    architecture: str
    variant: str = ""

    def __str__(self) -> str:
        return "/".join(part for part in self if part)


def parse_platform(text: str, machine: str) -> Platform:
    """The platform that text means; "" this machine's. Raises UsageError."""
    if not text:
        return Platform("linux", machine)
    parts = text.lower().split("/")
    if len(parts) == 1:
        parts = ["linux", parts[0]] if parts[0] != "linux" else ["linux", machine]
    if len(parts) > 3 or not all(parts):
        raise UsageError(f"{text!r} is not a platform", hint="write it as linux/arm64 or linux/arm/v7")
    if parts[0] != "linux":
        raise UsageError(f"{text!r} cannot run here", hint="only linux images can")
    return Platform(parts[0], _SAME.get(parts[1], parts[1]), parts[2] if len(parts) > 2 else "")


def choose(items: Sequence[Mapping[str, Any]], wanted: Platform, what: str) -> Mapping[str, Any]:
    """The entry of an image index for wanted. Raises ImageError saying what there is."""
    offered: list[tuple[Platform, Mapping[str, Any]]] = []
    for item in items:
        platform = item.get("platform") or {}
        if platform.get("os") != "unknown" and "vnd.docker.reference.type" not in (item.get("annotations") or {}):
            offered.append((_of(platform), item))
    fitting = [(_rank(offer, wanted), item) for offer, item in offered if fits(offer, wanted)]
    if fitting:
        return min(fitting, key=lambda pair: pair[0])[1]
    there = ", ".join(dict.fromkeys(str(offer) for offer, _ in offered)) or "nothing"
    raise ImageError("an image has no variant for this platform", f"{what}: wanted {wanted}, there is {there}",
                     "choose another tag, or name one of these by `platform:`")  # fmt: skip


def fits(offer: Platform, wanted: Platform) -> bool:
    """Whether what is offered runs where wanted is asked for; an entry without a platform fits everywhere."""
    if not offer.architecture:
        return True
    if (offer.os, offer.architecture) != (wanted.os, wanted.architecture):
        return False
    if not wanted.variant or not offer.variant or offer.variant == wanted.variant:
        return True
    both = offer.variant in _ORDER and wanted.variant in _ORDER
    return both and wanted.architecture == "arm" and _ORDER.index(offer.variant) > _ORDER.index(wanted.variant)


def _rank(offer: Platform, wanted: Platform) -> tuple[int, int]:
    exact = 0 if offer.variant == wanted.variant else 1
    return exact, _ORDER.index(offer.variant) if offer.variant in _ORDER else -1


def _of(platform: Mapping[str, Any]) -> Platform:
    architecture = str(platform.get("architecture") or "")
    return Platform(str(platform.get("os") or "linux"), architecture, str(platform.get("variant") or ""))
