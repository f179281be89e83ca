"""What a service says about its networks, its privileges and its limits (Compose Specification, 05-services.md)."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from envkit.spec.vocabulary import (
    ExtraHosts,
    Flag,
    Keywords,
    MapOrSet,
    Name,
    Number,
    Options,
    Section,
    Set,
    Size,
    TextOrSet,
    Ulimits,
    Whole,
    key,
)


class Attachment(Section):
    """How a service joins one network."""

    aliases: Set | None = key("Further names of the service on this network.", ["api"])
    ipv4_address: str | None = key("A fixed address of the network's subnet.", "172.28.0.10")
    ipv6_address: str | None = key("A fixed IPv6 address of the network's subnet.")
    link_local_ips: Set | None = key("Further link-local addresses.")
    interface_name: str | None = key("The name of the interface in the container.", "eth0")
    mac_address: str | None = key("The interface's hardware address.", "02:42:ac:11:00:02")
    priority: float | None = key("The order in which networks are joined; high first.", 100)
    gw_priority: float | None = key("The network with the highest one is the default route.", 1)
    driver_opts: Options | None = key("Settings of the network driver.")


class Connectivity(Section):
    """What the process can reach, and by which names."""

    networks: Set | dict[Name, Attachment | None] | None = key("The networks it joins.", ["front", "back"])
    network_mode: str | None = key("none, host, bridge, service:NAME or container:NAME.", "host", "service:vpn")
    extra_hosts: ExtraHosts | None = key(
        "Further names, NAME=ADDRESS; host-gateway is the host.", ["host.docker.internal=host-gateway"]
    )
    dns: TextOrSet | None = key("Name servers.", ["9.9.9.9"])
    dns_search: TextOrSet | None = key("Search domains.", ["example.org"])
    dns_opt: Set | None = key("Resolver options.", ["timeout:2"])
    mac_address: str | None = key("The hardware address on the first network.")


class Privileges(Section):
    """What the process is allowed."""

    cap_add: Set | None = key("Capabilities to add, with or without CAP_.", ["NET_ADMIN"])
    cap_drop: Set | None = key("Capabilities to take away; ALL takes them all.", ["ALL"])
    privileged: Flag | None = key("Lift nearly every restriction.", default=False)
    security_opt: Set | None = key(
        "no-new-privileges:true, seccomp=FILE, apparmor=PROFILE, label=…, systempaths=unconfined.",
        ["no-new-privileges:true"],
    )
    sysctls: MapOrSet | None = key("Kernel parameters of the container's namespaces.", {"net.core.somaxconn": 1024})
    ulimits: Ulimits | None = key("Resource limits of the process.", {"nofile": {"soft": 1024, "hard": 4096}})
    pid: str | None = key("The PID namespace: host, service:NAME, container:NAME.", "host", nullable=True)
    ipc: str | None = key("The IPC namespace: private, shareable, host, none, service:NAME.", "shareable")
    uts: str | None = key("The UTS namespace: host.", "host")
    userns_mode: str | None = key("The user namespace: host.", "host")
    cgroup: Literal["host", "private"] | None = key("The cgroup namespace.", default="private")
    cgroup_parent: str | None = key("The cgroup to be below.")


class RateLimit(Section):
    extensible: ClassVar[bool] = False
    path: str | None = key("The host's block device.", "/dev/sda")
    rate: Whole | None = key("Bytes or operations a second.", "10mb", 100)


class WeightLimit(Section):
    extensible: ClassVar[bool] = False
    path: str | None = key("The host's block device.", "/dev/sda")
    weight: Whole | None = key("10 to 1000.", 300)


class BlockLimits(Section):
    extensible: ClassVar[bool] = False
    weight: Whole | None = key("The share of the disk's time, 10 to 1000.", default=500)
    weight_device: list[WeightLimit] | None = key("Weights by device.")
    device_read_bps: list[RateLimit] | None = key("Bytes read a second, by device.")
    device_read_iops: list[RateLimit] | None = key("Reads a second, by device.")
    device_write_bps: list[RateLimit] | None = key("Bytes written a second, by device.")
    device_write_iops: list[RateLimit] | None = key("Writes a second, by device.")


class DeviceRequest(Section):
    """A request for GPUs and the like."""

    capabilities: Set = key("What the device must be able to do.", ["gpu"], required=True)
    count: Whole | None = key("How many; `all` for all.", 1)
    device_ids: Set | None = key("Which ones.", ["0"])
    driver: str | None = key("The driver.", "nvidia")
    options: MapOrSet | None = key("Settings of the driver.")


class GpuRequest(Section):
    """One entry of `gpus:`; keys beyond these are accepted as Compose accepts them."""

    open: ClassVar[bool] = True
    capabilities: Set | None = key("What the device must be able to do.", ["gpu"])
    count: Whole | None = key("How many; `all` for all.", 1)
    device_ids: Set | None = key("Which ones.", ["0"])
    driver: str | None = key("The driver.", "nvidia")
    options: MapOrSet | None = key("Settings of the driver.")


class Bounds(Section):
    """What the process may use. `deploy.resources` says the same for every backend."""

    mem_limit: Size | None = key("The most memory; beyond it the process is killed.", "256m")
    mem_reservation: int | Annotated[str, Keywords(format="bytes")] | None = key(
        "The memory that is kept for it.", "64m"
    )
    memswap_limit: Size | None = key("Memory and swap together; -1 for no limit.", "512m")
    mem_swappiness: Whole | None = key("0 to 100: how readily it is swapped out.", 10)
    cpus: Number | None = key("How many CPUs it may use.", 0.5)
    cpu_shares: Number | None = key("Its share of the CPU against others'.", 512, default=1024)
    cpu_quota: Number | None = key("Microseconds of CPU in each period.", 50000)
    cpu_period: Number | None = key("The length of a period in microseconds.", default=100000)
    cpu_rt_runtime: Number | None = key("Real-time microseconds in each period.")
    cpu_rt_period: Number | None = key("The length of a real-time period.")
    cpuset: str | None = key("The CPUs it may run on.", "0-1")
    cpu_count: str | Annotated[int, Field(ge=0)] | None = key("Windows only: the number of CPUs.")
    cpu_percent: str | Annotated[int, Field(ge=0, le=100)] | None = key("Windows only: the percentage of the CPUs.")
    pids_limit: Number | None = key("The most processes and threads.", 256)
    blkio_config: BlockLimits | None = key("Limits of disk traffic.")
    oom_kill_disable: Flag | None = key("Do not kill it when memory runs out (cgroup v1).", default=False)
    oom_score_adj: str | Annotated[int, Field(ge=-1000, le=1000)] | None = key("How early it is killed then.", 500)
    gpus: Literal["all"] | list[GpuRequest] | None = key("GPUs.", "all")
