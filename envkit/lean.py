"""The few helpers of the standard library that every command needs, without the modules they come with.

`functools`, `contextlib`, `json` (with re and enum) and `hashlib` (with OpenSSL) cost 3 to 10 ms each: together more
than a whole command that finds nothing to do. Type checkers see the originals. Imports nothing but C.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    import hashlib
    import json
    import signal
    import socket
    from contextlib import contextmanager, suppress
    from functools import cache, cached_property
    from hashlib import sha256
    from re import Pattern
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

    def cache(function):
        """functools.cache, of positional arguments."""
        known = {}

        def ask(*values):
            try:
                return known[values]
            except KeyError:
                found = known[values] = function(*values)
                return found

        ask.cache_clear, ask.__name__, ask.__doc__ = known.clear, function.__name__, function.__doc__
        return ask

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

    class _Later:
        """A module that is imported when something of it is asked for."""

        def __init__(self, name):
            self._name = name

        def __getattr__(self, attribute):
            found = getattr(__import__(self._name), attribute)
            setattr(self, attribute, found)
            return found

    hashlib, json, signal = _Later("hashlib"), _Later("json"), _Later("signal")
    socket = _Later("_socket")  # the part in C, whose sockets lack `with`

    class _Socket(__import__("_socket").socket):
        __slots__ = ()

        def __enter__(self):
            return self

        def __exit__(self, *_):
            self.close()

    socket.socket = _Socket


class _Pattern:
    """A regular expression that is compiled when it is first used."""

    def __init__(self, text: str, flags: int) -> None:
        self._given = (text, flags)

    def __getattr__(self, attribute: str) -> Any:
        import re

        found = getattr(re.compile(*self._given), attribute)
        setattr(self, attribute, found)
        return found


def pattern(text: str, flags: int = 0) -> Pattern[str]:
    """re.compile(text, flags), put off until its first use."""
    return _Pattern(text, flags)  # type: ignore[return-value]


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


def _loads(data: bytes | str, **options: Any) -> Any:
    """json.loads for UTF-8, by the scanner that json itself uses. Raises ValueError."""
    if _scan is None or options:
        import json as whole

        return whole.loads(data, **options)
    text = (data if isinstance(data, str) else data.decode()).strip(" \t\r\n")
    try:
        found, end = _scan(text, 0)
    except StopIteration:
        raise ValueError("no JSON value") from None
    if end != len(text):
        raise ValueError(f"something follows the JSON value at {end}")
    return found


def _unencodable(value: Any) -> Any:
    raise TypeError(f"Object of type {type(value).__name__} is not JSON serializable")


@cache
def _encoder(ensure_ascii: bool, separators: tuple[str, str], sort_keys: bool, allow_nan: bool) -> Any:
    text = _json.encode_basestring_ascii if ensure_ascii else _json.encode_basestring
    item, key = separators
    return _json.make_encoder(None, _unencodable, text, None, key, item, sort_keys, False, allow_nan)


def _dumps(
    value: Any, *, ensure_ascii: bool = True, separators: tuple[str, str] | None = None, sort_keys: bool = False,
    allow_nan: bool = True, **options: Any,
) -> str:  # fmt: skip
    """json.dumps by the encoder that json itself uses; without its guard against what contains itself."""
    if _scan is None or options:
        import json as whole

        return whole.dumps(
            value, ensure_ascii=ensure_ascii, separators=separators, sort_keys=sort_keys, allow_nan=allow_nan, **options
        )
    return "".join(_encoder(ensure_ascii, separators or (", ", ": "), sort_keys, allow_nan)(value, 0))


if not TYPE_CHECKING:
    json.loads, json.dumps = _loads, _dumps


__all__ = (
    "cache", "cached_property", "contextmanager", "hashlib", "json", "pattern", "sha256", "signal", "socket",
    "suppress",
)  # fmt: skip
