"""`deploy:`, `develop:` and the hooks of a service (Compose Deploy and Develop Specifications)."""

from __future__ import annotations

from typing import Literal

from envkit.spec.isolation import DeviceRequest
from envkit.spec.vocabulary import (
    Command,
    Duration,
    Flag,
    MapOrSet,
    Number,
    Section,
    SizeText,
    TextOrSet,
    Texts,
    Whole,
    key,
)


class Rollout(Section):
    """How new instances take the place of old ones."""

    order: Literal["start-first", "stop-first"] | None = key("What comes first.", default="stop-first")
    parallelism: Whole | None = key("How many instances at a time; 0 for all.", default=1)
    delay: Duration | None = key("The pause between two groups.", "10s", default="0s")
    failure_action: str | None = key("continue, pause or rollback.", default="pause")
    monitor: Duration | None = key("How long an instance is watched after its start.", "5s")
    max_failure_ratio: Number | None = key("The share of failures that is tolerated.", default=0)


class Limits(Section):
    cpus: Number | None = key("How many CPUs it may use.", "0.5")
    memory: SizeText | None = key("The most memory; beyond it the process is killed.", "256M")
    pids: Whole | None = key("The most processes and threads.", 128)


class DiscreteResource(Section):
    kind: str | None = key("The resource's name.", "SSD")
    value: Number | None = key("How many.", 1)


class GenericResource(Section):
    discrete_resource_spec: DiscreteResource | None = key("A countable resource.")


class Reservations(Section):
    cpus: Number | None = key("The CPUs that a node must have free.", "0.25")
    memory: SizeText | None = key("The memory that is kept for it.", "64M")
    generic_resources: list[GenericResource] | None = key("User-defined resources of Swarm nodes.")
    devices: list[DeviceRequest] | None = key("GPUs and the like.")


class Resources(Section):
    limits: Limits | None = key("The most that one instance may use.")
    reservations: Reservations | None = key("What one instance is sure to have.")


class RestartPolicy(Section):
    """Takes the place of `restart:`."""

    condition: str | None = key("none, on-failure or any.", "on-failure", default="any")
    delay: Duration | None = key("The first pause between two attempts.", "5s")
    max_attempts: Whole | None = key("How often it is tried; unlimited when absent.", 3)
    window: Duration | None = key("The life span that counts as success.", "120s")


class Preference(Section):
    spread: str | None = key("The node label to spread over.", "node.labels.zone")


class Placement(Section):
    constraints: Texts | None = key("Where instances may run.", ["node.role==worker"])
    preferences: list[Preference] | None = key("How instances are spread.")
    max_replicas_per_node: Whole | None = key("The most instances on one node.")


class Deploy(Section):
    """How many instances run, with which resources, and how they are replaced."""

    replicas: Whole | None = key("The number of instances.", 3, default=1)
    mode: str | None = key("replicated, global, replicated-job or global-job.", default="replicated")
    resources: Resources | None = key("Limits and reservations of one instance.")
    restart_policy: RestartPolicy | None = key("When an ended instance is started again.")
    update_config: Rollout | None = key("How a changed service is rolled out.")
    rollback_config: Rollout | None = key("How a failed change is taken back.")
    placement: Placement | None = key("Which nodes it runs on (Swarm, Kubernetes).")
    labels: MapOrSet | None = key("Labels of the service, not of its containers.")
    endpoint_mode: str | None = key("vip or dnsrr (Swarm).", "vip")


class Hook(Section):
    """A command in the running container."""

    command: Command = key("What to run.", ["./warm-up"], required=True, nullable=True)
    user: str | None = key("The user; the service's when absent.", "root")
    privileged: Flag | None = key("With all privileges.", default=False)
    working_dir: str | None = key("The directory; the service's when absent.")
    environment: MapOrSet | None = key("Further variables.")


class WatchRule(Section):
    path: str = key("The directory or file to watch.", "./src", required=True)
    action: Literal["rebuild", "sync", "restart", "sync+restart", "sync+exec"] = key(
        "What a change there leads to.", required=True
    )
    target: str | None = key("Where `sync` puts the files in the container.", "/srv/app")
    ignore: TextOrSet | None = key("Patterns of files that do not count.", ["node_modules/"])
    include: TextOrSet | None = key("Patterns of the only files that count.", ["*.py"])
    initial_sync: bool | None = key("Bring everything up to date when watching starts.", default=False)
    exec: Hook | None = key("The command of `sync+exec`.")


class Develop(Section):
    """What `envkit watch` does."""

    watch: list[WatchRule] | None = key("Rules, each for one path.")
