"""The few helpers of the standard library that every command needs, without the modules they come with.

`functools`, `contextlib`, `json` (with re and enum) and `hashlib` (with OpenSSL) cost 3 to 10 ms each: together more
than a whole command that finds nothing to do. Type checkers see the originals. Imports nothing but C.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from contextlib import contextmanager, suppress
    from functools import cached_property
    from hashlib import sha256
    from typing import Any
else:
    try:
        from _sha256 import sha256  # CPython 3.11
    except ImportError:
        try:
            sha256 = __import__("_sha2").sha256  # CPython 3.12
        except ImportError:
            from hashlib import sha256

    class cached_property:
        """functools.cached_property: computed once per object, kept in its `__dict__`."""

        def __init__(self, function):
            self.function = function
            self.__doc__ = function.__doc__

        def __set_name__(self, owner, name):
            self.name = name

        def __get__(self, of, owner=None):
            if of is None:
                return self
            result = of.__dict__[self.name] = self.function(of)
            return result

    class suppress:
        """contextlib.suppress."""

        __slots__ = ("errors",)

        def __init__(self, *errors):
            self.errors = errors

        def __enter__(self):
            return None

        def __exit__(self, kind, error, trace):
            return kind is not None and issubclass(kind, self.errors)

    def contextmanager(function):
        """contextlib.contextmanager, imported when the first one is entered."""

        def enter(*values, **named):
            from contextlib import contextmanager as wrap

            return wrap(function)(*values, **named)

        enter.__name__, enter.__doc__ = function.__name__, function.__doc__
        return enter



class _Rules:
    """What the scanner of json.JSONDecoder() is told."""

    strict = True
    object_hook = object_pairs_hook = None
    parse_float, parse_int = float, int
    parse_constant = {"NaN": float("nan"), "Infinity": float("inf"), "-Infinity": float("-inf")}.__getitem__


_scan: Any = None
try:
    import _json

    _scan = _json.make_scanner(_Rules)  # type: ignore[arg-type]
except ImportError:
    pass


def read_json_text(data: bytes) -> Any:
    """json.loads(data) for UTF-8. Raises ValueError for what is no JSON."""
    text = data.decode()
    if _scan is None:
        import json

        return json.loads(text)
    stripped = text.strip(" \t\r\n")
    try:
        found, end = _scan(stripped, 0)
    except StopIteration:
        raise ValueError("no JSON value") from None
    if end != len(stripped):
        raise ValueError(f"something follows the JSON value at {end}")
    return found


__all__ = ("cached_property", "contextmanager", "read_json_text", "sha256", "suppress")
