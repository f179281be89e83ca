"""The canonical form of every resource: plain JSON data, one TypedDict per kind.

Keys are the Compose Specification's words; values are normalised, so that two spellings of the same thing are equal:
durations are seconds (float), sizes are bytes (int), modes are integers, lists that are sets are sorted, and a key
that means the runtime's default is absent. Backends and the planner read nothing else. Sources: Compose Specification
05-services.md, 06-networks.md, 07-volumes.md, 08-configs.md, 09-secrets.md.
"""

from __future__ import annotations

from typing import Any, Literal, NotRequired, TypedDict


class HealthcheckSpec(TypedDict):
    """test[0] is CMD, CMD-SHELL or NONE; durations in seconds. Absent keys are inherited from the image, then Compose's
    defaults (30 s, 30 s, 0 s, 5 s, 3 retries)."""

    test: NotRequired[list[str]]
    interval: NotRequired[float]
    timeout: NotRequired[float]
    start_period: NotRequired[float]
    start_interval: NotRequired[float]
    retries: NotRequired[int]


class RestartSpec(TypedDict):
    """`delay` is the first pause in seconds (it doubles up to 60 s); `window` the seconds of life that reset it."""

    policy: Literal["no", "always", "unless-stopped", "on-failure"]
    max_attempts: NotRequired[int]
    delay: NotRequired[float]
    window: NotRequired[float]


class MountSpec(TypedDict):
    """One entry of `volumes:` or `tmpfs:`.

    source: bind: an absolute host path; volume: the key below `volumes:` (absent: anonymous); image: a reference.
    """

    type: Literal["bind", "volume", "tmpfs", "image"]
    target: str
    source: NotRequired[str]
    read_only: NotRequired[bool]
    nosuid: NotRequired[bool]
    nodev: NotRequired[bool]
    noexec: NotRequired[bool]
    create_host_path: NotRequired[bool]  # bind: make a missing source directory; absent: a missing source is an error
    propagation: NotRequired[str]  # bind: rprivate when absent
    recursive: NotRequired[str]  # bind: enabled, disabled, writable, readonly
    selinux: NotRequired[str]
    nocopy: NotRequired[bool]  # volume: do not fill it from the image
    subpath: NotRequired[str]  # volume and image: mount this directory of it
    size: NotRequired[int]  # tmpfs, bytes
    mode: NotRequired[int]  # tmpfs
    uid: NotRequired[int]  # tmpfs
    gid: NotRequired[int]  # tmpfs
    options: NotRequired[list[str]]  # tmpfs: further mount options as written


class FileMountSpec(TypedDict):
    """A secret or config inside the container. target is absolute; uid and gid are numbers or names of the container
    (absent: the service's user for envkit.yaml's secrets, root for Compose's)."""

    source: str
    target: str
    uid: NotRequired[str]
    gid: NotRequired[str]
    mode: NotRequired[int]


class PortSpec(TypedDict):
    """published is "8080", a range "8080-8090" to pick from, or "" (ephemeral); host_ip "" means every address."""

    target: int
    published: str
    protocol: Literal["tcp", "udp", "sctp"]
    host_ip: str
    name: NotRequired[str]
    mode: NotRequired[str]
    app_protocol: NotRequired[str]


class NetworkAttachment(TypedDict, total=False):
    """How a service joins one network."""

    aliases: list[str]
    ipv4_address: str
    ipv6_address: str
    link_local_ips: list[str]
    mac_address: str
    interface_name: str
    priority: int
    gw_priority: int
    driver_opts: dict[str, str]


class DeviceSpec(TypedDict):
    """A host device node in the container; permissions is a subset of "rwm"."""

    source: str
    target: str
    permissions: str


class LimitsSpec(TypedDict, total=False):
    """Everything the kernel bounds. Sizes in bytes, cpus in cores; -1 is unlimited where Compose allows it."""

    memory: int
    memory_swap: int
    memory_reservation: int
    memory_swappiness: int
    cpus: float
    cpu_shares: int
    cpu_quota: int
    cpu_period: int
    cpu_rt_runtime: int
    cpu_rt_period: int
    cpuset: str
    pids: int
    blkio: dict[str, Any]
    oom_kill_disable: bool


class UpdateSpec(TypedDict, total=False):
    """`deploy.update_config`: how a replacement is rolled out; delay and monitor in seconds."""

    order: Literal["stop-first", "start-first"]
    parallelism: int
    delay: float
    monitor: float
    failure_action: str
    max_failure_ratio: float


