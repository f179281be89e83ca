"""Digests and the canonical JSON that fingerprints are made of. Standard library only.

Digest text form: OCI image-spec, descriptor.md#digests (`sha256:` and 64 lower-case hex digits).
"""

from __future__ import annotations

import hashlib
import json
import re
from typing import Any

_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


def sha256(data: bytes) -> str:
    """`sha256:…` of data."""
    return "sha256:" + hashlib.sha256(data).hexdigest()


def is_digest(text: str) -> bool:
    """Whether text is a well-formed sha256 digest."""
    return _DIGEST.fullmatch(text) is not None


def canonical_json(value: Any) -> bytes:
    """One byte string per JSON value: sorted keys, no spaces, UTF-8, no NaN. Raises ValueError on NaN."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def fingerprint(spec: Any) -> str:
    """The digest of a canonical spec: equal specs have equal fingerprints."""
    return sha256(canonical_json(spec))
