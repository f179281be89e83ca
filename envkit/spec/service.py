"""`services:` (Compose Specification, 05-services.md) and what an envkit.yaml adds to it."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from envkit.spec.build import Build
from envkit.spec.container import Files, ModelEntries, Process
from envkit.spec.deploy import Deploy, Develop, Hook
from envkit.spec.isolation import Bounds, Connectivity, Privileges
from envkit.spec.vocabulary import Distinct, Duration, Flag, Keywords, Name, Number, Section, Set, Texts, Whole, key


class Container(Process, Files, Connectivity, Privileges, Bounds):
    """Everything that makes one container."""

    models: ModelEntries | None = key("Models below `models:` that it uses.", ["llm"])


class Healthcheck(Section):
    """How to tell that the service works."""

    test: str | Texts | None = key(
        "The command. A list begins with CMD, CMD-SHELL or NONE; a string is run by the container's shell.",
        ["CMD", "pg_isready", "-U", "postgres"],
    )
    interval: Duration | None = key("The pause between two checks.", "5s", default="30s")
    timeout: Duration | None = key("A check that takes longer has failed.", default="30s")
    retries: Number | None = key("So many failures in a row mean unhealthy.", default=3)
    start_period: Duration | None = key("Failures do not count for so long after the start.", "10s", default="0s")
    start_interval: Duration | None = key("The pause between two checks in the start period.", default="5s")
    disable: Flag | None = key("Switch the image's own check off.", default=False)


class DependencyCondition(Section):
    condition: Literal["service_started", "service_healthy", "service_completed_successfully"] = key(
        "What must be true of it first.", required=True
    )
    restart: Flag | None = key("Restart this service when that one is replaced or restarted by envkit.", default=False)
    required: bool | None = key("Whether it may be absent.", default=True)


class Port(Section):
    target: Whole | None = key("The port in the container.", 80)
    published: Whole | None = key("The host's port, or a range to pick from; any free one when absent.", "8080")
    host_ip: str | None = key("The host's address to publish on.", "127.0.0.1")
    protocol: str | None = key("tcp, udp or sctp.", default="tcp")
    mode: str | None = key("host or ingress (Swarm).", default="ingress")
    name: str | None = key("A name for people.", "http")
    app_protocol: str | None = key("The protocol spoken on it.", "https")


class Workload(Section):
    """What services and jobs have in common beyond the container."""

    build: str | Build | None = key("Build the image from a Dockerfile: a context directory, or the long form.", ".")
    depends_on: Set | dict[Name, DependencyCondition] | None = key(
        "Services to start first.", {"db": {"condition": "service_healthy"}}
    )
    healthcheck: Healthcheck | None = key("How to tell that the service works.")
    ports: Annotated[list[float | str | Port], Distinct()] | None = key(
        "Ports to publish, [[ADDRESS:]PUBLISHED:]TARGET[/PROTOCOL]. Without an address an envkit.yaml publishes on "
        "127.0.0.1, a compose.yaml on every address.", ["8080:80"],
    )  # fmt: skip
    expose: Annotated[list[str | float], Distinct()] | None = key(
        "Ports that it listens on; nothing is published.", ["5432"]
    )
    stdin_open: Flag | None = key("Keep standard input open.", default=False)
    tty: Flag | None = key("Give it a terminal.", default=False)


class Provider(Section):
    type: str = key("The program that provides the service.", required=True)
    options: dict[str, str | float | bool | list[str | float | bool]] | None = key("What it is told.")


class Extends(Section):
    extensible: ClassVar[bool] = False
    service: str = key("The service to start from.", "base", required=True)
    file: str | None = key("The file that it is in; this one when absent.", "common.yaml")


class PreStartHook(Container):
    """A container that runs to its end before the service starts."""

    per_replica: Flag | None = key("Run it once for each instance.", default=False)


ContainerName = Annotated[
    str, Field(pattern=r"[a-zA-Z0-9][a-zA-Z0-9_.-]+"),
    Keywords(patternErrorMessage="must have two or more letters, digits, `_`, `.` or `-`, beginning with a letter"),
]  # fmt: skip


class Service(Container, Workload):
    """One service: any number of equal containers."""

    container_name: ContainerName | None = key(
        "A name of its own for the only container.", "shop-db"
    )
    scale: Whole | None = key("The number of instances.", 2, default=1)
    restart: str | None = key("no, always, unless-stopped or on-failure[:ATTEMPTS].", "unless-stopped", "on-failure:5")
    deploy: Deploy | None = key("Instances, resources and rollout.", nullable=True)
    develop: Develop | None = key("What `envkit watch` does.", nullable=True)
    profiles: Set | None = key("Leave the service out unless one of these profiles is enabled.", ["debug"])
    extends: str | Extends | None = key("Start from another service.", {"file": "common.yaml", "service": "base"})
    links: Set | None = key("Services to be reachable by another name, SERVICE[:ALIAS].", ["db:database"])
    external_links: Set | None = key("Containers of others to link to.")
    pre_start: list[PreStartHook] | None = key("Containers that run to their end before the service starts.")
    post_start: list[Hook] | None = key("Commands in the container after its start.")
    pre_stop: list[Hook] | None = key("Commands in the container before it is stopped.")
    attach: Flag | None = key("Show its output with the others'.", default=True)
    provider: Provider | None = key("The service is made by another program.")


Allowance = Literal["runtime-socket", "host-path", "suid-mounts"]


class EnvironmentService(Service):
    """A service of an envkit.yaml."""

    allow: Annotated[list[Allowance], Distinct()] | None = key(
        "What the hardened defaults would refuse: runtime-socket mounts a container runtime's socket, host-path a "
        "sensitive directory of the host, suid-mounts set-user-ID programs and devices on its mounts.",
        ["runtime-socket"],
    )  # fmt: skip


class Schedule(Section):
    cron: str = key("When it runs, in cron's five fields.", "0 3 * * *", required=True)
    timezone: str | None = key("The time zone of the fields.", "Europe/Berlin")
    concurrency: Literal["forbid", "queue"] | None = key("What happens when the last run is not over.")
    missed_fires: Literal["one", "skip"] | None = key("What happens to runs that were missed.")


class Triggers(Section):
    conditions: ClassVar[dict[str, Any]] = {"anyOf": [{"required": ["manual"]}, {"required": ["schedule"]}]}
    manual: Flag | None = key("It is started by hand.")
    schedule: list[str | Schedule] | None = key("When it is started.", ["0 3 * * *"])


class Job(Container, Workload):
    """Work that runs to its end, by hand or on a schedule."""

    triggers: Triggers = key("What starts it.", required=True)
    profiles: Set | None = key("Leave the job out unless one of these profiles is enabled.")
