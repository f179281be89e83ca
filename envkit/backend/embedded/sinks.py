"""Where lines can be sent: syslog (RFC 3164, RFC 5424) over unix sockets, UDP or TCP, and systemd's journal.

Options, defaults and formats are those of Docker's drivers `syslog` and `journald`; the journal's protocol is
systemd's "Native Journal Protocol".
"""

from __future__ import annotations

import os
import re
import socket
import time

from envkit.errors import EnvkitError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any, Protocol

    from envkit.backend.embedded.logfile import Line
    from envkit.backend.embedded.record import Record
else:
    Protocol = object

JOURNAL = "/run/systemd/journal/socket"
LOCAL = "unix:///dev/log"
FACILITIES = {name: number for number, name in enumerate((
    "kern", "user", "mail", "daemon", "auth", "syslog", "lpr", "news", "uucp", "cron", "authpriv", "ftp",
))} | {f"local{number}": 16 + number for number in range(8)}  # fmt: skip
FORMATS = ("", "rfc3164", "rfc5424", "rfc5424micro")
SYSLOG_OPTIONS = frozenset({
    "syslog-address", "syslog-facility", "syslog-format", "tag", "labels", "labels-regex", "env", "env-regex", "mode",
    "max-buffer-size", "cache-disabled", "cache-max-size", "cache-max-file", "cache-compress", "max-size", "max-file",
})  # fmt: skip
_ERROR, _INFORMATION = 3, 6  # severities: of stderr, of stdout
_TIMEOUT = 5.0
_WORD = re.compile(r"\{\{\s*\.?([A-Za-z]+)\s*\}\}")


class Sink(Protocol):
    """address: for people."""

    address: str

    def send(self, line: Line) -> None:
        """Raises OSError when it is not there; then it may be tried again."""

    def close(self) -> None: ...


def sink_of(record: Record) -> Sink:
    """The sink of a record whose driver is syslog or journald."""
    logging: Mapping[str, Any] = record.spec.get("logging") or {}
    options: Mapping[str, str] = logging.get("options") or {}
    if logging.get("driver") == "journald":
        return Journal(record, options)
    return Syslog(options, tag_of(record, options.get("tag") or "{{.ID}}"))


def tag_of(record: Record, template: str) -> str:
    """A tag with its `{{.Name}}` words filled in; unknown ones stay."""
    digest = record.image_digest.removeprefix("sha256:")
    words = {
        "ID": record.id[:12], "FullID": record.id, "Name": record.name, "FullName": f"/{record.name}",
        "ImageName": record.image, "ImageFullName": record.image, "ImageID": digest[:12], "ImageFullID": digest,
        "DaemonName": "envkit",
    }  # fmt: skip
    return _WORD.sub(lambda match: words.get(match[1], match[0]), template)


def parse_address(text: str) -> tuple[str, str, int]:
    """(unix, unixgram, udp or tcp; path or host; port). Raises EnvkitError for anything else."""
    scheme, separator, rest = text.partition("://")
    if separator and scheme in ("unix", "unixgram") and rest.startswith("/"):
        return scheme, rest, 0
    host, _, port = rest.rpartition(":") if re.search(r":\d+$", rest) else (rest, "", "514")
    if separator and scheme in ("udp", "tcp") and host and 0 < int(port) < 65536:
        return scheme, host.removeprefix("[").removesuffix("]"), int(port)
    raise EnvkitError(
        "A syslog address cannot be used", repr(text), "write udp://HOST:PORT, tcp://HOST:PORT or unix:///PATH"
    )


def facility(text: str) -> int:
    """A facility's number, by name or number. Raises EnvkitError."""
    if text in FACILITIES:
        return FACILITIES[text]
    if text.isdigit() and int(text) < 24:
        return int(text)
    raise EnvkitError("There is no such syslog facility", repr(text), f"one of {', '.join(FACILITIES)}")


