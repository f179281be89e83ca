"""Digests and the canonical JSON that fingerprints are made of. Standard library only.

Digest text form: OCI image-spec, descriptor.md#digests (`sha256:` and 64 lower-case hex digits).
"""

from __future__ import annotations

from envkit import lean
from envkit.lean import json

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_LARGE = 1 << 16  # bytes from which on OpenSSL's instructions make up for its start


def sha256(data: bytes) -> str:
    """`sha256:…` of data."""
    make = lean.sha256 if len(data) < _LARGE else lean.hashlib.sha256
    return "sha256:" + make(data).hexdigest()


def is_digest(text: str) -> bool:
    """Whether text is a well-formed sha256 digest."""
    return len(text) == 71 and text[:7] == "sha256:" and not text[7:].strip("0123456789abcdef")


def canonical_json(value: Any) -> bytes:
    """One byte string per JSON value: sorted keys, no spaces, UTF-8, no NaN. Raises ValueError on NaN."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def fingerprint(spec: Any) -> str:
    """The digest of a canonical spec: equal specs have equal fingerprints."""
    return sha256(canonical_json(spec))
