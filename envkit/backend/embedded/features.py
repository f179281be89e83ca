"""What the embedded backend does not do on any machine. What depends on the machine is in check.py."""

from __future__ import annotations

from envkit.backend.features import Declaration, cannot, not_quite

_NO_STORE = "there is no store of its own"
_WITHOUT = "it is not handed over; the service runs without"

EMBEDDED = Declaration("embedded", "the embedded backend", {
    "service.gpus": not_quite(
        "graphics processors are not handed over; the service runs without", "name their nodes below `devices:`"),
    "service.storage_opt": not_quite(
        "an instance's own layer is not limited in size", "limit the file system that ENVKIT_HOME lies on"),
    "service.placement": not_quite("there is one machine, so everything is placed on it"),
    "service.endpoint_mode": not_quite("a name leads to all instances of its service, in turn"),
    "service.mode:job": not_quite("it runs like any service", 'give it `restart: "no"`'),
    "service.reservations.generic_resources": not_quite(_WITHOUT, "name device nodes below `devices:`"),
    "service.reservations.devices": not_quite(_WITHOUT, "name device nodes below `devices:`"),
    "service.userns_mode:other": cannot("user namespaces per service are not available", "leave it out"),
    "network.driver": cannot("it has bridge, macvlan and ipvlan", "leave `driver:` out"),
    "network.driver:overlay": cannot("it makes bridges on one machine", "leave `driver:` out"),
    "volume.driver": cannot(
        "there is no other driver than `local`", "`driver_opts` type, o and device are those of `local`"),
    "secret.external": cannot(_NO_STORE, "give it a `file:` or an `environment:`"),
    "config.external": cannot(_NO_STORE, "give it a `file:` or an `environment:`"),
})  # fmt: skip
