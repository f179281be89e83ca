"""Did you mean: the nearest of the names that would have been right."""

from __future__ import annotations

from collections.abc import Iterable


def did_you_mean(wrong: str, names: Iterable[str]) -> str:
    """A hint such as `did you mean "environment"?`, or "" when nothing is near."""
    from difflib import get_close_matches

    near = get_close_matches(wrong, [name for name in names if name != wrong], n=1, cutoff=0.6)
    return f'did you mean "{near[0]}"?' if near else ""


def one_of(names: Iterable[str]) -> str:
    """The names as a hint: `known: a, b, c`; "" when there are none."""
    listed = sorted(names)
    if not listed:
        return ""
    return "known: " + ", ".join(listed[:12]) + (", …" if len(listed) > 12 else "")