class Syslog:
    """See Sink."""

    def __init__(self, options: Mapping[str, str], tag: str) -> None:
        self.address = options.get("syslog-address") or LOCAL
        self._facility = facility(options.get("syslog-facility") or "daemon")
        self._format = options.get("syslog-format") or ""
        self._tag = tag
        self._socket: socket.socket | None = None
        self._framed = False

    def send(self, line: Line) -> None:
        try:
            if self._socket is None:
                self._connect()
            assert self._socket is not None
            self._socket.sendall(self.message(line) + (b"\n" if self._framed else b""))
        except OSError:
            self.close()
            raise

    def message(self, line: Line) -> bytes:
        """The line as the format has it, without framing."""
        priority = self._facility * 8 + (_ERROR if line.stream == "stderr" else _INFORMATION)
        seconds, rest = divmod(line.nanoseconds, 1_000_000_000)
        host, pid = os.uname().nodename, os.getpid()
        if self._format.startswith("rfc5424"):
            stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))
            fraction = f".{rest // 1000:06d}" if self._format.endswith("micro") else ""
            head = f"<{priority}>1 {stamp}{fraction}Z {host} {self._tag} {pid} {self._tag} - "
        else:
            local = time.localtime(seconds)
            stamp = time.strftime("%b ", local) + f"{local.tm_mday:2d}" + time.strftime(" %H:%M:%S", local)
            where = f"{host} " if self._format == "rfc3164" else ""
            head = f"<{priority}>{stamp} {where}{self._tag}[{pid}]: "
        return head.encode() + line.text

    def _connect(self) -> None:
        scheme, where, port = parse_address(self.address)
        if scheme in ("unix", "unixgram"):
            self._connect_local(where, datagram_only=scheme == "unixgram")
            return
        kind = socket.SOCK_DGRAM if scheme == "udp" else socket.SOCK_STREAM
        failure: OSError = OSError(f"{where} has no address")
        for family, _, _, _, address in socket.getaddrinfo(where, port, type=kind):
            try:
                self._socket = _connected(family, kind, address)
            except OSError as error:
                failure = error
            else:
                self._framed = kind == socket.SOCK_STREAM
                return
        raise failure

    def _connect_local(self, path: str, *, datagram_only: bool) -> None:
        try:
            self._socket, self._framed = _connected(socket.AF_UNIX, socket.SOCK_DGRAM, path), False
        except OSError:
            if datagram_only:
                raise
            self._socket, self._framed = _connected(socket.AF_UNIX, socket.SOCK_STREAM, path), True

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None


class Journal:
    """See Sink."""

    def __init__(self, record: Record, options: Mapping[str, str], path: str = JOURNAL) -> None:
        self.address = path
        self._socket: socket.socket | None = None
        tag = tag_of(record, options.get("tag") or "{{.ID}}")
        self._fields = {
            "CONTAINER_ID": record.id[:12], "CONTAINER_ID_FULL": record.id, "CONTAINER_NAME": record.name,
            "CONTAINER_TAG": tag, "SYSLOG_IDENTIFIER": tag, "IMAGE_NAME": record.image,
        }  # fmt: skip
        labels: Mapping[str, str] = record.spec.get("labels") or {}
        for name in filter(None, options.get("labels", "").split(",")):
            if name in labels:
                self._fields[re.sub(r"[^A-Z0-9_]", "_", name.upper()).lstrip("_")] = labels[name]

    def send(self, line: Line) -> None:
        severity = _ERROR if line.stream == "stderr" else _INFORMATION
        fields = {"PRIORITY": str(severity), "CONTAINER_LOG_EPOCH": str(line.nanoseconds), **self._fields}
        body = _field("MESSAGE", line.text) + b"".join(_field(name, text.encode()) for name, text in fields.items())
        try:
            if self._socket is None:
                self._socket = _connected(socket.AF_UNIX, socket.SOCK_DGRAM, self.address)
            try:
                self._socket.sendall(body)
            except OSError as error:
                if error.errno != 90:  # EMSGSIZE: a long message goes in a file
                    raise
                self._send_file(body)
        except OSError:
            self.close()
            raise

    def _send_file(self, body: bytes) -> None:
        import fcntl

        assert self._socket is not None
        descriptor = os.memfd_create("entry", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        try:
            os.write(descriptor, body)
            fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, 0xF)  # shrink, grow, write and seal: the journal insists
            socket.send_fds(self._socket, [b""], [descriptor])
        finally:
            os.close(descriptor)

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None


def _field(name: str, data: bytes) -> bytes:
    if b"\n" in data:
        return name.encode() + b"\n" + len(data).to_bytes(8, "little") + data + b"\n"
    return name.encode() + b"=" + data + b"\n"


def _connected(family: int, kind: int, address: Any) -> socket.socket:
    made = socket.socket(family, kind)
    try:
        made.settimeout(_TIMEOUT)
        made.connect(address)
    except BaseException:
        made.close()
        raise
    return made
