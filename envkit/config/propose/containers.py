"""Containers as an engine inspects them -> a Draft of an envkit.yaml. Pure.

Source: Docker Engine API 1.41, `GET /containers/{id}/json` and `/images/{name}/json`. What an image says of itself is
not said again; what has no counterpart is noted as left out.
"""

from __future__ import annotations

import re

from envkit.config.propose.document import tree
from envkit.config.propose.known import looks_secret, reads_file
from envkit.config.propose.proposal import Draft

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    Inspected = Mapping[str, Any]

COMPOSE = "com.docker.compose."
_FOREIGN_LABELS = (COMPOSE, "com.docker.", "desktop.docker.", "io.podman.", "envkit.", "org.opencontainers.image.")
_ANONYMOUS = re.compile(r"[0-9a-f]{64}")
_WITH_PASSWORD = re.compile(r"[a-z][a-z0-9+.-]*://[^/@:\s]*:[^/@\s]+@")
_DEFAULT_NETWORKS = ("bridge", "podman", "default")
_SHM = 64 << 20
_LIMITS = {
    "Memory": "mem_limit", "MemoryReservation": "mem_reservation", "CpuShares": "cpu_shares", "CpusetCpus": "cpuset",
    "CpuQuota": "cpu_quota", "CpuPeriod": "cpu_period", "PidsLimit": "pids_limit", "OomScoreAdj": "oom_score_adj",
}  # fmt: skip
_LISTS = {
    "CapAdd": "cap_add", "CapDrop": "cap_drop", "SecurityOpt": "security_opt", "ExtraHosts": "extra_hosts",
    "Dns": "dns", "DnsSearch": "dns_search", "DnsOptions": "dns_opt", "GroupAdd": "group_add", "Sysctls": "sysctls",
    "DeviceCgroupRules": "device_cgroup_rules",
}  # fmt: skip
_LEFT_OUT = {
    "VolumesFrom": "mounts of other containers", "DeviceRequests": "requested devices (GPUs)",
    "CgroupParent": "a parent control group", "VolumeDriver": "a volume driver", "BlkioWeight": "a weight for disks",
    "StorageOpt": "storage options",
}  # fmt: skip


def draft(containers: Sequence[Inspected], images: Mapping[str, Inspected], networks: Mapping[str, Inspected]) -> Draft:
    """The services of containers. images: by container's `Image` (an id); networks: by name. Values that look secret
    are in the draft's secrets, nowhere else."""
    made = Draft(tree({"services": {}}))
    projects = {_label(item, "project") for item in containers}
    project = projects.pop() if len(projects) == 1 else ""
    if project:
        made.document.insert(0, "name", project)
    names = {str(item["Id"]): service_name(item) for item in containers}
    for item in containers:
        name = names[str(item["Id"])]
        services = made.document["services"]
        if name in services:
            deploy = services[name].setdefault("deploy", tree({}))
            deploy["replicas"] = int(deploy.get("replicas", 1)) + 1
            continue
        services[name] = tree({})
        _Service(made, item, images.get(str(item["Image"])) or {}, name, project, names, networks).read()
    return made


def service_name(item: Inspected) -> str:
    """Compose's name of the service, else the container's."""
    name = _label(item, "service") or str(item.get("Name") or item["Id"][:12]).lstrip("/")
    return re.sub(r"[^a-zA-Z0-9._-]", "-", name)


def _label(item: Inspected, name: str) -> str:
    return str(((item.get("Config") or {}).get("Labels") or {}).get(COMPOSE + name) or "")


