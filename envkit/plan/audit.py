"""What an environment allows its services beyond what an envkit.yaml's defaults do, and what it leaves to chance. Pure.

Sources: OWASP Docker Security Cheat Sheet; CIS Docker Benchmark section 5; Kubernetes Pod Security Standards.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from envkit.errors import EnvkitError
from envkit.spec.environment import Environment, Resource
from envkit.values import StrEnum, value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_POWERFUL = frozenset({
    "ALL", "BPF", "DAC_READ_SEARCH", "NET_ADMIN", "PERFMON", "SYS_ADMIN", "SYS_BOOT", "SYS_MODULE", "SYS_PTRACE",
    "SYS_RAWIO", "SYS_TIME",
})  # fmt: skip
"""Capabilities that lead out of a container, or to what is not its own (capabilities(7))."""
_SOCKETS = ("docker.sock", "podman.sock", "containerd.sock", "crio.sock", "buildkitd.sock")
_SECRETIVE = ("PASSWORD", "PASSWD", "SECRET", "TOKEN", "API_KEY", "PRIVATE_KEY", "CREDENTIALS")
_ANYWHERE = ("", "0.0.0.0", "::")


class Weight(StrEnum):
    """high: a way out of the container, or a secret that is told; medium: a defence less; low: left to chance."""

    HIGH = "high"
    MEDIUM = "medium"
    LOW = "low"


@value
class Finding:
    """path: in the canonical spec; source: "file:line:col", "" where a default is meant; way: what to write instead."""

    weight: Weight
    address: str
    path: str
    what: str
    way: str
    source: str = ""


_Row = tuple[Weight, str, str, str]
"""(weight, path, what, way)"""
_HIGH, _MEDIUM, _LOW = Weight.HIGH, Weight.MEDIUM, Weight.LOW


def audit(environment: Environment, services: tuple[str, ...] = ()) -> list[Finding]:
    """Every finding, the weightiest first, then by service. services: these alone. Raises EnvkitError for one that is
    not there."""
    known = environment.services
    if missing := [name for name in services if name not in known]:
        raise EnvkitError("no such service", ", ".join(missing), f"there is {', '.join(known)}")
    found = [
        Finding(weight, str(resource.address), path, what, way, resource.origin(path))
        for name, resource in known.items() if not services or name in services
        for check in _CHECKS
        for weight, path, what, way in check(resource, environment)
    ]  # fmt: skip
    order = list(Weight)
    return sorted(found, key=lambda item: (order.index(item.weight), item.address))


def _rights(resource: Resource, environment: Environment) -> Iterator[_Row]:
    spec = resource.spec
    if spec.get("privileged"):
        yield _HIGH, "privileged", "is privileged: its root is this machine's", "`cap_add` with what it needs"
        return
    added, dropped = set(spec.get("cap_add") or ()), set(spec.get("cap_drop") or ())
    if strong := sorted(added & _POWERFUL):
        yield _HIGH, "cap_add", f"has {', '.join(strong)}", "take it away, or give it to a helper of its own"
    if "ALL" not in dropped:
        yield _MEDIUM, "cap_drop", "keeps capabilities that it may not need", "`cap_drop: [ALL]`, `cap_add: […]`"
    if not spec.get("no_new_privileges"):
        yield (_MEDIUM, "no_new_privileges", "may gain privileges by set-user-ID programs",
               '`security_opt: ["no-new-privileges:true"]`')  # fmt: skip
    if spec.get("seccomp") == "unconfined":
        yield _HIGH, "seccomp", "may make every system call", "leave `seccomp=unconfined` out, or name a profile"
    for item in spec.get("security_opt") or ():
        if str(item).endswith("unconfined"):
            yield _MEDIUM, "security_opt", f"has {item}", "leave it out"


def _spaces(resource: Resource, environment: Environment) -> Iterator[_Row]:
    spec = resource.spec
    for key, what in (("pid", "sees and may signal this machine's processes"), ("ipc", "shares this machine's memory"),
                      ("uts", "shares this machine's names")):  # fmt: skip
        if spec.get(key) == "host":
            yield (_LOW if key == "uts" else _HIGH), key, what, f"leave `{key}: host` out"
    if spec.get("network_mode") == "host":
        yield _MEDIUM, "network_mode", "is in this machine's network, 127.0.0.1 included", "publish its ports instead"
    if spec.get("devices"):
        yield _MEDIUM, "devices", "has devices of this machine", "give it only those that it needs, without `m`"


def _files(resource: Resource, environment: Environment) -> Iterator[_Row]:
    spec = resource.spec
    if not spec.get("read_only"):
        yield (_MEDIUM, "read_only", "can write into its root; what it writes dies with it",
               "`read_only: true`, a volume for its data, `tmpfs` for the rest")  # fmt: skip
    for index, row in enumerate(spec.get("mounts") or ()):
        source, path = str(row.get("source") or ""), f"mounts[{index}]"
        if row["type"] != "bind":
            continue
        if source.endswith(_SOCKETS):
            yield _HIGH, path, f"holds {source}: who has it is root on this machine", "take it away"
        elif source == "/" or source.split("/")[1] in ("boot", "dev", "etc", "proc", "root", "sys"):
            yield (_MEDIUM if row.get("read_only") else _HIGH), path, f"sees {source} of this machine", "mount a copy"


def _limits(resource: Resource, environment: Environment) -> Iterator[_Row]:
    limits = resource.spec.get("limits") or {}
    if int(limits.get("pids") or -1) <= 0:
        yield _MEDIUM, "limits.pids", "may start any number of processes", "`pids_limit: 512`"
    if not limits.get("memory"):
        yield _LOW, "limits.memory", "may use all memory", "`deploy: {resources: {limits: {memory: 512M}}}`"


def _told(resource: Resource, environment: Environment) -> Iterator[_Row]:
    for name, text in (resource.spec.get("environment") or {}).items():
        if text and name.upper().endswith(_SECRETIVE):
            yield (_HIGH, f"environment.{name}", f"has {name} in its environment, where all its processes can read it",
                   f"a secret, and `{name}_FILE` where the image knows it")  # fmt: skip
    for index, port in enumerate(resource.spec.get("ports") or ()):
        if port["host_ip"] in _ANYWHERE:
            yield (_MEDIUM, f"ports[{index}]", f"port {port['target']} answers on every address of this machine",
                   f'"127.0.0.1:{port["published"] or ""}:{port["target"]}"')  # fmt: skip


def _chance(resource: Resource, environment: Environment) -> Iterator[_Row]:
    spec = resource.spec
    own = {
        item.spec["name"] for address, item in environment.resources.items()
        if address.kind == "image" and not item.spec.get("reference")
    }  # fmt: skip
    reference = "" if spec["image"] in own else str(spec["image"])
    if reference and "@sha256:" not in reference:
        tag = reference.rpartition("/")[2].partition(":")[2]
        if tag in ("", "latest"):
            yield _LOW, "image", f"{reference} means another image tomorrow", "a version's tag, and `envkit lock`"
    if spec.get("ports") and not spec.get("healthcheck"):
        yield _LOW, "healthcheck", "publishes a port and has no health check", "`healthcheck: {test: [CMD, …]}`"
    logging = spec.get("logging") or {}
    if logging.get("driver", "json-file") == "json-file" and not (logging.get("options") or {}).get("max-size"):
        yield _LOW, "logging", "may fill the disk with its log", '`logging: {options: {max-size: 10m, max-file: "3"}}`'


_CHECKS: tuple[Callable[[Resource, Environment], Iterator[_Row]], ...] = (
    _rights, _spaces, _files, _limits, _told, _chance
)


def finding_json(item: Finding) -> Mapping[str, Any]:
    """A finding as plain JSON values."""
    return {
        "weight": str(item.weight), "address": item.address, "path": item.path, "what": item.what, "way": item.way,
        "source": item.source,
    }  # fmt: skip
