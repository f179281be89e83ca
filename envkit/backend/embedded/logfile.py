"""The log of one instance as conmon writes it, rotated files included: read from either end, followed without loss.

Format (conmon's k8s-file): `TIME STREAM F|P TEXT` per entry, TIME being RFC 3339 with nanoseconds; P is a part of a
line whose rest follows in the same stream. `log` is the live file, `log.1` the one before it, and so on. Rotation
renames; conmon then opens a new `log`, so an open descriptor is complete once a `log` with another inode exists.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterator
from typing import NamedTuple

_BLOCK = 1 << 17
_LOOK_BACK = 500  # entries that are searched for the begun line of a stream which has not shown itself yet


class Line(NamedTuple):
    """A whole line. nanoseconds: since the epoch, when it was completed; time: the same as conmon wrote it."""

    nanoseconds: int
    time: str
    stream: str
    text: bytes


class Clock:
    """RFC 3339 text to nanoseconds; remembers the last second, since a log has many lines in one."""

    def __init__(self) -> None:
        self._prefix = b""
        self._zone = b""
        self._seconds = 0

    def nanoseconds(self, text: bytes) -> int:
        """Raises ValueError on anything but RFC 3339."""
        prefix, rest = text[:19], text[19:]
        digits = 0
        if rest[:1] == b".":
            digits = 1
            while rest[digits : digits + 1].isdigit():
                digits += 1
        zone = rest[digits:]
        if prefix != self._prefix or zone != self._zone:
            self._seconds = _seconds(prefix.decode(), zone.decode())
            self._prefix, self._zone = prefix, zone
        return self._seconds * 1_000_000_000 + int(rest[1:digits].ljust(9, b"0")[:9] or 0)


def _seconds(prefix: str, zone: str) -> int:
    from calendar import timegm  # brings datetime along, which the supervisor does without

    date, _, clock = prefix.partition("T")
    year, month, day = (int(item) for item in date.split("-"))
    hour, minute, second = (int(item) for item in clock.split(":"))
    offset = 0
    if zone not in ("Z", "z"):
        hours, minutes = zone[1:].split(":")
        offset = (int(hours) * 3600 + int(minutes) * 60) * (-1 if zone[0] == "-" else 1)
    return timegm((year, month, day, hour, minute, second)) - offset


class Entry(NamedTuple):
    """One line of the file, undecoded."""

    time: bytes
    stream: bytes
    final: bool
    text: bytes


def parse(raw: bytes) -> Entry | None:
    """An entry without its newline; None for anything that conmon did not write."""
    parts = raw.split(b" ", 3)
    if len(parts) < 3 or parts[2] not in (b"F", b"P"):
        return None
    return Entry(parts[0], parts[1], parts[2] == b"F", parts[3] if len(parts) == 4 else b"")


class Joiner:
    """Puts P…F together, per stream."""

    def __init__(self) -> None:
        self._parts: dict[bytes, list[bytes]] = {}
        self._last: dict[bytes, bytes] = {}
        self._clock = Clock()

    def add(self, entry: Entry) -> Line | None:
        """The line that the entry completes, if it does."""
        if not entry.final:
            self._parts.setdefault(entry.stream, []).append(entry.text)
            self._last[entry.stream] = entry.time
            return None
        parts = self._parts.pop(entry.stream, None)
        text = b"".join([*parts, entry.text]) if parts else entry.text
        return self._line(entry.time, entry.stream, text)

    def rest(self) -> list[Line]:
        """The lines that were begun and never ended; forgotten afterwards."""
        lines = [self._line(self._last[stream], stream, b"".join(parts)) for stream, parts in self._parts.items()]
        self._parts.clear()
        return sorted(lines)

    def restore(self, pending: dict[bytes, list[Entry]]) -> None:
        """Begin with lines whose first parts (in the file's order) are already known."""
        for stream, entries in pending.items():
            self._parts[stream] = [entry.text for entry in entries]
            self._last[stream] = entries[-1].time

    @property
    def waits(self) -> bool:
        """Whether a line has been begun."""
        return bool(self._parts)

    def _line(self, time: bytes, stream: bytes, text: bytes) -> Line:
        return Line(self._clock.nanoseconds(time), time.decode(), stream.decode(), text)


class Log:
    """A reader of one record directory's log: `backlog` first (once), then `more` as often as it may have grown."""

    def __init__(self, directory: str) -> None:
        self.directory = directory
        self._joiner = Joiner()
        self._files: deque[int] = deque()  # descriptors, oldest first; the first is the one being read
        self._position = 0
        self._rest = b""

    def close(self) -> None:
        while self._files:
            os.close(self._files.popleft())

    @property
    def waits(self) -> bool:
        """Whether a line has been begun whose end is not written yet."""
        return self._joiner.waits

    def unfinished(self) -> list[Line]:
        """The lines without an end, when nothing more will come."""
        return self._joiner.rest()

    def backlog(self, tail: int | None = None, since: int | None = None, until: int | None = None) -> Iterator[Line]:
        """The complete lines that are there now; since and until in nanoseconds, tail counts lines from the end of
        that span. Lines without an end stay for `more` or `unfinished`."""
        self._files.extend(_successors(self.directory, None))
        sizes = [os.fstat(file).st_size for file in self._files]
        if tail is not None:
            yield from self._last_lines(tail, sizes, since, until)
        else:
            yield from self._all_lines(sizes, since, until)

    def hold(self) -> None:
        """Take hold of files that have become the live one since: rotation may then delete them, `more` has them."""
        self._files.extend(_successors(self.directory, self._files[-1] if self._files else None))

    def more(self) -> Iterator[Line]:
        """The complete lines that were written since the last call."""
        while True:
            self.hold()
            if not self._files:
                return
            yield from self._drain()
            if len(self._files) == 1:
                return
            os.close(self._files.popleft())
            self._position, self._rest = 0, b""

    def _all_lines(self, sizes: list[int], since: int | None, until: int | None) -> Iterator[Line]:
        files = list(self._files)
        start = 0
        if since is not None:  # everything in a file is older than what the next one begins with
            while start < len(files) - 1 and _first_time(files[start + 1], sizes[start + 1]) < since:
                start += 1
        for _ in range(start):
            os.close(self._files.popleft())
        for number in range(start, len(files)):
            self._position = 0 if since is None else _offset_of(files[number], sizes[number], since)
            for line in self._drain(sizes[number]):
                if until is not None and line.nanoseconds > until:
                    continue
                if since is None or line.nanoseconds >= since:
                    yield line
            if number < len(files) - 1:
                os.close(self._files.popleft())
                self._position, self._rest = 0, b""

    def _last_lines(self, tail: int, sizes: list[int], since: int | None, until: int | None) -> Iterator[Line]:
        clock = Clock()
        looked = 0
        found: list[list[Entry]] = []  # lines, newest first; the parts of each newest first
        open_lines: dict[bytes, list[Entry] | None] = {}  # stream -> the line whose beginning is looked for
        pending: dict[bytes, list[Entry]] = {}  # stream -> the parts after its last complete line, newest first
        for entry in _backwards(self._files, sizes):
            if entry.final:
                open_lines[entry.stream] = None
                moment = clock.nanoseconds(entry.time)
                if until is not None and moment > until:
                    continue
                full = len(found) >= tail or (since is not None and moment < since)
                if not full:
                    found.append([entry])
                    open_lines[entry.stream] = found[-1]
                elif not any(open_lines.values()) and pending.keys() <= open_lines.keys():
                    looked += 1
                    if len(open_lines) > 1 or looked > _LOOK_BACK:
                        break
            elif entry.stream not in open_lines:
                pending.setdefault(entry.stream, []).append(entry)
            elif (line := open_lines[entry.stream]) is not None:
                line.append(entry)
        self._joiner.restore({stream: entries[::-1] for stream, entries in pending.items()})
        while len(self._files) > 1:
            os.close(self._files.popleft())
        self._position = _end_of_lines(self._files[0], sizes[-1]) if self._files else 0
        for line in reversed(found):
            last = line[0]
            text = b"".join(entry.text for entry in reversed(line))
            yield Line(clock.nanoseconds(last.time), last.time.decode(), last.stream.decode(), text)

    def _drain(self, limit: int | None = None) -> Iterator[Line]:
        file = self._files[0]
        if limit is None and os.fstat(file).st_size < self._position:
            self._position, self._rest = 0, b""  # cut by somebody else: begin again
        while limit is None or self._position < limit:
            size = _BLOCK if limit is None else min(_BLOCK, limit - self._position)
            data = os.pread(file, size, self._position)
            if not data:
                return
            self._position += len(data)
            *complete, self._rest = (self._rest + data).split(b"\n")
            for raw in complete:
                entry = parse(raw)
                line = self._joiner.add(entry) if entry else None
                if line is not None:
                    yield line


def numbered(directory: str) -> list[int]:
    """The numbers of the rotated files (`log.N`), newest (lowest) first."""
    try:
        names = os.listdir(directory)
    except (FileNotFoundError, NotADirectoryError):
        return []
    return sorted(int(name[4:]) for name in names if name.startswith("log.") and name[4:].isdigit())


def _successors(directory: str, newest: int | None) -> list[int]:
    """Descriptors of the files that are newer than the one of descriptor newest (None: all), oldest first.

    They are opened from the newest down: a rotation meanwhile shows a file twice, and never hides one. A file that has
    a successor is complete: conmon makes the new one when it lets go of the old.
    """
    known = _identity(newest) if newest is not None else None
    found: list[int] = []
    seen = {known}
    for name in _names(directory):
        try:
            file = os.open(f"{directory}/{name}", os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        except (FileNotFoundError, NotADirectoryError):
            continue
        identity = _identity(file)
        if identity in seen:
            os.close(file)
            if identity == known:
                break
            continue
        seen.add(identity)
        found.append(file)
    return found[::-1]


def _names(directory: str) -> Iterator[str]:
    """Newest first; the directory is read only by those who ask for more than the live file."""
    yield "log"
    number = 0
    for number in numbered(directory):
        yield f"log.{number}"
    yield f"log.{number + 1}"  # where a rotation since then has put the last of them


def _identity(file: int) -> tuple[int, int]:
    status = os.fstat(file)
    return status.st_dev, status.st_ino


def _backwards(files: deque[int], sizes: list[int]) -> Iterator[Entry]:
    """The entries of all files, last first."""
    for file, size in zip(reversed(files), reversed(sizes), strict=True):
        end = _end_of_lines(file, size)
        carry = b""
        while end > 0:
            start = max(0, end - _BLOCK)
            lines = (os.pread(file, end - start, start) + carry).split(b"\n")
            carry = lines[0] if start else b""
            for raw in reversed(lines[1:] if start else lines):
                if raw and (entry := parse(raw)):
                    yield entry
            end = start


def _end_of_lines(file: int, size: int) -> int:
    """The offset after the last newline before size."""
    end = size
    while end > 0:
        start = max(0, end - _BLOCK)
        cut = os.pread(file, end - start, start).rfind(b"\n")
        if cut >= 0:
            return start + cut + 1
        end = start
    return 0


def _time_at(file: int, offset: int, size: int) -> tuple[int, int] | None:
    """(start, nanoseconds) of the first entry that begins at or after offset; None when there is none."""
    position = offset
    data = b""
    while position < size:
        data += os.pread(file, min(_BLOCK, size - position), position)
        position = offset + len(data)
        begin = 0 if offset == 0 else data.find(b"\n") + 1
        if (offset == 0 or begin) and b"\n" in data[begin:]:
            entry = parse(data[begin : data.index(b"\n", begin)])
            return (offset + begin, Clock().nanoseconds(entry.time)) if entry else None
    return None


def _first_time(file: int, size: int) -> int:
    found = _time_at(file, 0, size)
    return found[1] if found else 1 << 63


def _offset_of(file: int, size: int, since: int) -> int:
    """A line's start such that everything before it is older than since (at most a few blocks too early)."""
    low, high = 0, size
    while high - low > 2 * _BLOCK:
        middle = (low + high) // 2
        found = _time_at(file, middle, size)
        if found is None or found[1] >= since:
            high = middle
        else:
            low = found[0]
    return low
