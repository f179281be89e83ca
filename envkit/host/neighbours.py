"""Other users of the host's packet filter.

Docker sets the policy of FORWARD to DROP (bridge-nf-call-iptables applies that between two containers on one bridge,
too), and no accept in a table of ours helps. Docker's place for others' rules is the chain DOCKER-USER: two rules there
per installation, by the prefix of all its bridges.
"""

from __future__ import annotations

from envkit.errors import HostError
from envkit.host import process
from envkit.host.home import Home
from envkit.host.links import links
from envkit.host.nft_read import count_rules, has_chain
from envkit.host.sysctl import read_sysctl

_CHAIN = "DOCKER-USER"


def prefix(home: Home) -> str:
    """What the names of all bridges of an installation begin with (8 of 15 characters)."""
    return f"ek{home.tag}"


def _mark(home: Home) -> str:
    return f"envkit {home.tag}"


def _rules(home: Home) -> list[list[str]]:
    mark = ["-m", "comment", "--comment", _mark(home), "-j", "ACCEPT"]
    return [["-i", f"{prefix(home)}+", *mark], ["-o", f"{prefix(home)}+", *mark]]


def _programs() -> list[str]:
    return [tool for tool in ("iptables", "ip6tables") if process.find(tool)]


def _iptables(tool: str, *arguments: str) -> process.Completed:
    return process.run([tool, "-w", "5", *arguments], check=False, timeout=30)


def _has_chain(tool: str) -> bool:
    family, names = ("ip", "ip_tables_names") if tool == "iptables" else ("ip6", "ip6_tables_names")
    if has_chain(family, "filter", _CHAIN):
        return True
    if not _read(f"/proc/net/{names}").strip():  # the tables of the legacy iptables
        return False
    return _iptables(tool, "-n", "-L", _CHAIN, "1").returncode == 0


def _are_there(tool: str, home: Home) -> bool:
    """Whether both rules are, as far as can be told without a process (the tables of iptables-nft)."""
    family = "ip" if tool == "iptables" else "ip6"
    return count_rules(family, "filter", _CHAIN, _mark(home).encode()) >= len(_rules(home))


def _read(path: str) -> str:
    try:
        with open(path, encoding="ascii") as file:
            return file.read()
    except FileNotFoundError:
        return ""


def ensure(home: Home) -> bool:
    """Have both rules where the chain exists. Returns whether there is (or was) anything to do. Raises HostError."""
    present = False
    for tool in _programs():
        if not _has_chain(tool):
            continue
        present = True
        if _are_there(tool, home):
            continue
        for rule in _rules(home):
            if _iptables(tool, "-C", _CHAIN, *rule).returncode == 0:
                continue
            done = _iptables(tool, "-I", _CHAIN, *rule)
            if done.returncode:
                raise HostError(
                    "Docker's packet filter cannot be told about envkit's bridges", process.last_words(done.stderr),
                    command=[tool, "-I", _CHAIN, *rule], returncode=done.returncode,
                )  # fmt: skip
    return present


def remove(home: Home) -> None:
    """Take both rules away; absent is fine."""
    for tool in _programs():
        if not _has_chain(tool):
            continue
        for rule in _rules(home):
            while _iptables(tool, "-C", _CHAIN, *rule).returncode == 0:
                if _iptables(tool, "-D", _CHAIN, *rule).returncode:
                    break


def has_docker_chain() -> bool:
    """Whether Docker's chain for others' rules exists."""
    return any(map(_has_chain, _programs()))


def release(home: Home) -> None:
    """Take both rules away unless a network or a build of the installation still needs them."""
    if not any(link.name.startswith(prefix(home)) for link in links()):
        remove(home)


def is_missing(home: Home) -> bool:
    """Whether Docker's chain exists and lacks a rule."""
    return any(
        _has_chain(tool) and not _are_there(tool, home)
        and any(_iptables(tool, "-C", _CHAIN, *rule).returncode for rule in _rules(home))
        for tool in _programs()
    )


def forward_policy() -> str:
    """The policy of the FORWARD chain: "ACCEPT", "DROP", or "" when iptables has none (or is not installed)."""
    if not process.find("iptables"):
        return ""
    done = _iptables("iptables", "-S", "FORWARD")
    words = done.stdout.decode().split("\n")[0].split()
    return words[2] if done.returncode == 0 and words[:2] == ["-P", "FORWARD"] else ""


def bridges_are_filtered() -> bool:
    """Whether frames inside a bridge pass iptables (br_netfilter)."""
    return read_sysctl("net.bridge.bridge-nf-call-iptables") == "1"
