"""The network of a build's command: a namespace of its own with a way out, its resolver and its hosts file."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from glob import glob

from envkit.errors import HostError
from envkit.host.home import Home
from envkit.image.sandbox import Bind
from envkit.image.space import Space
from envkit.values import value

_HOSTS = "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n"


@value
class Network:
    """namespace: path of its pin, None for one with nothing but a loopback. resolver: the content of resolv.conf."""

    namespace: str | None = None
    resolver: str = ""

    def binds(self, space: Space, names: Mapping[str, Sequence[str]] | None = None) -> tuple[Bind, ...]:
        """hosts and resolv.conf for a command; the root's own files are neither shown nor changed. names: further
        hosts, with their addresses."""
        directory = space.directory("network")
        found = []
        hosts = _HOSTS + "".join(f"{address}\t{name}\n" for name, all_of in (names or {}).items() for address in all_of)
        for name, content in (("hosts", hosts), ("resolv.conf", self.resolver)):
            path = os.path.join(directory, name)
            with open(path, "w", encoding="utf-8") as file:
                file.write(content)
            found.append(Bind(path, f"/etc/{name}"))
        return tuple(found)


@contextmanager
def network(home: Home, online: bool) -> Iterator[Network]:
    """A network for one command, gone afterwards."""
    if not online:
        yield Network()
        return
    from envkit.host.uplink import uplink

    with _user(home), uplink(home) as way:
        yield Network(way.namespace, way.resolver)


@contextmanager
def _user(home: Home) -> Iterator[None]:
    """Be counted as a user of build networks; whoever is the first removes what killed builds have left."""
    os.makedirs(home.run, mode=0o700, exist_ok=True)
    descriptor = os.open(os.path.join(home.run, "build-networks.lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        with suppress(BlockingIOError):
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            _remove_leftovers(home)
        fcntl.flock(descriptor, fcntl.LOCK_SH)
        yield
    finally:
        os.close(descriptor)


def _remove_leftovers(home: Home) -> None:
    """Undo host.uplink by the names that it gives; its pin is made first and goes last."""
    from envkit.host import neighbours, netns, nft
    from envkit.host.netlink import Batch

    for path in glob(os.path.join(home.run, "netns", "build-*")):
        identity = os.path.basename(path).removeprefix("build-")
        with suppress(HostError):
            nft.delete_table("ip", f"envkit-{home.tag}-build-{identity}")
        with suppress(HostError):
            batch = Batch()
            batch.delete_link(f"{neighbours.prefix(home)}b{identity}")
            batch.send()
        netns.remove_netns(path)
