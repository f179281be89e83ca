"""The tree of errors that envkit raises on purpose; everything else is a bug in envkit.

    EnvkitError
    ├── InputError         the user's files: carries every Diagnostic of the run
    ├── UsageError         the command line (exit code 125)
    ├── NotFoundError      a named thing does not exist
    ├── ConflictError      it exists and is somebody else's, is locked, or is taken
    ├── UnsupportedError   this machine or backend cannot do it
    ├── ImageError         an image, layer or archive is damaged or hostile; names the entry
    ├── HostError          a program or system call failed; carries the command
    └── ApplyError         a change could not be carried out; names the address

Standard library only. `cli` alone turns these into text and exit codes.
"""

from __future__ import annotations

import errno
import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from envkit.diagnostics import Diagnostic


class EnvkitError(Exception):
    """summary: a constant sentence; detail: what exactly and why; hint: what to do about it."""

    def __init__(self, summary: str, detail: str = "", hint: str = "") -> None:
        super().__init__(summary)
        self.summary = summary
        self.detail = detail
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.summary}: {self.detail}" if self.detail else self.summary


class InputError(EnvkitError):
    """The user's files have problems; `diagnostics` has all of them, warnings included."""

    def __init__(self, diagnostics: Sequence[Diagnostic]) -> None:
        count = sum(1 for item in diagnostics if item.is_error)
        super().__init__(f"{count} problem{'s' * (count != 1)} in the configuration")
        self.diagnostics = tuple(diagnostics)


class UsageError(EnvkitError):
    """The command line cannot be understood."""


class NotFoundError(EnvkitError):
    """A thing that was named does not exist."""


class ConflictError(EnvkitError):
    """The thing exists but belongs to somebody else, is locked, or is already taken."""


class UnsupportedError(EnvkitError):
    """This machine or backend lacks what was asked for; hint names the package or the setting."""


class ImageError(EnvkitError):
    """An image, a layer or an archive is damaged, malformed or hostile; detail names the entry or the blob."""

    def __init__(self, summary: str, detail: str = "", hint: str = "") -> None:
        super().__init__(summary, detail, hint or "get the image anew: build it, or load an archive that is whole")


class HostError(EnvkitError):
    """A program or a system call failed.

    `command` is the full argv (secrets never belong in argv), `returncode` its exit code (negative: a signal),
    `stderr` its last words.
    """

    def __init__(
        self, summary: str, detail: str = "", hint: str = "", *, command: Sequence[str] = (), returncode: int = 0,
        stderr: str = "",
    ) -> None:  # fmt: skip
        super().__init__(summary, detail, hint)
        self.command = tuple(command)
        self.returncode = returncode
        self.stderr = stderr

    @property
    def command_line(self) -> str:
        """The command as it can be pasted into a shell."""
        import shlex

        return shlex.join(self.command)


class ApplyError(EnvkitError):
    """A change could not be carried out.

    `address` is the culprit, `log` the last lines that its process wrote (at most 20), `source` the place in the YAML
    ("file:line:column") where it is described.
    """

    def __init__(
        self, summary: str, detail: str = "", hint: str = "", *, address: str = "", log: Sequence[str] = (),
        source: str = "",
    ) -> None:  # fmt: skip
        super().__init__(summary, detail, hint)
        self.address = address
        self.log = tuple(log)
        self.source = source


class EngineStoppedError(ApplyError):
    """Instances cannot be started where they stand, since the machine was started anew: `reconcile.awaken` can."""


def way_out(error: OSError) -> str:
    """What to do about a system call that was refused."""
    if error.errno in (errno.EACCES, errno.EPERM) and os.geteuid() != 0:
        return "the embedded backend works as root: run envkit with sudo"
    if error.errno == errno.EROFS:
        return "let ENVKIT_HOME name a directory that can be written to"
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return "free some space, for instance by `envkit gc`, or let ENVKIT_HOME name a larger disk"
    return "check the path and its permissions; `envkit doctor` says what this machine can do"
