"""What a service says about its process and its files (Compose Specification, 05-services.md)."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from envkit.spec.vocabulary import (
    Command,
    Distinct,
    FileReferences,
    Flag,
    Keywords,
    MapOrSet,
    Name,
    Number,
    Section,
    Set,
    Size,
    TextOrSet,
    TextOrTexts,
    key,
)


class EnvironmentFileEntry(Section):
    """One entry of `env_file:`."""

    extensible: ClassVar[bool] = False
    path: str = key("The file, relative to the project directory.", "./app.env", required=True)
    format: str | None = key("`raw` takes every line as it stands: no quotes, no comments, no interpolation.", "raw")
    required: Flag | None = key("Whether a missing file is an error.", default=True)


class Logging(Section):
    driver: str | None = key("Where the output goes: json-file, local, journald, syslog, none, …", "json-file", "none")
    options: dict[str, str | float | None] | None = key(
        "The driver's settings.", {"max-size": "10m", "max-file": "3"}
    )


class CredentialSpec(Section):
    """Windows only."""

    config: str | None = key("A key below `configs:` with the credential specification.")
    file: str | None = key("A file with the credential specification.")
    registry: str | None = key("A registry value with the credential specification.")


class Process(Section):
    """What runs."""

    image: str | None = key("The image: a key below `images:` or a reference.", "app", "postgres:16")
    command: Command = key(
        "The arguments that replace the image's command. A string is split like a shell does, without running one.",
        ["python3", "-m", "http.server"], nullable=True,
    )  # fmt: skip
    entrypoint: Command = key("Replaces the image's entrypoint, and drops its command.", nullable=True)
    environment: MapOrSet | None = key(
        "Variables of the process. A name without a value takes it from the shell or `.env`.", {"LOG_LEVEL": "info"}
    )
    env_file: str | list[str | EnvironmentFileEntry] | None = key(
        "Files with variables; a later file wins over an earlier one, `environment` over all.", "./app.env"
    )
    label_file: TextOrTexts | None = key("Files with labels, in the syntax of `env_file`.")
    labels: MapOrSet | None = key("Labels of the container.", {"org.example.team": "shop"})
    annotations: MapOrSet | None = key("OCI annotations of the container.")
    working_dir: str | None = key("The directory that the process starts in.", "/srv/app")
    user: str | None = key("USER, USER:GROUP, by name or number as the image knows them.", "app", "1000:1000")
    group_add: Annotated[list[str | float], Distinct()] | None = key("Further groups.", ["audio"])
    hostname: str | None = key("The name of the host as the container sees it.", "web")
    domainname: str | None = key("The NIS domain name.")
    init: Flag | None = key("Run a small init as PID 1 that reaps children and passes signals on.")
    stop_signal: str | None = key("The signal that asks the process to end.", "SIGINT", default="SIGTERM")
    stop_grace_period: str | None = key("How long a stop waits before it kills.", "30s", default="10s")
    logging: Logging | None = key("Where the container's output goes.")
    platform: str | None = key("os/architecture of the image.", "linux/amd64")
    pull_policy: Annotated[
        str,
        Field(pattern=r"^(always|never|build|if_not_present|missing|refresh|daily|weekly|every_([0-9]+[wdhms])+)$"),
        Keywords(patternErrorMessage="must be always, missing, never, build, refresh, daily, weekly or every_12h"),
    ] | None = key("When to fetch the image.", "missing", "always", "never", "daily", "every_12h")  # fmt: skip
    pull_refresh_after: str | None = key("The age from which `pull_policy: refresh` fetches again.", "24h")
    runtime: str | None = key("Another OCI runtime than the backend's.", "runc")
    credential_spec: CredentialSpec | None = key("Windows credentials.")
    isolation: str | None = key("Windows isolation technology.")


class BindOptions(Section):
    propagation: str | None = key("How mounts below the source are seen.", "rslave", default="rprivate")
    create_host_path: Flag | None = key("Make a missing source directory.")
    recursive: Literal["enabled", "disabled", "writable", "readonly"] | None = key(
        "Whether mounts below the source come along, and whether they become read-only too.", default="enabled"
    )
    selinux: Literal["z", "Z"] | None = key("Relabel for SELinux: z shared, Z private.")


class VolumeOptions(Section):
    labels: MapOrSet | None = key("Labels of an anonymous volume.")
    nocopy: Flag | None = key("Do not fill an empty volume from the image.", default=False)
    subpath: str | None = key("Mount this directory of the volume.", "uploads")


class TmpfsOptions(Section):
    size: Annotated[int, Field(ge=0)] | Annotated[str, Keywords(format="bytes")] | None = key("Its size.", "64m")
    mode: Number | None = key("Permissions of its root, octal.", "1777")


class ImageOptions(Section):
    subpath: str | None = key("Mount this directory of the image.")


class Mount(Section):
    """One entry of `volumes:` in the long form."""

    type: Literal["bind", "volume", "tmpfs", "cluster", "npipe", "image"] = key("What is mounted.", required=True)
    source: str | None = key("A host path for bind, a key below `volumes:` for volume, a reference for image.", "data")
    target: str | None = key("The path in the container.", "/var/lib/postgresql/data")
    read_only: Flag | None = key("Mount it read-only.", default=False)
    consistency: str | None = key("Ignored on Linux.")
    bind: BindOptions | None = key("Settings of a bind.")
    volume: VolumeOptions | None = key("Settings of a volume.")
    tmpfs: TmpfsOptions | None = key("Settings of a tmpfs.")
    image: ImageOptions | None = key("Settings of an image mount.")


class Device(Section):
    source: str = key("The host's device node, or a CDI name.", "/dev/ttyUSB0", required=True)
    target: str | None = key("Its path in the container; the source's when absent.")
    permissions: str | None = key("Any of r, w and m.", default="rwm")


class Files(Section):
    """What the process sees of files."""

    volumes: Annotated[list[str | Mount], Distinct()] | None = key(
        "Mounts: SOURCE:TARGET[:OPTIONS], or the long form. A source that begins with `.`, `/` or `~` is a host path, "
        "any other a key below `volumes:`.", ["data:/var/lib/postgresql/data", "./conf:/etc/app:ro"],
    )  # fmt: skip
    tmpfs: TextOrSet | None = key("Directories in memory, PATH[:OPTIONS].", ["/run", "/tmp:size=64m"])
    read_only: Flag | None = key("Mount the container's root read-only. The default in an envkit.yaml.")
    secrets: FileReferences | None = key("Secrets, each a file in /run/secrets.", ["db_password"])
    configs: FileReferences | None = key("Configs, each a file.", [{"source": "app_ini", "target": "/etc/app.ini"}])
    devices: list[str | Device] | None = key("Host devices, SOURCE[:TARGET[:PERMISSIONS]].", ["/dev/ttyUSB0"])
    device_cgroup_rules: Set | None = key("Device access by class and number.", ["c 13:* rwm"])
    shm_size: Size | None = key("The size of /dev/shm.", "128m", default="64m")
    storage_opt: dict[str, Any] | None = key("Settings of the storage driver.", {"size": "10G"})
    volumes_from: Set | None = key("All mounts of another service or container, [container:]NAME[:ro|rw].")
    use_api_socket: bool | None = key("Give the container the engine's API socket.")


class ModelEntry(Section):
    endpoint_var: str | None = key("The variable that gets the model's endpoint.")
    model_var: str | None = key("The variable that gets the model's name.")


ModelEntries = Set | dict[Name, ModelEntry | None]
