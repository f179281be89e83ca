"""Phase: a service takes over another one's definition (Compose Specification, 05-services.md#extends).

The base is a service of the same file, or of another one whose paths are made relative to the project first. The
extending service is merged over the base; chains are followed, cycles are a problem.
"""

from __future__ import annotations

from collections.abc import Callable

from envkit.config.merge import Merge
from envkit.config.suggest import did_you_mean, one_of
from envkit.config.tree import Map, Origin, clone
from envkit.diagnostics import Diagnostics

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

Base = Callable[[str, "Origin | None"], "tuple[str, Map] | None"]
_Chain = tuple[tuple[str, str, "Origin | None"], ...]


class Extends:
    """base: another file's services: (path as written, where) -> (absolute path, services), None after a problem."""

    def __init__(self, base: Base, merge: Merge, problems: Diagnostics) -> None:
        self.base = base
        self.merge = merge
        self.problems = problems

    def document(self, document: Map, file: str) -> None:
        """Apply to every service of a document, in place."""
        services = document.get("services")
        if isinstance(services, Map):
            for name in list(services):
                self._service(name, services, file, ())

    def _service(self, name: str, services: Map, file: str, chain: _Chain) -> Any:
        """The service with its bases merged in, also put back into services."""
        service = services.get(name)
        if not isinstance(service, Map) or "extends" not in service:
            return service
        origin = service.at.get("extends")
        at = origin.position if origin else None
        if any(known[:2] == (file, name) for known in chain):
            names = " -> ".join([known[1] for known in chain] + [name])
            self.problems.error(
                "extends-cycle", "Services extend each other in a circle", names, at,
                related=tuple(known[2].position for known in chain if known[2]))  # fmt: skip
            return None
        wanted = service["extends"]
        other = wanted.get("file") if isinstance(wanted, Map) else None
        target = wanted.get("service") if isinstance(wanted, Map) else wanted
        if not isinstance(target, str) or not target:
            self.problems.error(
                "extends", "`extends` names no service", f"`services.{name}.extends`", at,
                "write `extends: {service: NAME}`")  # fmt: skip
            return service
        where, pool = file, services
        if isinstance(other, str):
            found = self.base(other, wanted.at.get("file") or origin)
            if found is None:
                service.drop("extends")
                return service
            where, pool = found
        if target not in pool:
            self.problems.error(
                "extends-unknown", "The extended service does not exist", f"`{target}` is not a service of {where}", at,
                did_you_mean(target, pool) or one_of(pool))  # fmt: skip
            service.drop("extends")
            return service
        base = self._service(target, pool, where, (*chain, (file, name, origin)))
        if isinstance(base, Map):
            merged = self.merge.services(clone(base), service, name)
            merged.drop("extends")
            services[name] = merged
            return merged
        return service
