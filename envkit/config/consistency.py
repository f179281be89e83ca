"""Phase: what no schema can say: every reference has a target, exclusive attributes exclude each other, no cycles.

Runs on the canonical model; each problem stands at the value that causes it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from envkit.config.interpolate import to_number
from envkit.config.suggest import did_you_mean, one_of
from envkit.config.tree import Map, Origin, origin_of
from envkit.diagnostics import Diagnostics, Position

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_KINDS = {"networks": "network", "volumes": "volume", "secrets": "secret", "configs": "config", "models": "model"}


class Consistency:
    """Checks one model. disabled: services that a profile leaves out."""

    def __init__(self, model: Map, disabled: Map, problems: Diagnostics) -> None:
        self.model = model
        self.services: Map = model.get("services") or Map()
        self.disabled = disabled
        self.problems = problems

    def check(self) -> None:
        """Collect every problem."""
        for name, service in self.services.items():
            for rule in RULES:
                rule(self, name, service)
        for name, item in (self.model.get("volumes") or {}).items():
            self._external(name, item)
        for kind in ("secrets", "configs"):
            for name, item in (self.model.get(kind) or {}).items():
                self._material(kind, name, item)
        self._cycles()

    def error(self, code: str, summary: str, detail: str, origin: Origin | None, hint: str = "") -> None:
        at: Position | None = origin.position if origin else None
        self.problems.error(code, summary, detail, at, hint)

    def of_service(self, name: str, *path: Any) -> Origin | None:
        """The origin of a value in a service, or of its nearest parent."""
        found = self.services.at.get(name)
        value: Any = self.services.get(name)
        for key in path:
            origin = origin_of(value, key)
            found = origin or found
            try:
                value = value[key]
            except (KeyError, IndexError, TypeError):
                break
        return found

    def source(self, name: str, _: Map) -> None:
        """A service is run from an image, built, or provided."""
        service = self.services[name]
        if not service.get("image") and "build" not in service and "provider" not in service:
            self.error(
                "no-image", "The service has neither an image nor a build", f"`services.{name}`",
                self.services.at.get(name), "add `image:` or `build:`")  # fmt: skip

    def build(self, name: str, service: Map) -> None:
        build = service.get("build")
        if not isinstance(build, Map):
            return
        if build.get("dockerfile") and build.get("dockerfile_inline"):
            self.error(
                "exclusive", "Two attributes exclude each other",
                f"`services.{name}.build` has both `dockerfile` and `dockerfile_inline`",
                build.at.get("dockerfile_inline"))  # fmt: skip
        platforms = build.get("platforms") or ()
        if platforms and service.get("platform") and service["platform"] not in platforms:
            self.error(
                "platform", "The service's platform is not built",
                f"`services.{name}.build.platforms` does not have {service['platform']}", build.at.get("platforms"),
                f"add {service['platform']}")  # fmt: skip
        for key, context in (build.get("additional_contexts") or {}).items():
            other = context.removeprefix("service:")
            if other != context and "build" not in (self.services.get(other) or self.disabled.get(other) or ()):
                self.error(
                    "build-context", "A build context must be a service that is built",
                    f"`services.{name}.build.additional_contexts.{key}` is {context}",
                    self.of_service(name, "build", "additional_contexts", key), did_you_mean(other, self.services))
        for index, item in enumerate(build.get("secrets") or ()):
            self._known("secrets", item.get("source", ""), name, ("build", "secrets", index, "source"))

    def networks(self, name: str, service: Map) -> None:
        networks = service.get("networks") or {}
        if service.get("network_mode") and networks:
            self.error(
                "exclusive", "Two attributes exclude each other",
                f"`services.{name}` has both `network_mode` and `networks`", service.at.get("network_mode"),
                "remove one of the two")  # fmt: skip
        for network in networks:
            self._known("networks", network, name, ("networks", network))

    def mounts(self, name: str, service: Map) -> None:
        taken: dict[str, str] = {}
        targets = [("tmpfs", i, item.partition(":")[0]) for i, item in enumerate(service.get("tmpfs") or ())]
        targets += [("volumes", i, item.get("target", "")) for i, item in enumerate(service.get("volumes") or ())]
        for key, index, target in targets:
            if target in taken:
                self.error(
                    "mount-target", "Two mounts have the same target",
                    f"`services.{name}.{key}[{index}]` and `{taken[target]}` are both at {target}",
                    self.of_service(name, key, index), "remove one of the two")  # fmt: skip
            taken[target] = f"services.{name}.{key}[{index}]"
        for index, mount in enumerate(service.get("volumes") or ()):
            for key in ("target", "source") if mount.get("type") == "bind" else ("target",):
                if not mount.get(key):
                    self.error(
                        "mount", f"A mount needs a {key}", f"`services.{name}.volumes[{index}]`",
                        self.of_service(name, "volumes", index), f"add `{key}:`")  # fmt: skip
            if mount.get("type") == "volume" and mount.get("source"):
                self._known("volumes", mount["source"], name, ("volumes", index, "source"))
        for model in service.get("models") or ():
            self._known("models", model, name, ("models", model))
        for index, port in enumerate(service.get("ports") or ()):
            if "target" not in port:
                self.error(
                    "port", "A port needs a target", f"`services.{name}.ports[{index}]`",
                    self.of_service(name, "ports", index), "add `target:`")  # fmt: skip
        for kind in ("configs", "secrets"):
            for index, item in enumerate(service.get(kind) or ()):
                self._known(kind, item.get("source", ""), name, (kind, index, "source"))

    def _known(self, kind: str, wanted: str, name: str, path: tuple[Any, ...]) -> None:
        section = self.model.get(kind) or {}
        if wanted in section:
            return
        word = _KINDS[kind]
        hint = did_you_mean(wanted, section) or f"declare it below the top-level `{kind}:`"
        self.error(
            f"unknown-{word}", f"The {word} is not declared", f"`services.{name}` refers to `{wanted}`",
            self.of_service(name, *path), hint)  # fmt: skip

    def health(self, name: str, service: Map) -> None:
        test = (service.get("healthcheck") or {}).get("test") or ()
        if test and test[0] not in ("CMD", "CMD-SHELL", "NONE"):
            self.error(
                "healthcheck", "A health check must begin with CMD, CMD-SHELL or NONE",
                f"`services.{name}.healthcheck.test` begins with {test[0]!r}",
                self.of_service(name, "healthcheck", "test"), "write [CMD, …], or one string for the shell")

    def dependencies(self, name: str, service: Map) -> None:
        for other, how in (service.get("depends_on") or {}).items():
            if other in self.services or (not how.get("required", True) and other in self.disabled):
                continue
            origin = self.of_service(name, "depends_on", other)
            if other in self.disabled:
                own = ", ".join(self.disabled[other].get("profiles") or ())
                self.error(
                    "disabled-service", "The service depends on one that no active profile enables",
                    f"`services.{name}` depends on `{other}`", origin,
                    f"add `--profile {own}`, or write `required: false`")  # fmt: skip
            else:
                self.error(
                    "unknown-service", "The service depends on one that does not exist",
                    f"`services.{name}` depends on `{other}`", origin,
                    did_you_mean(other, self.services) or one_of(self.services))  # fmt: skip

    def scale(self, name: str, service: Map) -> None:
        deploy = service.get("deploy") or {}
        scale, replicas = service.get("scale"), deploy.get("replicas")
        for key, value, origin in (
            ("scale", scale, service.at.get("scale")), ("deploy.replicas", replicas, origin_of(deploy, "replicas")),
        ):  # fmt: skip
            if value is not None and value < 0:
                self.error(
                    "negative", "The number of replicas cannot be negative", f"`services.{name}.{key}` is {value}",
                    origin, "write 0 to run none")  # fmt: skip
        if scale is not None and replicas is not None and scale != replicas:
            self._distinct(name, "scale", "deploy.replicas", service)
        count = scale if scale is not None else replicas if replicas is not None else 1
        if count > 1 and service.get("container_name"):
            self.error(
                "container-name", "A container name cannot be shared",
                f"`services.{name}` has {count} replicas and `container_name`", service.at.get("container_name"),
                "remove `container_name`, or run one replica")  # fmt: skip

    def limits(self, name: str, service: Map) -> None:
        resources = (service.get("deploy") or {}).get("resources") or {}
        for key, section, other in (
            ("cpus", "limits", "cpus"), ("mem_limit", "limits", "memory"), ("pids_limit", "limits", "pids"),
            ("mem_reservation", "reservations", "memory"),
        ):  # fmt: skip
            if key in service and section in resources:
                value = resources[section].get(other, 0)
                same = to_number(str(service[key])) == to_number(str(value)) if key == "cpus" else service[key] == value
                if not same:
                    self._distinct(name, key, f"deploy.resources.{section}.{other}", service)

    def _distinct(self, name: str, key: str, other: str, service: Map) -> None:
        self.error(
            "conflict", "Two attributes that mean the same differ", f"`services.{name}`: `{key}` and `{other}`",
            service.at.get(key), "keep one of the two")  # fmt: skip

    def watch(self, name: str, service: Map) -> None:
        for index, rule in enumerate((service.get("develop") or {}).get("watch") or ()):
            if not rule.get("path"):
                self.error(
                    "watch-path", "A watch rule needs a path", f"`services.{name}.develop.watch[{index}]`",
                    self.of_service(name, "develop", "watch", index), "add `path:`")  # fmt: skip
            if not rule.get("target") and rule.get("action") not in ("rebuild", "restart"):
                self.error(
                    "watch-target", "A watch rule needs a target",
                    f"`services.{name}.develop.watch[{index}]` has the action {rule.get('action', '')!r}",
                    self.of_service(name, "develop", "watch", index), "add `target:`")  # fmt: skip

    def devices(self, name: str, service: Map) -> None:
        """A request names devices or a number of them."""
        resources = (service.get("deploy") or {}).get("resources") or {}
        requests: list[tuple[tuple[Any, ...], Map]] = [
            (("gpus", index), item) for index, item in enumerate(service.get("gpus") or ())
        ]
        reserved = (resources.get("reservations") or {}).get("devices") or ()
        requests += [(("deploy", "resources", "reservations", "devices", i), item) for i, item in enumerate(reserved)]
        for path, item in requests:
            if "count" in item and "device_ids" in item:
                self.error(
                    "exclusive", "Two attributes exclude each other",
                    f"`services.{name}`: a device request has both `count` and `device_ids`",
                    self.of_service(name, *path), "keep one of the two")  # fmt: skip

    def _material(self, kind: str, name: str, item: Map) -> None:
        wanted = ("file", "environment") if kind == "secrets" else ("file", "environment", "content")
        written = [key for key in wanted if key in item or key in item.at]
        if len(written) > 1:
            self.error(
                "exclusive", "Two attributes exclude each other",
                f"`{kind}.{name}` has {' and '.join(f'`{key}`' for key in written)}", item.at.get(written[1]),
                "keep one of them")  # fmt: skip
        if item.get("external") or (item.get("driver") and kind == "configs"):
            return
        if not written or (kind == "secrets" and not any(key in item for key in wanted)):
            section = self.model[kind]
            self.error(
                "no-content", f"The {_KINDS[kind]} has no content", f"`{kind}.{name}`", section.at.get(name),
                f"add {', '.join(f'`{key}:`' for key in wanted[:-1])} or `{wanted[-1]}:`")  # fmt: skip

    def _external(self, name: str, item: Map) -> None:
        """An external volume is only named."""
        more = [key for key in item if key not in ("name", "external")] if item.get("external") else []
        if more:
            self.error(
                "external", "An external volume can only have a name",
                f"`volumes.{name}` has {', '.join(f'`{key}`' for key in more)}", item.at.get(more[0]),
                "remove it, or `external`")  # fmt: skip

    def names(self) -> None:
        """Container names are unique."""
        taken: dict[str, str] = {}
        for name, service in self.services.items():
            wanted = service.get("container_name")
            if wanted and wanted in taken:
                self.error(
                    "container-name", "A container name cannot be shared",
                    f"`services.{name}` and `services.{taken[wanted]}` both want `{wanted}`",
                    service.at.get("container_name"))  # fmt: skip
            elif wanted:
                taken[wanted] = name

    def _cycles(self) -> None:
        for cycle in cycles({name: list(item.get("depends_on") or ()) for name, item in self.services.items()}):
            self.error(
                "cycle", "Services depend on each other in a circle", " -> ".join([*cycle, cycle[0]]),
                self.of_service(cycle[0], "depends_on", cycle[1 % len(cycle)]), "remove one of these dependencies")


def cycles(graph: dict[str, list[str]]) -> Iterator[list[str]]:
    """The cycles that a depth-first walk in the order of names runs into, each once."""
    done: set[str] = set()
    for start in sorted(graph):
        if start in done:
            continue
        path: list[str] = []
        on_path: set[str] = set()
        stack: list[tuple[str, Iterator[str]]] = [(start, iter(sorted(graph[start])))]
        path.append(start)
        on_path.add(start)
        while stack:
            node, others = stack[-1]
            other = next(others, None)
            if other is None:
                stack.pop()
                path.pop()
                on_path.discard(node)
                done.add(node)
            elif other in on_path:
                yield path[path.index(other) :]
            elif other in graph and other not in done:
                stack.append((other, iter(sorted(graph[other]))))
                path.append(other)
                on_path.add(other)


RULES: tuple[Callable[[Consistency, str, Map], None], ...] = (
    Consistency.source, Consistency.build, Consistency.networks, Consistency.mounts, Consistency.health,
    Consistency.dependencies, Consistency.scale, Consistency.limits, Consistency.watch,
    Consistency.devices,
)  # fmt: skip