class _Service:
    def __init__(
        self, made: Draft, item: Inspected, image: Inspected, name: str, project: str, names: Mapping[str, str],
        networks: Mapping[str, Inspected],
    ) -> None:  # fmt: skip
        self._draft, self._name, self._project, self._names, self._networks = made, name, project, names, networks
        self._item, self._config = item, item.get("Config") or {}
        self._host: Mapping[str, Any] = item.get("HostConfig") or {}
        self._image, self._own = image, image.get("Config") or {}
        self._service = made.document["services"][name]

    def read(self) -> None:
        self._put("image", self._config.get("Image"))
        if not self._image.get("RepoDigests"):
            self._note("check", f"its image {self._config.get('Image')} is in no registry that the engine knows of: "
                       "`docker save` and `envkit image load` carry it over")  # fmt: skip
        self._process()
        self._environment()
        self._ports()
        self._mounts()
        self._network()
        self._rest()
        self._depends()

    def _put(self, key: str, value: Any) -> None:
        if value not in (None, "", [], {}, False, 0):
            self._service[key] = tree(_literal(value))

    def _note(self, kind: Any, text: str) -> None:
        self._draft.note(kind, f"service.{self._name}", text)

    def _process(self) -> None:
        config, own = self._config, self._own
        for ours, theirs in (("entrypoint", "Entrypoint"), ("command", "Cmd")):
            if (config.get(theirs) or []) != (own.get(theirs) or []):
                self._put(ours, list(config.get(theirs) or ()))
        for ours, theirs in (("user", "User"), ("working_dir", "WorkingDir"), ("stop_signal", "StopSignal")):
            if config.get(theirs) != own.get(theirs):
                self._put(ours, config.get(theirs))
        hostname = str(config.get("Hostname") or "")
        if hostname and not self._item["Id"].startswith(hostname):
            self._put("hostname", hostname)
        self._put("domainname", config.get("Domainname"))
        self._put("tty", config.get("Tty"))
        self._put("stdin_open", config.get("OpenStdin"))
        if config.get("StopTimeout") not in (None, 10):
            self._put("stop_grace_period", f"{config['StopTimeout']}s")
        mine = {key: text for key, text in (config.get("Labels") or {}).items()
                if text != (own.get("Labels") or {}).get(key) and not key.startswith(_FOREIGN_LABELS)}  # fmt: skip
        self._put("labels", mine)
        check = config.get("Healthcheck") or {}
        if check and check != (own.get("Healthcheck") or {}):
            self._put("healthcheck", _healthcheck(check))

    def _environment(self) -> None:
        from_image = set(self._own.get("Env") or ())
        pairs = dict(text.partition("=")[::2] for text in self._config.get("Env") or () if text not in from_image)
        public: dict[str, str] = {}
        hidden: dict[str, str] = {}
        for name, text in pairs.items():
            secret = (looks_secret(name) and text) or _WITH_PASSWORD.match(text)
            (hidden if secret else public)[name] = text
        reference = str(self._config.get("Image") or "")
        lines = []
        for name, text in hidden.items():
            if reads_file(reference, name):
                public[name] = text  # it becomes a secret with the rest, before anything is written
            elif "\n" in text:
                self._note("left out", f"{name} looks secret and has several lines: give it as a secret's file")
            else:
                lines.append(f"{name}={text}")
        self._put("environment", public)
        if lines:
            path = f"secrets/{self._name}.env"
            self._draft.secrets[path] = "".join(f"{line}\n" for line in lines).encode()
            self._service["env_file"] = tree([{"path": f"./{path}", "format": "raw"}])
            names = ", ".join(line.partition("=")[0] for line in lines)
            self._note("changed", f"{names}: the values are in ./{path}, not in the YAML")

    def _ports(self) -> None:
        rows = []
        for target, bindings in sorted((self._host.get("PortBindings") or {}).items(), key=_port):
            number, _, protocol = target.partition("/")
            suffix = "" if protocol in ("", "tcp") else f"/{protocol}"
            for binding in bindings or [{}]:
                address = str(binding.get("HostIp") or "")
                port = str(binding.get("HostPort") or "").removeprefix("0")
                if address in ("", "0.0.0.0", "::"):
                    self._note("check", f"port {number} was open to every address and is published on 127.0.0.1 now: "
                               f"\"0.0.0.0:{port or number}:{number}\" opens it again")  # fmt: skip
                    address = ""
                host = f"[{address}]:" if ":" in address else f"{address}:" if address else ""
                rows.append(f"{host}{port}:{number}{suffix}" if port or host else f"{number}{suffix}")
        self._put("ports", list(dict.fromkeys(rows)))

    def _mounts(self) -> None:
        rows: list[Any] = []
        for mount in sorted(self._item.get("Mounts") or (), key=lambda mount: str(mount["Destination"])):
            kind, target, source = mount.get("Type"), mount["Destination"], str(mount.get("Source") or "")
            mode = "" if mount.get("RW", True) else ":ro"
            if kind == "bind":
                rows.append(f"{source}:{target}{mode}")
            elif kind == "volume" and _ANONYMOUS.fullmatch(str(mount.get("Name") or "")):
                if target not in (self._own.get("Volumes") or {}):
                    rows.append(target)
                short = mount["Name"][:12]
                self._note("check", f"the anonymous volume at {target} has data that stays behind: {short}")
            elif kind == "volume":
                rows.append(f"{self._volume(str(mount['Name']))}:{target}{mode}")
            elif kind == "tmpfs":
                rows.append({"type": "tmpfs", "target": target})
            else:
                self._note("left out", f"the mount at {target} of type {kind}")
        rows += [{"type": "tmpfs", "target": target} for target in sorted(self._host.get("Tmpfs") or ())]
        self._put("volumes", rows)

    def _volume(self, name: str) -> str:
        prefix = f"{self._project}_"
        key = name[len(prefix) :] if self._project and name.startswith(prefix) else name
        section = self._draft.section("volumes")
        if key not in section:
            section[key] = tree({} if key != name else {"name": name, "external": True})
            how = "" if key != name else "; elsewhere take `external: true` away"
            self._draft.note("check", f"volume.{key}", f"its data stays with its engine{how}; `envkit volume import` "
                             "fills another")  # fmt: skip
        return key

    def _network(self) -> None:
        mode = str(self._host.get("NetworkMode") or "")
        kind, _, other = mode.partition(":")
        if kind == "container":
            name = next((name for id_, name in self._names.items() if id_.startswith(other) or name == other), "")
            if name:
                self._put("network_mode", f"service:{name}")
            else:
                self._note("left out", f"it shares the network of the container {other[:12]}, which is not imported")
            return
        if kind in ("host", "none"):
            self._put("network_mode", kind)
            return
        joined: dict[str, dict[str, Any]] = {}
        for name, found in sorted(((self._item.get("NetworkSettings") or {}).get("Networks") or {}).items()):
            if name in _DEFAULT_NETWORKS:
                continue
            key = self._network_key(name)
            ours = {self._name, str(self._item.get("Name") or "").lstrip("/"), self._item["Id"][:12]}
            aliases = [alias for alias in found.get("Aliases") or () if alias not in ours]
            address = (found.get("IPAMConfig") or {}).get("IPv4Address")
            words = {"aliases": aliases, "ipv4_address": address}
            joined[key] = {word: value for word, value in words.items() if value}
            if address:
                self._subnet(key, name)
        if joined and (list(joined) != ["default"] or joined["default"]):
            self._service["networks"] = tree(joined if any(joined.values()) else list(joined))

    def _network_key(self, name: str) -> str:
        prefix = f"{self._project}_"
        key = name[len(prefix) :] if self._project and name.startswith(prefix) else name
        if key == "default":
            return key
        section = self._draft.section("networks")
        if key not in section:
            found = self._networks.get(name) or {}
            spec: dict[str, Any] = {}
            if found.get("Driver") not in (None, "", "bridge"):
                spec["driver"] = found["Driver"]
            if found.get("Internal"):
                spec["internal"] = True
            section[key] = tree(spec)
        return key

    def _subnet(self, key: str, name: str) -> None:
        """Fixed addresses need the network's subnet."""
        rows = ((self._networks.get(name) or {}).get("IPAM") or {}).get("Config") or ()
        if rows:
            self._draft.section("networks").setdefault(key, tree({}))["ipam"] = tree(
                {"config": [{"subnet": row["Subnet"]} for row in rows if row.get("Subnet")]}
            )

    def _rest(self) -> None:
        host = self._host
        policy = host.get("RestartPolicy") or {}
        if policy.get("Name") not in (None, "", "no"):
            attempts = policy.get("MaximumRetryCount") if policy["Name"] == "on-failure" else 0
            self._put("restart", f"{policy['Name']}:{attempts}" if attempts else policy["Name"])
        for theirs, ours in _LIMITS.items():
            if host.get(theirs) not in (None, -1):
                self._put(ours, host.get(theirs))
        if host.get("NanoCpus"):
            self._put("cpus", host["NanoCpus"] / 1e9)
        if host.get("MemorySwap") not in (None, 0, -1, 2 * int(host.get("Memory") or 0)):
            self._put("memswap_limit", host["MemorySwap"])
        if host.get("ShmSize") not in (None, _SHM):
            self._put("shm_size", host["ShmSize"])
        for theirs, ours in _LISTS.items():
            self._put(ours, host.get(theirs))
        self._put("privileged", host.get("Privileged"))
        self._put("init", host.get("Init"))
        for theirs, ours in (("PidMode", "pid"), ("UTSMode", "uts"), ("UsernsMode", "userns_mode")):
            self._put(ours, "host" if host.get(theirs) == "host" else None)
        self._put("ipc", "host" if host.get("IpcMode") == "host" else None)
        self._put("ulimits", {row["Name"]: {"soft": row["Soft"], "hard": row["Hard"]}
                              for row in host.get("Ulimits") or ()})  # fmt: skip
        self._put("devices", [f"{row['PathOnHost']}:{row['PathInContainer']}:{row.get('CgroupPermissions') or 'rwm'}"
                              for row in host.get("Devices") or ()])  # fmt: skip
        log = host.get("LogConfig") or {}
        if log.get("Type") not in (None, "", "json-file", "journald", "k8s-file") or log.get("Config"):
            self._put("logging", {"driver": log["Type"], **({"options": log["Config"]} if log.get("Config") else {})})
        for key, what in _LEFT_OUT.items():
            if host.get(key):
                self._note("left out", what)
        if host.get("Runtime") not in (None, "", "runc", "crun", "oci"):
            self._note("left out", f"the runtime {host['Runtime']}")

    def _depends(self) -> None:
        known = set(self._names.values())
        needs = {}
        for text in filter(None, _label(self._item, "depends_on").split(",")):
            name, _, rest = text.partition(":")
            needs[name] = rest.partition(":")[0] or "service_started"
        for link in self._host.get("Links") or ():
            needs.setdefault(link.partition(":")[0].lstrip("/"), "service_started")
        found = {name: condition for name, condition in needs.items() if name in known}
        if found and set(found.values()) == {"service_started"}:
            self._service["depends_on"] = tree(list(found))
        elif found:
            self._service["depends_on"] = tree({name: {"condition": condition} for name, condition in found.items()})


def _literal(value: Any) -> Any:
    """Texts that interpolation gives back as they are."""
    if isinstance(value, str):
        return value.replace("$", "$$")
    if isinstance(value, dict):
        return {key: _literal(item) for key, item in value.items()}
    return [_literal(item) for item in value] if isinstance(value, list) else value


def _healthcheck(check: Mapping[str, Any]) -> dict[str, Any]:
    made: dict[str, Any] = {"test": list(check.get("Test") or ())}
    if made["test"] == ["NONE"]:
        return {"disable": True}
    for theirs, ours in (("Interval", "interval"), ("Timeout", "timeout"), ("StartPeriod", "start_period"),
                         ("StartInterval", "start_interval")):  # fmt: skip
        if check.get(theirs):
            made[ours] = f"{check[theirs] / 1e9:g}s"
    if check.get("Retries"):
        made["retries"] = check["Retries"]
    return made if made["test"] else {key: item for key, item in made.items() if key != "test"}


def _port(pair: tuple[str, Any]) -> tuple[int, str]:
    number, _, protocol = pair[0].partition("/")
    return int(number), protocol
