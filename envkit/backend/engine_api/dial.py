"""A connected socket to an engine, whatever lies between: a Unix socket, TCP with or without TLS, ssh."""

from __future__ import annotations

import socket

from envkit.backend.engine_api.errors import EngineUnreachableError

TYPE_CHECKING = False
if TYPE_CHECKING:
    import ssl

    from envkit.backend.engine_api.address import EngineAddress

CONNECT = 15.0
"""Seconds for a connection to be made."""


def dial(address: EngineAddress, timeout: float | None = CONNECT) -> socket.socket:
    """A new connection. Raises OSError (ssl.SSLError is one) and EngineUnreachableError."""
    match address.scheme:
        case "unix":
            connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            try:
                connection.settimeout(timeout)
                connection.connect(address.rest)
            except OSError:
                connection.close()
                raise
            return connection
        case "ssh":
            return _over_ssh(address)
    host, port = host_and_port(address)
    plain = socket.create_connection((host, port), timeout)
    if not address.tls:
        return plain
    try:
        return tls_context(address).wrap_socket(plain, server_hostname=host)
    except OSError:
        plain.close()
        raise


def host_and_port(address: EngineAddress) -> tuple[str, int]:
    """Of a tcp address."""
    from urllib.parse import urlsplit

    parts = urlsplit(f"//{address.rest}")
    return parts.hostname or "localhost", parts.port or (2376 if address.tls else 2375)


def tls_context(address: EngineAddress) -> ssl.SSLContext:
    """TLS 1.2 or later with the address's certificates."""
    import ssl

    try:
        context = ssl.create_default_context(cafile=address.ca or None)
        if not address.verify:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        if address.cert and address.key:
            context.load_cert_chain(address.cert, address.key)
    except (OSError, ValueError) as error:
        raise EngineUnreachableError(
            "A certificate cannot be read", f"{address.ca}, {address.cert} or {address.key}: {error}",
            "DOCKER_CERT_PATH names a directory with ca.pem, cert.pem and key.pem",
        ) from error  # fmt: skip
    return context


def _over_ssh(address: EngineAddress) -> socket.socket:
    """The socket whose other end is `ssh HOST docker system dial-stdio`, as the docker command does it.

    BatchMode: nobody can answer a question for a password here. The process ends with the connection.
    """
    import subprocess

    from envkit.host.process import require

    ours, theirs = socket.socketpair()
    command = [require("ssh"), *ssh_arguments(address)]
    with theirs:
        # The socket is its stdin and stdout; stderr is the user's, where ssh says why it failed.
        child = subprocess.Popen(command, stdin=theirs.fileno(), stdout=theirs.fileno(), start_new_session=True)
    _children.append(child)
    _reap()
    return ours


_children: list[object] = []


def _reap() -> None:
    """Forget the ssh processes that have ended."""
    _children[:] = [child for child in _children if child.poll() is None]  # type: ignore[attr-defined]


def ssh_arguments(address: EngineAddress) -> list[str]:
    """What `ssh` is called with."""
    from urllib.parse import urlsplit

    parts = urlsplit(address.url)
    words = ["-o", "BatchMode=yes", "-o", f"ConnectTimeout={int(CONNECT)}", "-o", "ServerAliveInterval=15", "-T"]
    if parts.username:
        words += ["-l", parts.username]
    if parts.port:
        words += ["-p", str(parts.port)]
    remote = ["docker"]
    if parts.path.strip("/"):
        remote += ["--host", f"unix://{parts.path}"]
    return [*words, "--", parts.hostname or "", *remote, "system", "dial-stdio"]
