"""The top-level resources besides services and images (Compose Specification, 06 to 10)."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field

from envkit.spec.vocabulary import Flag, MapOrSet, Options, Section, TextOrSet, Texts, key


class External(Section):
    name: str | None = key("Write `name:` beside `external: true` instead.", deprecated=True)


class OpenExternal(Section):
    open: ClassVar[bool] = True
    name: str | None = key("Write `name:` beside `external: true` instead.", deprecated=True)


class Subnet(Section):
    subnet: str | None = key("The addresses of the network.", "172.28.0.0/16")
    ip_range: str | None = key("The part of it that containers get addresses from.", "172.28.5.0/24")
    gateway: str | None = key("The host's address on it.", "172.28.0.1")
    aux_addresses: dict[str, str] | None = key("Addresses that others have.")


class Ipam(Section):
    driver: str | None = key("Who manages the addresses.", default="default")
    config: list[Subnet] | None = key("Subnets.", [{"subnet": "172.28.0.0/16"}])
    options: dict[str, str] | None = key("Settings of the driver.")


class Network(Section):
    """A network that services can join."""

    name: str | None = key("Its name at the runtime; PROJECT_KEY when absent.", "shop-net")
    driver: str | None = key("bridge, host, none, macvlan, ipvlan, overlay, …", default="bridge")
    driver_opts: Options | None = key("Settings of the driver.")
    internal: Flag | None = key("No way out of it, and none in.", default=False)
    external: bool | str | External | None = key("It exists already, and is nobody's to change here.", default=False)
    attachable: Flag | None = key("Containers of others may join (Swarm).", default=False)
    enable_ipv4: Flag | None = key("Give out IPv4 addresses.", default=True)
    enable_ipv6: Flag | None = key("Give out IPv6 addresses.", default=False)
    ipam: Ipam | None = key("Its addresses.")
    labels: MapOrSet | None = key("Labels of the network.")


class Volume(Section):
    """A place for data that outlives containers."""

    name: str | None = key("Its name at the runtime; PROJECT_KEY when absent.", "shop-data")
    driver: str | None = key("Who keeps it.", default="local")
    driver_opts: Options | None = key(
        "Settings of the driver; those of `local` are mount's.", {"type": "none", "o": "bind", "device": "/srv/data"}
    )
    external: bool | str | External | None = key("It exists already, and is never removed.", default=False)
    labels: MapOrSet | None = key("Labels of the volume.")


class Protect(Section):
    snapshot: bool | None = key("Keep a snapshot; false: refuse to lose the data at all.", default=True)
    keep: Annotated[int, Field(ge=1)] | None = key("How many such snapshots stay.", 5, default=3)


class EnvironmentVolume(Volume):
    """A volume of an envkit.yaml."""

    protect: bool | Protect | None = key(
        "Keep its data as a snapshot before anything that would lose it.", {"snapshot": True, "keep": 5}, default=False
    )


class Secret(Section):
    """Something that must not be seen. Services get it as a file in memory."""

    name: str | None = key("Its name at the runtime.")
    file: str | None = key("The file with its content.", "./secrets/db_password")
    environment: str | None = key("The variable with its content.", "DB_PASSWORD")
    external: bool | str | OpenExternal | None = key("It exists already at the runtime.", default=False)
    labels: MapOrSet | None = key("Labels of the secret.")
    driver: str | None = key("Who keeps it.")
    driver_opts: Options | None = key("Settings of the driver.")
    template_driver: str | None = key("Who fills in its content.")


class Config(Section):
    """A file of settings. Services get it as a file."""

    name: str | None = key("Its name at the runtime.")
    content: str | None = key("Its content itself.", "workers = 2\n")
    file: str | None = key("The file with its content.", "./app.ini")
    environment: str | None = key("The variable with its content.", "APP_INI")
    external: bool | str | OpenExternal | None = key("It exists already at the runtime.", default=False)
    labels: MapOrSet | None = key("Labels of the config.")
    template_driver: str | None = key("Who fills in its content.")


class LanguageModel(Section):
    """A language model that services use."""

    name: str | None = key("Its name at the runtime.")
    model: str = key("The model's reference.", "ai/smollm2", required=True)
    context_size: int | None = key("The size of its context in tokens.", 4096)
    runtime_flags: Texts | None = key("Flags for the model runner.")


class Include(Section):
    """Another project's file that becomes part of this one."""

    extensible: ClassVar[bool] = False
    path: TextOrSet | None = key("The file, or files that merge.", "../db/compose.yaml")
    env_file: TextOrSet | None = key("Files with its variables.")
    project_directory: str | None = key("What its relative paths start from.")
