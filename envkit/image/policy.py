"""pull_policy: when a registry is asked. Source: Compose Specification, services, `pull_policy`.

    missing (the default), if_not_present   when the image is not here
    never                                   not at all
    always                                  each time
    daily, weekly, every_<duration>         when the last time is that long ago
    refresh                                 as `every_` of `pull_refresh_after`
    build                                   not at all: the image is built
"""

from __future__ import annotations

import re
import time

_UNITS = {"w": 604800.0, "d": 86400.0, "h": 3600.0, "m": 60.0, "s": 1.0}
_PERIODS = {"always": 0.0, "daily": _UNITS["d"], "weekly": _UNITS["w"], "refresh": _UNITS["d"]}
_PART = re.compile(r"(\d+(?:\.\d+)?)([wdhms])")


def period(policy: str) -> float | None:
    """Seconds for which what a registry said stays good; None: for ever. Raises ValueError for an unknown policy."""
    if policy in ("", "missing", "if_not_present", "never", "build"):
        return None
    if policy in _PERIODS:
        return _PERIODS[policy]
    text = policy.removeprefix("every_")
    if text == policy or not text or _PART.sub("", text):
        raise ValueError(f"{policy!r} is not a pull policy")
    return sum(float(number) * _UNITS[unit] for number, unit in _PART.findall(text))


def is_due(policy: str, pulled: float) -> bool:
    """Whether a registry is to be asked about an image that is here. pulled: when it was last, 0: never."""
    seconds = period(policy)
    return seconds is not None and (pulled == 0 or time.time() - pulled >= seconds)