class HookSpec(TypedDict):
    """`post_start` and `pre_stop`: a command in the running container.

    A `pre_start` hook is a container: besides these keys and the next two it may have any key of ServiceSpec that
    is about a container, where it differs from its service (`mounts`: in addition to the service's).
    """

    command: list[str]
    user: NotRequired[str]
    working_dir: NotRequired[str]
    environment: NotRequired[dict[str, str | None]]
    privileged: NotRequired[bool]
    image: NotRequired[str]  # absent: the service's
    per_replica: NotRequired[bool]  # absent: once for all instances


class ServiceSpec(TypedDict):
    """One service. Every replica is made from the same spec.

    image: a key below `images:`, or a reference. command and entrypoint: absent = the image's; [] = none.
    environment: final values (env_file merged, interpolated); None: the variable is taken away from the image's.
    secrets' and configs' contents enter through `secret_digests`/`config_digests` (keyed hashes), so that a new
    content is a changed service.
    """

    image: str
    command: NotRequired[list[str]]
    entrypoint: NotRequired[list[str]]
    environment: NotRequired[dict[str, str | None]]
    working_dir: NotRequired[str]
    user: NotRequired[str]
    group_add: NotRequired[list[str]]
    tty: NotRequired[bool]
    stdin_open: NotRequired[bool]
    init: NotRequired[bool]
    hostname: NotRequired[str]
    domainname: NotRequired[str]
    container_name: NotRequired[str]
    platform: NotRequired[str]
    pull_policy: NotRequired[str]
    runtime: NotRequired[str]
    labels: NotRequired[dict[str, str]]
    annotations: NotRequired[dict[str, str]]
    attach: NotRequired[bool]
    stop_signal: NotRequired[str]
    stop_grace_period: NotRequired[float]
    restart: NotRequired[RestartSpec]
    healthcheck: NotRequired[HealthcheckSpec]
    logging: NotRequired[dict[str, Any]]  # {"driver": str, "options": {str: str}}
    pre_start: NotRequired[list[HookSpec]]
    post_start: NotRequired[list[HookSpec]]
    pre_stop: NotRequired[list[HookSpec]]
    replicas: NotRequired[int]  # absent: 1
    mode: NotRequired[str]  # deploy.mode: global, replicated-job, global-job
    update: NotRequired[UpdateSpec]
    rollback: NotRequired[UpdateSpec]
    placement: NotRequired[dict[str, Any]]
    endpoint_mode: NotRequired[str]
    deploy_labels: NotRequired[dict[str, str]]

    read_only: NotRequired[bool]
    synced: NotRequired[bool]  # `develop.watch` syncs into a read-only root, which so must be writable from outside
    mounts: NotRequired[list[MountSpec]]  # in the order of mounting
    volumes_from: NotRequired[list[str]]
    secrets: NotRequired[list[FileMountSpec]]
    configs: NotRequired[list[FileMountSpec]]
    secret_digests: NotRequired[dict[str, str]]
    config_digests: NotRequired[dict[str, str]]
    devices: NotRequired[list[DeviceSpec]]
    device_cgroup_rules: NotRequired[list[str]]
    shm_size: NotRequired[int]
    storage_opt: NotRequired[dict[str, str]]

    networks: NotRequired[dict[str, NetworkAttachment]]  # keys below `networks:`; absent with network_mode
    network_mode: NotRequired[str]  # none, host, bridge, service:NAME, container:NAME
    ports: NotRequired[list[PortSpec]]
    expose: NotRequired[list[str]]
    links: NotRequired[list[str]]  # SERVICE or SERVICE:ALIAS
    external_links: NotRequired[list[str]]
    extra_hosts: NotRequired[dict[str, list[str]]]  # an address may be "host-gateway"
    dns: NotRequired[list[str]]
    dns_search: NotRequired[list[str]]
    dns_opt: NotRequired[list[str]]
    mac_address: NotRequired[str]

    cap_add: NotRequired[list[str]]  # without CAP_; ALL is allowed
    cap_drop: NotRequired[list[str]]
    privileged: NotRequired[bool]
    no_new_privileges: NotRequired[bool]
    seccomp: NotRequired[str]  # absent: the default profile; "unconfined"; or the profile's JSON text
    security_opt: NotRequired[list[str]]  # what remains: apparmor=…, label=…, systempaths=unconfined
    sysctls: NotRequired[dict[str, str]]
    ulimits: NotRequired[dict[str, dict[str, int]]]  # {"nofile": {"soft": 1024, "hard": 4096}}
    pid: NotRequired[str]
    ipc: NotRequired[str]
    uts: NotRequired[str]
    cgroup: NotRequired[str]
    userns_mode: NotRequired[str]
    cgroup_parent: NotRequired[str]
    limits: NotRequired[LimitsSpec]
    reservations: NotRequired[dict[str, Any]]
    oom_score_adj: NotRequired[int]
    gpus: NotRequired[list[dict[str, Any]]]


