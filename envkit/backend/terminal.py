"""The caller's terminal and signals while a process in a container has them. termios(3), ioctl_tty(2)."""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import signal
import struct
import termios
import threading
import tty
from collections.abc import Callable, Iterator
from types import FrameType

from envkit.errors import UsageError

FORWARDED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2)
_CHUNK = 65536
_CONTROL = re.compile(r"ctrl-[a-zA-Z@\[\\\]^_]")


@contextlib.contextmanager
def raw(descriptor: int) -> Iterator[None]:
    """Keys go through unchanged (Ctrl-C too); the terminal is as before afterwards, whatever happens. Nothing is done
    for what is no terminal."""
    if not os.isatty(descriptor):
        yield
        return
    before = termios.tcgetattr(descriptor)
    tty.setraw(descriptor, termios.TCSADRAIN)
    try:
        yield
    finally:
        termios.tcsetattr(descriptor, termios.TCSADRAIN, before)


def size_of(descriptor: int) -> tuple[int, int] | None:
    """(rows, columns) of a terminal; None for what is none or has no size."""
    try:
        rows, columns, _, _ = struct.unpack("HHHH", fcntl.ioctl(descriptor, termios.TIOCGWINSZ, b"\0" * 8))
    except OSError:
        return None
    return (rows, columns) if rows and columns else None


def set_size(descriptor: int, rows: int, columns: int) -> None:
    """Resize a terminal; its foreground processes get SIGWINCH."""
    fcntl.ioctl(descriptor, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))


@contextlib.contextmanager
def signals_to(send: Callable[[int], None], resized: Callable[[], None] | None = None) -> Iterator[None]:
    """Hand the signals that people and supervisors send to send(number), and SIGWINCH to resized().

    Signals belong to the main thread; elsewhere nothing is done.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def forward(number: int, _: FrameType | None) -> None:
        send(number)

    before = {number: signal.signal(number, forward) for number in FORWARDED}
    if resized is not None:
        before[signal.SIGWINCH] = signal.signal(signal.SIGWINCH, lambda *_: resized())
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def write_all(descriptor: int, data: bytes) -> bool:
    """Write everything; False when the reader has gone."""
    view = memoryview(data)
    while view:
        try:
            view = view[os.write(descriptor, view) :]
        except BrokenPipeError:
            return False
        except BlockingIOError:  # the caller's stdout may be non-blocking: it shares a description with others
            _await_writable(descriptor)
    return True


def _await_writable(descriptor: int) -> None:
    import select

    poll = select.poll()
    poll.register(descriptor, select.POLLOUT)
    poll.poll()


def read_some(descriptor: int) -> bytes | None:
    """What is there to read: b"" at the end (a terminal whose other side is closed included), None for nothing yet."""
    try:
        return os.read(descriptor, _CHUNK)
    except BlockingIOError:
        return None
    except OSError as error:
        if error.errno == 5:  # EIO: the last process has closed the terminal
            return b""
        raise

def parse_keys(text: str) -> bytes:
    """`ctrl-p,ctrl-q` as what a terminal sends: letters, or ctrl- with a letter or one of @ [ \\ ] ^ _.

    Raises UsageError.
    """
    found = bytearray()
    for word in text.split(","):
        if len(word) == 1 and word.isascii():
            found += word.encode()
        elif _CONTROL.fullmatch(word):
            found.append(ord(word[-1].upper()) & 0x1F)
        else:
            raise UsageError(f"--detach-keys {text}", hint="write letters and ctrl- with a letter: ctrl-p,ctrl-q")
    return bytes(found)
