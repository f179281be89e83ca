"""Model -> Environment: every resource in its canonical form, with origins and dependencies.

    images    those of `images:`, those that services build, and every other reference that something uses
    networks, volumes, secrets, configs    as the model has them (Compose leaves unused ones out)
    services  last, since they name all the others

No file is written and no runtime is asked. Source: Compose Specification; the defaults of an envkit.yaml are in
hardened.py.
"""

from __future__ import annotations

from collections.abc import Mapping

from envkit.address import KINDS, Address
from envkit.config.checks import check_addresses, check_ports
from envkit.config.compile_image import compile_build, compile_image, compile_reference
from envkit.config.compile_resources import compile_material, compile_network, compile_volume
from envkit.config.compile_service import compile_service
from envkit.config.draft import Scope
from envkit.config.inputs import Inputs
from envkit.config.keyed import read_salt
from envkit.config.targets import settings_of
from envkit.diagnostics import Diagnostic
from envkit.spec.environment import Environment, Resource

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from envkit.config.model import Model
    from envkit.host.home import Home


def compile_environment(
    model: Model, home: Home, *, inputs: Inputs | None = None, tolerant: bool = False
) -> Environment:
    """The Environment of a model. Raises InputError with every problem.

    inputs: collects what is read besides the YAML. tolerant: a missing file is no error (for commands that only look
    or take away).
    """
    salt = read_salt(home)
    scope = Scope(model, inputs or Inputs(home, salt, model.sources), salt, tolerant=tolerant)
    made = _Images(scope)
    resources = list(made.resources.values())
    resources += [compile_network(scope, name) for name in scope.section("networks")]
    resources += [compile_volume(scope, name) for name in scope.section("volumes")]
    resources += [compile_material(scope, kind, name) for kind in ("secret", "config")
                  for name in scope.section(f"{kind}s")]  # fmt: skip
    digests = {item.address: str(item.spec["digest"]) for item in resources if item.spec.get("digest")}
    for name, service in scope.section("services").items():
        if service.get("provider"):
            scope.error("unsupported", "A value cannot be honoured", f"services.{name} is made by another program, and "
                        "envkit runs none", f"services.{name}.provider", "give the service an image")  # fmt: skip
        else:
            resources.append(compile_service(scope, name, made.of_service[name], made.used, digests))
    _check(scope, resources)
    scope.found.items[:0] = model.warnings
    scope.found.items.sort(key=_place)
    scope.found.raise_if_errors()
    resources.sort(key=lambda item: (KINDS.index(item.address.kind), item.address))
    return Environment(
        model.name, model.directory, tuple(model.files), model.hardened, {item.address: item for item in resources},
        tuple(scope.found), tuple(model.profiles), tuple(model.disabled), _drift_rules(scope),
        settings_of(scope.section("targets")), model.target,
    )  # fmt: skip


def _place(item: Diagnostic) -> tuple[str, int, int]:
    return (item.source.file, item.source.line, item.source.column) if item.source else ("", 0, 0)


class _Images:
    """Every image of the environment.

    resources: by address; used: by the reference or key that something writes, and by the image's own name;
    of_service: service -> ImageSpec.name.
    """

    def __init__(self, scope: Scope) -> None:
        self.scope = scope
        self.resources: dict[Address, Resource] = {}
        self.used: dict[str, Resource] = {}
        self.of_service: dict[str, str] = {}
        for key in scope.section("images"):
            self._add(compile_image(scope, key), key)
        services = scope.section("services")
        for name, service in services.items():
            if service.get("build"):
                self._add_build(name, service)
        self._check_cycles()
        for name, service in services.items():
            if not service.get("build") and service.get("image"):
                self.of_service[name] = self._use(service["image"], service, f"services.{name}.image")
            for index, hook in enumerate(service.get("pre_start") or ()):
                if hook.get("image"):
                    self._use(hook["image"], {}, f"services.{name}.pre_start[{index}].image")
                self._use_mounted(hook, f"services.{name}.pre_start[{index}]")
            self._use_mounted(service, f"services.{name}")
        for resource in list(self.resources.values()):
            for dependency in resource.depends_on:
                address = dependency.address
                if address.kind == "image" and address not in self.resources:
                    self._use(address.name, {}, f"images.{resource.address.name}.from")

    def _use_mounted(self, container: Mapping[str, Any], path: str) -> None:
        for index, mount in enumerate(container.get("volumes") or ()):
            if mount["type"] == "image" and mount.get("source"):
                self._use(mount["source"], {}, f"{path}.volumes[{index}].source")

    def _add(self, resource: Resource, written: str) -> None:
        self.resources[resource.address] = resource
        self.used[written] = self.used[resource.spec["name"]] = resource
        self.scope.inputs.give_to(resource.spec["name"])

    def _use(self, reference: str, service: Mapping[str, Any], path: str) -> str:
        """The ImageSpec.name of what a service, hook or mount calls reference."""
        if reference not in self.used:
            self._add(compile_reference(self.scope, reference, service, path), reference)
        name: str = self.used[reference].spec["name"]
        return name

    def _add_build(self, name: str, service: Mapping[str, Any]) -> None:
        from envkit.config.compile_build import build_name

        reference = build_name(self.scope, name, service)
        resource = compile_build(self.scope, name, reference)
        known = self.resources.get(resource.address)
        if known is not None and known.spec.get("build") != resource.spec["build"]:
            own = build_name(self.scope, name, {})
            self.scope.warning(
                "two-builds", "Two builds have one name", f"services.{name} builds {reference} in another way than "
                f"another service does; its image is called {own}", f"services.{name}.build",
                "give one of the two another `image:`",
            )  # fmt: skip
            reference = own
            resource = compile_build(self.scope, name, reference)
        self.of_service[name] = reference
        self._add(resource, reference)

    def _check_cycles(self) -> None:
        """An image must not start from itself, nor copy from what is made of it."""
        state: dict[Address, int] = {}
        trail: list[str] = []

        def visit(address: Address) -> None:
            state[address] = 1
            trail.append(address.name)
            for dependency in self.resources[address].depends_on:
                other = dependency.address
                if state.get(other) == 1:
                    loop = " -> ".join([*trail[trail.index(other.name) :], other.name])
                    self.scope.error("cycle", "Images depend on each other", f"{loop}", f"images.{address.name}.from",
                                     "let one of them start from something else")  # fmt: skip
                elif other in self.resources and other not in state:
                    visit(other)
            trail.pop()
            state[address] = 2

        for address in list(self.resources):
            if address not in state:
                visit(address)


def _check(scope: Scope, resources: list[Resource]) -> None:
    services = [item for item in resources if item.address.kind == "service"]
    check_ports(scope, services)
    networks = {item.address.name: item for item in resources if item.address.kind == "network"}
    check_addresses(scope, networks, services)
    for name in scope.section("jobs"):
        scope.warning("not-honoured", "A key has no effect", f"jobs.{name} is not honoured: envkit runs services only",
                      f"jobs.{name}", "take it away, or make it a service with a profile")  # fmt: skip


def _drift_rules(scope: Scope) -> tuple[Mapping[str, str], ...]:
    rules = scope.section("drift").get("ignore") or ()
    return tuple(
        {"address": str(rule.get("address") or "*"), "path": str(rule.get("path") or "*"),
         "reason": str(rule.get("reason") or "")} for rule in rules
    )  # fmt: skip
