"""What can go wrong between envkit and an engine."""

from __future__ import annotations

from envkit.errors import ConflictError, EnvkitError, NotFoundError


class EngineUnreachableError(EnvkitError):
    """There is no speaking with the engine: no socket, no permission, a wrong certificate, no answer, too old."""


class EngineCutError(EngineUnreachableError):
    """The connection ended, or nothing came for too long, before an answer was complete. What was asked for may have
    been done."""


class EngineError(EnvkitError):
    """The engine refused a request: its HTTP status and its own words."""

    def __init__(self, status: int, message: str, asked: str = "") -> None:
        failed = status >= 500
        summary = "The engine failed" if failed else "The engine refused a request"
        hint = "the engine's own log says more" if failed else ""
        super().__init__(summary, f"{asked}: {status} {message}" if asked else f"{status} {message}", hint)
        self.status = status
        self.message = message


class EngineNotFoundError(EngineError, NotFoundError):
    """404: there is no such object."""


class EngineConflictError(EngineError, ConflictError):
    """409: the name is taken, or the object's state does not allow it."""


def refused(status: int, message: str, asked: str) -> EngineError:
    """The error of an answer that is not a success."""
    kind = {404: EngineNotFoundError, 409: EngineConflictError}.get(status, EngineError)
    return kind(status, message, asked)
