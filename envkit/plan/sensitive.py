"""What a plan must not show: contents of secrets, and values whose name or form says that they are one.

Secrets themselves never come this far (specs hold keyed digests); this guards against the password in an ordinary
variable or driver option.
"""

from __future__ import annotations

from envkit.lean import pattern

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

SENSITIVE = "(sensitive value)"

_IGNORECASE = 2  # re.IGNORECASE
_NAME = pattern(
    r"passw(or)?d|passphrase|secret|token|credential|api_?key|private_?key|(^|[_.-])(key|pass|pwd|auth|salt)([_.-]|$)",
    _IGNORECASE,
)
_POINTER = pattern(r"[_.-](file|path|dir|name|id|ttl|timeout|length|url|host|port)$", _IGNORECASE)
_NAMED = frozenset({"environment", "args", "driver_opts", "options", "labels", "annotations", "sysctls", "config"})
_VALUE = pattern(r"://[^/@\s:]*:[^/@\s]+@|(passw(or)?d|secret|token)=[^\s,]", _IGNORECASE)
_DIGESTS = frozenset({"secret_digests", "config_digests", "digest", "content_digest"})


def is_sensitive(parents: tuple[str, ...], name: str, value: Any) -> bool:
    """Whether the value at parents.name must be masked; a list is as sensitive as its most sensitive item."""
    if name in _DIGESTS or (parents and parents[-1] in _DIGESTS):
        return True
    if parents and parents[-1] in _NAMED and _NAME.search(name) and not _POINTER.search(name):
        return True
    if isinstance(value, str):
        return _VALUE.search(value) is not None
    if isinstance(value, (list, tuple)):
        return any(is_sensitive((), "", item) for item in value)
    if isinstance(value, dict):
        return any(is_sensitive((*parents, name), str(key), item) for key, item in value.items())
    return False


def mask(parents: tuple[str, ...], name: str, before: Any, after: Any) -> tuple[Any, Any]:
    """before and after as they may be shown; None (absent) stays None."""
    if is_sensitive(parents, name, before) or is_sensitive(parents, name, after):
        return (None if before is None else SENSITIVE), (None if after is None else SENSITIVE)
    return before, after
