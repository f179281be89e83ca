"""What a Docker Engine, and Podman's compatible service, do not do."""

from __future__ import annotations

from envkit.backend.features import Declaration, cannot, not_quite

_ONE_ENGINE = "there is one engine, so everything is placed on it"
_UPDATE = "envkit itself replaces the containers, one group after the other"
_UPGRADE = "upgrade the engine"
_PAUSES = "the engine has its own pauses between restarts"
_NO_STORE = "a single engine has no store of its own"

_LIMITS = {
    "service.annotations": not_quite("the engine does not know them yet", _UPGRADE, since=(1, 43)),
    "service.restart.delay": not_quite(_PAUSES, "take it away"),
    "service.restart.window": not_quite(_PAUSES, "take it away"),
    "service.healthcheck.start_interval": not_quite("the engine does not know it yet", _UPGRADE, since=(1, 44)),
    "service.mode:job": not_quite("it runs like any service", 'give it `restart: "no"`'),
    "service.placement": not_quite(_ONE_ENGINE),
    "service.endpoint_mode": not_quite("a name leads to all instances of its service, in turn"),
    "service.mounts[].subpath": cannot("the engine does not know it yet", _UPGRADE, since=(1, 45)),
    "service.mounts[].type:image": cannot("the engine does not know it yet", _UPGRADE, since=(1, 48)),
    "service.mounts[].nosuid": not_quite("the engine mounts it without these flags", filled_in="nothing"),
    "service.networks.*.gw_priority": not_quite("the engine does not know it yet", _UPGRADE, since=(1, 48)),
    "service.networks.*.interface_name": not_quite("the engine does not know it yet", _UPGRADE, since=(1, 49)),
    "secret.external": cannot(_NO_STORE, "give it a `file:` or an `environment:`"),
    "config.external": cannot(_NO_STORE, "give it a `file:` or an `environment:`"),
}  # fmt: skip

DOCKER = Declaration("docker", "Docker", _LIMITS)
PODMAN = Declaration("podman", "Podman", _LIMITS)
DECLARATIONS = {item.backend: item for item in (DOCKER, PODMAN)}
