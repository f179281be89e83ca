"""Phases: defaults for what was left out; implicit networks, dependencies and names.

What a reader of the file takes for granted is written out: the default network, dependencies implied by links,
namespaces and volumes_from, `Dockerfile`, names made of the project's name and the key.
"""

from __future__ import annotations

from collections.abc import Mapping

from envkit.config.fields import INHERITED_BY_HOOKS
from envkit.config.merge import Merge
from envkit.config.rules import Place, Rules, rewrite
from envkit.config.scalars import go_format
from envkit.config.tree import Map, Origin, Seq, as_map, clone, origin_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_NAMESPACES = ("network_mode", "ipc", "pid", "uts", "cgroup")


def _build(value: object, _: Place) -> object:
    if isinstance(value, Map) and "context" not in value:
        value["context"] = "."
    return value


def _secret(value: object, _: Place) -> object:
    if isinstance(value, Map) and value.get("target") is None and "source" in value:
        value.put("target", f"/run/secrets/{value['source']}", value.at.get("source"))
    return value


def _port(value: object, _: Place) -> object:
    if isinstance(value, Map):
        value.setdefault("mode", "ingress")
        value.setdefault("protocol", "tcp")
    return value


def _device_request(value: object, _: Place) -> object:
    if isinstance(value, Map) and "count" not in value and "device_ids" not in value:
        value["count"] = "all"
    return value


_DEFAULTS: Rules = Rules.of(
    {
        "services.*.build": _build, "services.*.secrets.*": _secret, "services.*.ports.*": _port,
        "services.*.deploy.resources.reservations.devices.*": _device_request, "services.*.gpus.*": _device_request,
    }
)  # fmt: skip


def set_defaults(document: Map) -> None:
    """Defaults inside services, in place."""
    rewrite(document, _DEFAULTS)


def normalize(document: Map, project: str, environ: Mapping[str, str], merge: Merge) -> None:
    """The implicit parts of a whole project, in place."""
    services, jobs = document.get("services"), document.get("jobs")
    users = [section for section in (services, jobs) if isinstance(section, Map)]
    used = [_join_default_network(section) for section in users]
    if any(used):
        networks = document.get("networks")
        if not isinstance(networks, Map):
            networks = Map()
            document["networks"] = networks
        networks.setdefault("default", None)
    for name, service in services.items() if isinstance(services, Map) else ():
        if isinstance(service, Map):
            _service(service, environ)
            _hooks(name, service, merge)
    for kind in ("networks", "volumes", "configs", "secrets"):
        section = document.get(kind)
        if isinstance(section, Map):
            _names(section, project)


def _join_default_network(services: Map) -> bool:
    """Put services without networks into `default`; whether any service uses it."""
    used = False
    for service in services.values():
        if not isinstance(service, Map) or "network_mode" in service or "provider" in service:
            continue
        networks = service.get("networks")
        if not networks:
            service["networks"] = Map({"default": None})
            used = True
        elif "default" in networks:
            used = True
    return used


def _service(service: Map, environ: Mapping[str, str]) -> None:
    deploy = service.get("deploy")
    if isinstance(deploy, Map) and service.get("scale") is not None:
        deploy.setdefault("replicas", service["scale"])
    if service.get("pull_policy") == "if_not_present":
        service["pull_policy"] = "missing"
    build = service.get("build")
    if isinstance(build, Map):
        build.setdefault("context", ".")
        if build.get("dockerfile") is None and build.get("dockerfile_inline") is None:
            build["dockerfile"] = "Dockerfile"
        if "args" in build:
            build["args"] = _resolved(build["args"], environ)
    depends_on = service.get("depends_on")
    found = depends_on if isinstance(depends_on, Map) else Map()

    def need(name: str, restart: bool, origin: Origin | None) -> None:
        if name not in found:
            made = as_map({"condition": "service_started", "restart": restart, "required": True}, origin)
            found.put(name, made, origin)

    links = service.get("links")
    for index, link in enumerate(links if isinstance(links, Seq) else ()):
        parts = go_format(link).split(":")
        need(parts[0] if len(parts) == 2 else go_format(link), True, origin_of(links, index))
    for key in _NAMESPACES:
        value = service.get(key)
        if isinstance(value, str) and value.startswith("service:"):
            need(value.removeprefix("service:"), True, service.at.get(key))
    others = service.get("volumes_from")
    for index, item in enumerate(others if isinstance(others, Seq) else ()):
        if isinstance(item, str) and not item.startswith("container:"):
            need(item.split(":")[0], False, origin_of(others, index))
    if found:
        service.put("depends_on", found, service.at.get("depends_on"))


def _hooks(name: str, service: Map, merge: Merge) -> None:
    """A pre_start hook runs in a container like the service's own, but for what it says itself and for volumes."""
    hooks = service.get("pre_start")
    if not isinstance(hooks, Seq):
        return
    for index, hook in enumerate(hooks):
        base = Map()
        for key, value in service.items():
            if key in INHERITED_BY_HOOKS:
                base.put(key, clone(value), service.at.get(key))
        hooks[index] = merge.services(base, hook, f"{name}.pre_start[{index}]")


def _resolved(arguments: object, environ: Mapping[str, str]) -> object:
    """Build arguments without a value are taken from the environment, or left out when it has none."""
    if isinstance(arguments, Map):
        for key, value in list(arguments.items()):
            if value is None and key in environ:
                arguments[key] = environ[key]
            elif value is None:
                del arguments[key]
        return arguments
    if not isinstance(arguments, Seq):
        return arguments
    made = Seq()
    for index, item in enumerate(arguments):
        name = go_format(item)
        if "=" in name or name in environ:
            made.add(name if "=" in name else f"{name}={environ[name]}", arguments.at[index])
    return made or None


def _names(section: Map, project: str) -> None:
    for key, value in section.items():
        resource: Any = value
        if resource is None:
            resource = Map()
            section[key] = resource
        if isinstance(resource, Map) and resource.get("name") is None:
            external = resource.get("external")
            is_external = external is True or go_format(external).lower() in ("true", "1", "t")
            resource["name"] = key if is_external else f"{project}_{key}"
