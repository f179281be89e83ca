"""Run programs. Every failure carries the command line, its last words and the signal that ended it.

No shell is ever involved. A missing program is an UnsupportedError that names its Debian package.
"""

from __future__ import annotations

import os

from envkit.errors import HostError, UnsupportedError
from envkit.lean import signal
from envkit.values import value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_SYSTEM_PATH = ("/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin")
_found: dict[str, str] = {}


@value
class Completed:
    """A program that has ended. returncode is negative for a signal, as in subprocess."""

    returncode: int
    stdout: bytes
    stderr: bytes


def find(tool: str) -> str | None:
    """The absolute path of a program: PATH first, then the system directories (sbin is not in every user's PATH)."""
    if "/" in tool:
        return tool if os.access(tool, os.X_OK) else None
    if known := _found.get(tool):
        return known
    for directory in (*os.environ.get("PATH", "").split(os.pathsep), *_SYSTEM_PATH):
        path = os.path.join(directory, tool)
        if directory and os.access(path, os.X_OK) and os.path.isfile(path):
            _found[tool] = path
            return path
    return None


def require(tool: str) -> str:
    """Like find. Raises UnsupportedError when the program is not installed."""
    if path := find(tool):
        return path
    from envkit.host.tools import package_of

    package = package_of(tool)
    raise UnsupportedError(
        f"the program {tool!r} is not installed",
        "it is neither in PATH nor in the system's directories",
        f"install it with `apt-get install {package}`; `envkit doctor` lists everything that is missing",
    )


def run(
    argv: Sequence[str], *, input: bytes | None = None, env: Mapping[str, str] | None = None, cwd: str | None = None,
    timeout: float | None = None, check: bool = True, pass_fds: Sequence[int] = (),
) -> Completed:  # fmt: skip
    """Run argv to its end and return what it wrote.

    env replaces the environment when given. timeout is in seconds; then, and on an interrupt, the program and its
    children are killed. Raises UnsupportedError for a missing program; HostError for a timeout and, with check, for
    any exit code but 0.
    """
    import subprocess

    command = [require(argv[0]), *argv[1:]]
    try:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL if input is None else subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, env=env, cwd=cwd, pass_fds=pass_fds, process_group=0,
        )  # fmt: skip
    except OSError as error:
        raise HostError(f"{argv[0]} cannot be started", str(error), command=argv, returncode=-1) from error
    with process:
        try:
            stdout, stderr = process.communicate(input, timeout)
        except subprocess.TimeoutExpired as error:
            _kill_group(process.pid)
            _, stderr = process.communicate()
            raise HostError(
                f"{argv[0]} did not end within {timeout:g} s", last_words(stderr), command=argv,
                returncode=-signal.SIGKILL, stderr=stderr.decode(errors="replace"),
            ) from error  # fmt: skip
        except BaseException:
            _kill_group(process.pid)
            raise
    if check and process.returncode:
        raise failure(argv, process.returncode, stderr or stdout)
    return Completed(process.returncode, stdout, stderr)


def failure(argv: Sequence[str], returncode: int, stderr: bytes) -> HostError:
    """The error that says how argv ended."""
    how = f"was ended by {signal_name(-returncode)}" if returncode < 0 else f"failed with exit code {returncode}"
    return HostError(
        f"{argv[0]} {how}", last_words(stderr), command=argv, returncode=returncode,
        stderr=stderr.decode(errors="replace"),
    )  # fmt: skip


def last_words(output: bytes, lines: int = 5) -> str:
    """The last non-empty lines of a program's output."""
    texts = [line.rstrip() for line in output.decode(errors="replace").splitlines()]
    return "\n".join([line for line in texts if line][-lines:])


def signal_name(number: int) -> str:
    """SIGKILL for 9; "signal N" for a number without a name."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _kill_group(pid: int) -> None:
    try:
        os.killpg(pid, signal.SIGKILL)
    except ProcessLookupError:
        return
