"""The network of a build's command: a namespace of its own with a way out, its resolver and its hosts file."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from envkit.host.home import Home
from envkit.image.sandbox import Bind
from envkit.image.space import Space

_HOSTS = "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n"


@dataclass(frozen=True, slots=True)
class Network:
    """namespace: path of its pin, None for one with nothing but a loopback. resolver: the content of resolv.conf."""

    namespace: str | None = None
    resolver: str = ""
    hosts: str = field(default=_HOSTS)

    def binds(self, space: Space, root: str) -> tuple[Bind, ...]:
        """hosts and resolv.conf for a command in root; its own files are neither shown nor changed."""
        directory = space.directory("network")
        found = []
        for name, content in (("hosts", self.hosts), ("resolv.conf", self.resolver)):
            path = os.path.join(directory, name)
            if not os.path.exists(path):
                space.file(f"network/{name}", content)
            found.append(Bind(path, f"/etc/{name}"))
        return tuple(found)


@contextmanager
def network(home: Home, online: bool) -> Iterator[Network]:
    """A network for one command, gone afterwards."""
    if not online:
        yield Network()
        return
    from envkit.host.uplink import uplink

    with uplink(home) as way:
        yield Network(way.namespace, way.resolver)
