"""The DNS server on an environment's gateways: names of its instances; everything else is asked of the host's servers.

It lives in the supervisor's loop: watch `fileno()` for reading and call `handle()`, which never blocks. It follows
network.json by itself. Who asks is known by his address: he sees the names of his own networks only, by his own links;
in internal networks nothing is forwarded. Strangers get no answer.
"""

from __future__ import annotations

import os
import random
import select
import socket
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from envkit.backend.embedded import dns
from envkit.backend.embedded.hosts import Directory, directory_of
from envkit.backend.embedded.network_state import Endpoint, Member, load, path_of, reach
from envkit.backend.embedded.resolver_stream import Stream
from envkit.host.home import Home
from envkit.host.inotify import MOVED_TO, Inotify
from envkit.host.resolv_conf import HOST, read_resolv_conf

PORT = 53
_PATIENCE = 3.0  # seconds for an upstream server's answer, before another one is preferred
_RECOVERY = 30.0
_MAX_PENDING = 512
_MAX_STREAMS = 64
_FREEBIND = {socket.AF_INET: (socket.IPPROTO_IP, 15), socket.AF_INET6: (socket.IPPROTO_IPV6, 78)}


class _Forward:
    """A question put to an upstream server by UDP."""

    __slots__ = ("asked", "client", "deadline", "listener", "query", "server", "socket")

    def __init__(self, query: dns.Query, listener: socket.socket, client: Any, server: str) -> None:
        family = socket.AF_INET6 if ":" in server else socket.AF_INET
        self.socket = socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
        self.query, self.listener, self.client, self.server = query, listener, client, server
        self.asked = random.SystemRandom().randrange(65536)
        self.deadline = time.monotonic() + _PATIENCE


