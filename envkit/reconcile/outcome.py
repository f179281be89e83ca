"""How an apply ended, address by address. Values only."""

from __future__ import annotations

from envkit.address import Address
from envkit.errors import ApplyError, EnvkitError, way_out
from envkit.values import field, struct


@struct
class Outcome:
    """done: carried out. failed: the culprits with their errors. skipped: not begun, with the reason. unchanged:
    planned, but not needed after all (an image came out the same). interrupted: the user stopped it. differs: what
    was done and is not so afterwards, in sentences."""

    done: list[Address] = field(default_factory=list)
    failed: dict[Address, EnvkitError] = field(default_factory=dict)
    skipped: dict[Address, str] = field(default_factory=dict)
    unchanged: list[Address] = field(default_factory=list)
    generation: int = 0
    interrupted: bool = False
    differs: list[str] = field(default_factory=list)

    @property
    def errors(self) -> list[EnvkitError]:
        """One error per failure, in the order in which they happened; the same object once."""
        return list({id(error): error for error in self.failed.values()}.values())

    @property
    def result(self) -> str:
        """One word for the journal: done, failed or interrupted."""
        return "interrupted" if self.interrupted else "failed" if self.failed else "done"


def as_error(address: Address, error: BaseException) -> EnvkitError:
    """Any failure of a change as an error that names the culprit and keeps the cause."""
    if isinstance(error, ApplyError) and error.address:
        return error
    if isinstance(error, EnvkitError) and type(error) is not ApplyError:
        wrapped = ApplyError(error.summary, error.detail, error.hint, address=str(address))
    elif isinstance(error, ApplyError):
        wrapped = ApplyError(error.summary, error.detail, error.hint, address=str(address), log=error.log)
    elif isinstance(error, OSError):
        wrapped = ApplyError("The system refused", str(error), way_out(error), address=str(address))
    else:
        detail = f"{type(error).__name__}: {error}"
        wrapped = ApplyError("An unexpected failure", detail, "This is a bug in envkit.", address=str(address))
    wrapped.__cause__ = error
    return wrapped
