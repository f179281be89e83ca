"""The compiled Environment: canonical resources with their fingerprints, origins and dependencies.

Standard library only: the no-op path loads this from the compile cache without YAML or pydantic.
"""

from __future__ import annotations

from envkit.address import Address
from envkit.values import field, value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any, Literal, TypeAlias

    from envkit.diagnostics import Diagnostic

Condition: TypeAlias = 'Literal["applied", "started", "healthy", "completed"]'


@value
class Dependency:
    """What must be true of `address` before the dependent is started.

    applied: its change has been carried out (networks, volumes, images); started, healthy, completed: Compose's
    service_started, service_healthy, service_completed_successfully. required=False: a missing one is no error.
    restart: the dependent is restarted when `address` is replaced or restarted by envkit.
    """

    address: Address
    condition: Condition = "applied"
    required: bool = True
    restart: bool = False


@value
class Resource:
    """One desired thing. A service is one Resource however many replicas it has.

    spec: canonical (spec/canonical.py). fingerprint: digest of spec. origins: path in spec (`environment.LOG_LEVEL`,
    `ports[0].target`) -> "file:line:col"; a path without an entry has the origin of its nearest parent.
    """

    address: Address
    spec: Mapping[str, Any]
    fingerprint: str
    depends_on: tuple[Dependency, ...] = ()
    origins: Mapping[str, str] = field(default_factory=dict)

    def origin(self, path: str) -> str:
        """Where the value at path was written, "" when envkit filled it in."""
        while path:
            if path in self.origins:
                return self.origins[path]
            cut = max(path.rfind("."), path.rfind("["))
            path = path[:cut] if cut > 0 else ""
        return self.origins.get("", "")


@value
class Environment:
    """name: the project's name; directory: absolute; files: the YAML files in the order of merging; hardened: whether
    the defaults are envkit.yaml's; resources: by address, in a deterministic order."""

    name: str
    directory: str
    files: tuple[str, ...]
    hardened: bool
    resources: Mapping[Address, Resource]
    warnings: tuple[Diagnostic, ...] = ()
    profiles: tuple[str, ...] = ()
    disabled: tuple[str, ...] = ()  # services that a profile leaves out: known, not orphans
    drift_ignore: tuple[Mapping[str, str], ...] = ()  # {"address": glob, "path": glob, "reason": text}
    targets: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)  # without what is injected
    target: str = ""  # the place of `targets:` that it was compiled for

    @property
    def services(self) -> dict[str, Resource]:
        return {address.name: item for address, item in self.resources.items() if address.kind == "service"}

    def get(self, kind: str, name: str) -> Resource | None:
        return self.resources.get(Address(kind, name))
