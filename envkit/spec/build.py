"""`build:` of a service (Compose Build Specification)."""

from __future__ import annotations

from envkit.spec.vocabulary import (
    ExtraHosts,
    FileReferences,
    Flag,
    MapOrSet,
    Section,
    TextOrSet,
    Texts,
    Ulimits,
    Whole,
    key,
)


class Build(Section):
    """How the service's image is built from a Dockerfile."""

    context: str | None = key("The directory (or Git URL) that COPY reads from.", ".", default=".")
    dockerfile: str | None = key("The Dockerfile, relative to the context.", default="Dockerfile")
    dockerfile_inline: str | None = key("The Dockerfile's text itself.", "FROM debian:12\nRUN echo hello\n")
    target: str | None = key("The stage to build.", "production")
    args: MapOrSet | None = key("Values for ARG. A name without a value takes it from the shell.", {"VERSION": "1.2"})
    labels: MapOrSet | None = key("Labels of the image.")
    tags: Texts | None = key("Further references of the image.", ["registry.example/app:1.2"])
    platforms: Texts | None = key("os/architecture pairs to build for.", ["linux/amd64"])
    secrets: FileReferences | None = key("Secrets for RUN --mount=type=secret.", ["npm_token"])
    ssh: MapOrSet | None = key("SSH agents for RUN --mount=type=ssh.", ["default"])
    additional_contexts: MapOrSet | None = key(
        "Further named contexts: a directory, docker-image://REF, service:NAME.", {"assets": "./assets"}
    )
    network: str | None = key("The network of RUN: default, none or host.", "none")
    extra_hosts: ExtraHosts | None = key("Further names for RUN.", ["mirror=10.0.0.2"])
    cache_from: Texts | None = key("Where to look for cached layers.")
    cache_to: Texts | None = key("Where to keep cached layers.")
    no_cache: Flag | None = key("Build every layer anew.", default=False)
    no_cache_filter: TextOrSet | None = key("Stages to build anew.")
    pull: Flag | None = key("Fetch newer base images.", default=False)
    shm_size: Whole | None = key("The size of /dev/shm in RUN.", "128m")
    ulimits: Ulimits | None = key("Resource limits of RUN.")
    privileged: Flag | None = key("Lift the restrictions of RUN.", default=False)
    entitlements: Texts | None = key("Privileges that RUN may ask for.", ["network.host"])
    isolation: str | None = key("Windows isolation technology.")
    provenance: str | bool | None = key("Attach a provenance attestation.")
    sbom: str | bool | None = key("Attach a bill of materials.")
