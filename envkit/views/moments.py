"""Points in time as people write them."""

from __future__ import annotations

import re
import time

from envkit.lean import pattern

_AGO = pattern(r"(?:(\d+(?:\.\d+)?)d)?(?:(\d+(?:\.\d+)?)h)?(?:(\d+(?:\.\d+)?)m)?(?:(\d+(?:\.\d+)?)s)?")


def parse_moment(text: str, now: float | None = None) -> float:
    """Seconds since the epoch of an RFC 3339 date, a Unix time, or how long ago (`1h30m`). Raises ValueError."""
    if re.fullmatch(r"\d{9,}(\.\d+)?", text):
        return float(text)
    match = _AGO.fullmatch(text)
    if match and any(match.groups()):
        days, hours, minutes, seconds = (float(part or 0) for part in match.groups())
        return (time.time() if now is None else now) - (days * 86400 + hours * 3600 + minutes * 60 + seconds)
    from datetime import datetime

    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(f"{text!r} is not a point in time") from None
    return moment.timestamp()
