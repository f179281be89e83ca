"""The host's resolver settings (resolv.conf(5)), and where to find servers that others than the host can reach."""

from __future__ import annotations

from collections.abc import Sequence

from envkit.values import replace, value

HOST = "/etc/resolv.conf"
SYSTEMD = "/run/systemd/resolve/resolv.conf"  # the real servers behind systemd-resolved's 127.0.0.53
MAX_SERVERS = 3  # libc reads no more (MAXNS)


@value
class ResolvConf:
    """nameservers, search domains and options, in order."""

    nameservers: tuple[str, ...] = ()
    search: tuple[str, ...] = ()
    options: tuple[str, ...] = ()

    def text(self) -> str:
        """The file's content."""
        lines = [f"nameserver {address}" for address in self.nameservers]
        if self.search:
            lines.append("search " + " ".join(self.search))
        if self.options:
            lines.append("options " + " ".join(self.options))
        return "".join(line + "\n" for line in lines)


def read_resolv_conf(path: str = HOST) -> ResolvConf:
    """Parse a file; everything is empty when there is none."""
    servers: list[str] = []
    search: tuple[str, ...] = ()
    options: list[str] = []
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            lines = file.read().splitlines()
    except FileNotFoundError:
        return ResolvConf()
    for line in lines:
        words = line.split("#")[0].split(";")[0].split()
        if len(words) < 2:
            continue
        if words[0] == "nameserver":
            servers.append(words[1])
        elif words[0] in ("search", "domain"):
            search = tuple(words[1:]) if words[1:] != ["."] else ()
        elif words[0] == "options":
            options += words[1:]
    return ResolvConf(tuple(servers), search, tuple(options))


def is_loopback(address: str) -> bool:
    """Whether only the host itself reaches the address."""
    return address.startswith("127.") or address in ("::1", "0.0.0.0", "::")


def reachable(servers: Sequence[str]) -> tuple[str, ...]:
    """Those of servers that are not on the loopback."""
    return tuple(server for server in servers if not is_loopback(server))


def upstream() -> ResolvConf:
    """The host's settings with servers that a container reaches; no servers when all of them are loopback ones."""
    own = read_resolv_conf()
    servers = reachable(own.nameservers)
    if not servers and own.nameservers:
        servers = reachable(read_resolv_conf(SYSTEMD).nameservers)
    return replace(own, nameservers=servers[:MAX_SERVERS])
