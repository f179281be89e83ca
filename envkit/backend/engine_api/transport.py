"""Streams to and from an engine through `requests`: Unix sockets by requests-unixsocket, ssh by a like connection.

A session per thread: those of `requests` are not meant to be shared, and each keeps one connection open.
"""

from __future__ import annotations

import threading
from urllib.parse import quote

import requests
from requests.adapters import HTTPAdapter
from requests_unixsocket import UnixAdapter  # type: ignore[import-untyped, unused-ignore]
from urllib3.connection import HTTPConnection
from urllib3.connectionpool import HTTPConnectionPool

from envkit.backend.engine_api import dial
from envkit.backend.engine_api.trouble import explained

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from typing import Any

    from envkit.backend.engine_api.address import EngineAddress


class Transport:
    """Sends requests to one address. Every error is one of this package's."""

    def __init__(self, address: EngineAddress) -> None:
        self.address = address
        self._local = threading.local()
        match address.scheme:
            case "unix":
                self._base = f"http+unix://{quote(address.rest, safe='')}"
            case "ssh":
                self._base = "http+ssh://engine"
            case _:
                host = address.rest
                self._base = f"https://{host}" if address.tls else f"http://{host}"

    def send(
        self, method: str, path: str, *, params: Mapping[str, str], data: bytes | Iterable[bytes] | None = None,
        headers: Mapping[str, str], timeout: float | None,
    ) -> requests.Response:  # fmt: skip
        """The answer, its body still to be read. timeout: seconds without a byte, None for no bound."""
        asked = f"{method} {path}"
        try:
            return self._session.request(
                method, self._base + path, params=params, data=data, headers=dict(headers), stream=True,
                timeout=(dial.CONNECT, timeout), allow_redirects=False,
            )  # fmt: skip
        except (requests.RequestException, OSError) as error:
            raise explained(error, self.address, asked) from error

    def chunks(self, answer: requests.Response, asked: str) -> Iterator[bytes]:
        """The body as it comes; the connection is closed at the end, and when the iterator is."""
        try:
            with answer:
                yield from answer.iter_content(None)
        except (requests.RequestException, OSError) as error:
            raise explained(error, self.address, asked, begun=True) from error

    @property
    def _session(self) -> requests.Session:
        found: requests.Session | None = getattr(self._local, "session", None)
        if found is None:
            found = self._local.session = self._new_session()
        return found

    def _new_session(self) -> requests.Session:
        session = requests.Session()
        session.trust_env = False  # no ~/.netrc, no proxy: neither is for an engine
        session.headers.clear()
        session.headers["Host"] = "docker"
        if self.address.scheme == "unix":
            session.mount("http+unix://", UnixAdapter())
        elif self.address.scheme == "ssh":
            session.mount("http+ssh://", _SshAdapter(self.address))
        else:
            del session.headers["Host"]
            session.verify = (self.address.ca or True) if self.address.verify else False
            if self.address.cert and self.address.key:
                session.cert = (self.address.cert, self.address.key)
        return session


class _SshConnection(HTTPConnection):
    """A connection whose socket is an ssh process."""

    def __init__(self, address: EngineAddress, **settings: Any) -> None:
        super().__init__("engine", **settings)
        self._address = address

    def connect(self) -> None:
        self.sock = dial.dial(self._address)
        self.sock.settimeout(dial.CONNECT)


class _SshPool(HTTPConnectionPool):
    def __init__(self, address: EngineAddress) -> None:
        super().__init__("engine")
        self._address = address

    def _new_conn(self) -> HTTPConnection:
        return _SshConnection(self._address, timeout=dial.CONNECT)


class _SshAdapter(HTTPAdapter):
    """What UnixAdapter is for sockets."""

    def __init__(self, address: EngineAddress) -> None:
        super().__init__()
        self._pool = _SshPool(address)

    def get_connection_with_tls_context(self, *_: Any, **__: Any) -> Any:
        """The one pool, whatever the URL says."""
        return self._pool

    def request_url(self, request: requests.PreparedRequest, *_: Any, **__: Any) -> str:
        """The path alone: there is no proxy."""
        return request.path_url

    def close(self) -> None:
        self._pool.close()