class SubnetSpec(TypedDict, total=False):
    subnet: str
    gateway: str
    ip_range: str
    aux_addresses: dict[str, str]


class NetworkSpec(TypedDict):
    """name: the runtime's name (`PROJECT_KEY`, or as written)."""

    name: str
    driver: NotRequired[str]  # absent: bridge
    driver_opts: NotRequired[dict[str, str]]
    internal: NotRequired[bool]
    external: NotRequired[bool]
    attachable: NotRequired[bool]
    enable_ipv4: NotRequired[bool]
    enable_ipv6: NotRequired[bool]
    subnets: NotRequired[list[SubnetSpec]]
    ipam_driver: NotRequired[str]
    ipam_options: NotRequired[dict[str, str]]
    labels: NotRequired[dict[str, str]]


class ProtectSpec(TypedDict):
    """What becomes of a volume's data before it would be lost. snapshot: it is kept as one, of which the latest `keep`
    stay; else nothing that would lose it is done."""

    snapshot: bool
    keep: int


class VolumeSpec(TypedDict):
    """name: the runtime's name (`PROJECT_KEY`, or as written)."""

    name: str
    driver: NotRequired[str]  # absent: local
    driver_opts: NotRequired[dict[str, str]]
    external: NotRequired[bool]
    labels: NotRequired[dict[str, str]]
    protect: NotRequired[ProtectSpec]  # envkit.yaml


class SecretSpec(TypedDict):
    """Where a secret comes from; never what it is. digest is keyed with the installation's salt."""

    name: str
    file: NotRequired[str]  # absolute
    environment: NotRequired[str]  # a variable's name
    content_digest: NotRequired[str]  # inline content, keyed
    external: NotRequired[bool]
    digest: NotRequired[str]
    labels: NotRequired[dict[str, str]]


class ConfigSpec(TypedDict):
    """Like SecretSpec; `content` is kept as written, since configs are not secret."""

    name: str
    file: NotRequired[str]
    environment: NotRequired[str]
    content: NotRequired[str]
    external: NotRequired[bool]
    digest: NotRequired[str]
    labels: NotRequired[dict[str, str]]


class LayerSpec(TypedDict):
    """One layer. `kind` selects the keys of `args`: see spec/layers.py for each kind's. `inputs` is the digest of the
    files it reads from the project (absent when it reads none)."""

    kind: Literal["apt", "pip", "npm", "copy", "files", "archive", "user", "link", "remove", "run"]
    args: dict[str, Any]
    inputs: NotRequired[str]


class ImageSpec(TypedDict):
    """How an image is made or where it comes from; exactly one of base, reference, build.

    base: {"scratch": True} | {"debian": SUITE, "variant": …, "packages": […]} | {"image": KEY} |
    {"oci": ABSOLUTE_DIR, "tag": …, "inputs": …} | {"archive": ABSOLUTE_FILE, "tag": …, "inputs": …} |
    {"reference": REF} | {"build": like `build`}.
    reference: an image of a registry or of the store, not made here. build: a Dockerfile build in Compose's words
    (context absolute, shm_size in bytes, extra_hosts and ulimits as in ServiceSpec, `inputs` a digest).
    config: OCI image-spec config.md `config` keys set by the YAML, in envkit's words: user, workdir, environment,
    entrypoint, command, labels, expose, volumes, stop_signal, healthcheck.
    """

    name: str
    base: NotRequired[dict[str, Any]]
    layers: NotRequired[list[LayerSpec]]
    config: NotRequired[dict[str, Any]]
    reference: NotRequired[str]
    build: NotRequired[dict[str, Any]]
    pull_policy: NotRequired[str]
    platform: NotRequired[str]