class Resolver:
    """Serves the networks of one environment. `unserved`: gateways whose port is another program's, and why."""

    def __init__(self, home: Home, environment: str, port: int = PORT) -> None:
        self.home, self.environment, self.port = home, environment, port
        self.unserved: dict[str, str] = {}
        self._poll = select.epoll()
        self._listeners: dict[str, tuple[socket.socket, socket.socket]] = {}
        self._by_descriptor: dict[int, socket.socket] = {}
        self._forwards: dict[int, _Forward] = {}
        self._streams: dict[int, Stream] = {}
        self._bad: dict[str, float] = {}
        self._inotify = Inotify()
        self._poll.register(self._inotify.fileno(), select.EPOLLIN)
        self._clients: dict[str, Member] = {}
        self._directory = Directory((), {})
        self._host_servers: tuple[Any, tuple[str, ...]] = (None, ())
        self.reload()

    def fileno(self) -> int:
        """One descriptor for everything; readable when handle() has something to do."""
        return self._poll.fileno()

    def reload(self) -> None:
        """Read the networks and their members anew; listen on new gateways, leave those that are gone."""
        state = load(self.home, self.environment)
        states = reach(self.home, state)
        for one in states:
            self._inotify.add(os.path.dirname(path_of(self.home, one.environment)), MOVED_TO)
        self._directory = directory_of(states)
        self._clients = {
            address: member
            for member in self._directory.members
            for endpoint in member.endpoints.values()
            for address in (endpoint.ipv4, endpoint.ipv6)
            if address
        }
        wanted: set[str] = set()
        for network in state.networks.values():
            if not network.is_bridge:
                continue  # its gateway is another machine
            gateway = network.gateway(4) or network.gateway(6)
            wanted.add(gateway)
            self._clients.setdefault(gateway, _host_as_client(network.id, network.internal))
        for address in set(self._listeners) - wanted:
            self._leave(address)
        self.unserved = {}
        for address in sorted(wanted - set(self._listeners)):
            self._listen(address)

    def handle(self) -> None:
        """Do all that can be done now."""
        for descriptor, events in self._poll.poll(0):
            if descriptor == self._inotify.fileno():
                if any(os.path.basename(notice.name) == "network.json" for notice in self._inotify.read()):
                    self.reload()
            elif descriptor in self._forwards:
                self._upstream_answered(descriptor)
            elif descriptor in self._streams:
                self._stream_ready(descriptor, events)
            elif listener := self._by_descriptor.get(descriptor):
                if listener.type == socket.SOCK_DGRAM:
                    self._datagrams(listener)
                else:
                    self._accept(listener)
        self._expire()

    def close(self) -> None:
        """Stop serving."""
        for address in list(self._listeners):
            self._leave(address)
        for descriptor in list(self._forwards):
            self._forget(descriptor)
        for stream in list(self._streams.values()):
            self._end(stream)
        self._inotify.close()
        self._poll.close()

    def lookup(self, client: Member, query: dns.Query, limit: int) -> bytes | None:
        """The answer from our own names; None when the question is for others."""
        if query.opcode:
            return dns.answer(query, code=dns.NOTIMP)
        addresses = self._directory.find(client, query.name)
        if addresses is not None:
            random.shuffle(addresses)  # round robin
            return dns.answer(query, dns.address_records(query.kind, addresses), limit=limit)
        if query.kind == dns.PTR and (address := dns.reversed_address(query.name)):
            name = self._directory.name_of(client, address)
            if name:
                return dns.answer(query, [dns.name_record(name)], limit=limit)
        if not client.gateway:
            return dns.answer(query, code=dns.REFUSED)
        return None

    def servers(self, client: Member) -> list[str]:
        """Upstream servers for a client's questions: its own `dns:`, else the host's; those that answer first."""
        now = time.monotonic()
        found = client.dns or self._read_host_servers()
        return sorted(found, key=lambda server: self._bad.get(server, 0) > now)

    def _read_host_servers(self) -> Sequence[str]:
        try:
            info = os.stat(HOST)
            key: Any = (info.st_mtime_ns, info.st_ino)
        except FileNotFoundError:
            key = None
        if key != self._host_servers[0]:
            self._host_servers = key, read_resolv_conf(HOST).nameservers
        return self._host_servers[1]

    def _listen(self, address: str) -> None:
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        sockets: list[socket.socket] = []
        try:
            for kind in (socket.SOCK_DGRAM, socket.SOCK_STREAM):
                listener = socket.socket(family, kind | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
                sockets.append(listener)
                listener.setsockopt(*_FREEBIND[family], 1)  # the bridge may come back later than this process
                if kind == socket.SOCK_STREAM:
                    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                listener.bind((address, self.port))
            sockets[1].listen(32)
        except OSError as error:
            for listener in sockets:
                listener.close()
            self.unserved[address] = str(error.strerror)
            return
        self._listeners[address] = (sockets[0], sockets[1])
        for listener in sockets:
            self._by_descriptor[listener.fileno()] = listener
            self._poll.register(listener.fileno(), select.EPOLLIN)

    def _leave(self, address: str) -> None:
        for listener in self._listeners.pop(address):
            self._poll.unregister(listener.fileno())
            del self._by_descriptor[listener.fileno()]
            listener.close()

    def _datagrams(self, listener: socket.socket) -> None:
        for _ in range(64):
            try:
                data, sender = listener.recvfrom(4096)
            except (BlockingIOError, ConnectionRefusedError):
                return
            client, query = self._clients.get(sender[0]), dns.parse(data)
            if client is None or query is None:
                continue
            answer = self.lookup(client, query, query.size)
            if answer is None:
                answer = self._forward(client, query, data, listener, sender)
            if answer:
                with suppress(OSError):
                    listener.sendto(answer, sender)

    def _forward(
        self, client: Member, query: dns.Query, data: bytes, listener: socket.socket, sender: Any
    ) -> bytes | None:
        """Ask the best server; an answer only when that is not possible."""
        if len(self._forwards) >= _MAX_PENDING:
            self._forget(next(iter(self._forwards)))
        for server in self.servers(client):
            forward = _Forward(query, listener, sender, server)
            try:
                forward.socket.connect((server, PORT))
                forward.socket.send(forward.asked.to_bytes(2, "big") + data[2:])
            except OSError:
                forward.socket.close()
                continue
            self._forwards[forward.socket.fileno()] = forward
            self._poll.register(forward.socket.fileno(), select.EPOLLIN)
            return None
        return dns.answer(query, code=dns.SERVFAIL)

    def _upstream_answered(self, descriptor: int) -> None:
        forward = self._forwards[descriptor]
        try:
            data = forward.socket.recv(65535)
        except OSError:  # nobody listens there
            self._bad[forward.server] = time.monotonic() + _RECOVERY
            answer = dns.answer(forward.query, code=dns.SERVFAIL)
        else:
            question = forward.query.question.lower()
            if data[:2] != forward.asked.to_bytes(2, "big") or data[12 : 12 + len(question)].lower() != question:
                return  # not the answer to this question; the right one may follow
            self._bad.pop(forward.server, None)
            answer = forward.query.id.to_bytes(2, "big") + data[2:]
        self._forget(descriptor)
        with suppress(OSError):
            forward.listener.sendto(answer, forward.client)

    def _forget(self, descriptor: int) -> None:
        forward = self._forwards.pop(descriptor)
        self._poll.unregister(descriptor)
        forward.socket.close()

    def _expire(self) -> None:
        """Give up on servers and clients that do not answer; clients ask again by themselves."""
        now = time.monotonic()
        for descriptor, forward in list(self._forwards.items()):
            if forward.deadline < now:
                self._bad[forward.server] = now + _RECOVERY
                self._forget(descriptor)
        for stream in list(self._streams.values()):
            if stream.deadline < now:
                self._end(stream)

    def _accept(self, listener: socket.socket) -> None:
        with suppress(OSError):
            connection, sender = listener.accept()
            client = self._clients.get(sender[0])
            if client is None or len(self._streams) >= _MAX_STREAMS:
                connection.close()
                return
            self._watch(Stream(connection, client=client))

    def _watch(self, stream: Stream) -> None:
        self._streams[stream.fileno()] = stream
        self._poll.register(stream.fileno(), stream.interest)

    def _end(self, stream: Stream) -> None:
        """Close a connection, and its other side."""
        for one in (stream, stream.other):
            if one is not None and one.fileno() in self._streams:
                del self._streams[one.fileno()]
                self._poll.unregister(one.fileno())
                one.close()

    def _stream_ready(self, descriptor: int, events: int) -> None:
        stream = self._streams[descriptor]
        try:
            messages = stream.progress(events)
        except OSError:
            self._end(stream)
            return
        for message in messages:
            if stream.client is None:
                if stream.other is not None:
                    stream.other.send(message)
                    self._poll.modify(stream.other.fileno(), stream.other.interest)
                    stream.other.other = None
                stream.other = None
                self._end(stream)
                return
            self._stream_question(stream, stream.client, message)
        if descriptor in self._streams:
            self._poll.modify(descriptor, stream.interest)

    def _stream_question(self, stream: Stream, client: Member, message: bytes) -> None:
        query = dns.parse(message)
        if query is None or stream.other is not None:
            self._end(stream)
            return
        answer = self.lookup(client, query, 65535)
        if answer is not None:
            stream.send(answer)
            return
        for server in self.servers(client):
            with suppress(OSError):
                upstream = Stream.connect(server, PORT)
                upstream.other, stream.other = stream, upstream
                upstream.send(message)
                self._watch(upstream)
                return
        stream.send(dns.answer(query, code=dns.SERVFAIL))


def _host_as_client(network: str, internal: bool) -> Member:
    """The host itself, when it asks a gateway: it sees that network."""
    endpoint = Endpoint(network, "", "", "")
    return Member("", "", 0, "", "", "", {"": endpoint}, gateway="" if internal else network)
