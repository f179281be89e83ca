"""The Docker Engine API (v1.41 and later), as Docker, Podman's compatible service and Swarm managers speak it.

The client and nothing else: where an engine is, how it is reached, requests, streams and errors. What is asked of it is
the business of the backends. `requests` and `requests-unixsocket` are imported by this package alone, when it connects.
"""

from __future__ import annotations

from envkit.backend.engine_api.address import EngineAddress, find_address
from envkit.backend.engine_api.engine import Engine, connect
from envkit.backend.engine_api.errors import (
    EngineConflictError,
    EngineCutError,
    EngineError,
    EngineNotFoundError,
    EngineUnreachableError,
)

__all__ = [
    "Engine", "EngineAddress", "EngineConflictError", "EngineCutError", "EngineError", "EngineNotFoundError",
    "EngineUnreachableError", "connect", "find_address",
]  # fmt: skip
