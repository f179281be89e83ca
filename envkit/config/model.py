"""What loading yields: the canonical Compose model with the origin of every value. Standard library only."""

from __future__ import annotations

from collections.abc import Mapping

from envkit.config.dotenv import Environ
from envkit.config.options import LoadOptions
from envkit.config.sources import Sources
from envkit.config.tree import Map, Origins
from envkit.diagnostics import Diagnostic, Position

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


CLUSTERS = frozenset({"swarm", "kubernetes"})


class Model:
    """What Compose's `config --format json` prints, and where each value was written.

    plain: that model before Compose doubles `$`, plus envkit's own keys; a tree.Map. origins: path
    (`services.web.ports[0].target`) -> Position of the value, made on first use, also of values that plain leaves out
    because they are empty or the default; `origins.key(path)` is the place of the key. name: the project's; directory:
    the project directory, absolute; files: the YAML files in the order of merging, absolute, `-` for stdin. hardened:
    the first file is an envkit.yaml. profiles: the active ones; disabled: the services that a profile leaves out.
    environ: what interpolation saw; environment: the same with its sources. warnings: what is doubtful but no error.
    sources: every file that was read or looked for. models: the top-level section, which Compose's JSON leaves out.
    options: what it was loaded with.
    """

    def __init__(  # noqa: PLR0913 the fields of a value
        self, plain: Map, name: str, directory: str, files: tuple[str, ...], *, hardened: bool = False,
        profiles: tuple[str, ...] = (), disabled: Map | None = None, environment: Environ | None = None,
        warnings: tuple[Diagnostic, ...] = (), sources: Sources | None = None, models: Map | None = None,
        options: LoadOptions | None = None,
    ) -> None:  # fmt: skip
        self.plain = plain
        self.options = options
        self.origins: Origins = Origins(plain)
        self.name = name
        self.directory = directory
        self.files = files
        self.hardened = hardened
        self.profiles = profiles
        self.disabled_services = disabled if disabled is not None else Map()
        self.environment = environment if environment is not None else Environ({})
        self.warnings = warnings
        self.models = models if models is not None else Map()
        self.sources = sources if sources is not None else Sources()

    @property
    def disabled(self) -> tuple[str, ...]:
        return tuple(sorted(self.disabled_services))

    @property
    def target(self) -> str:
        """The place of `targets:` that it was loaded for, "" for none."""
        return self.options.target if self.options else ""

    @property
    def is_cluster(self) -> bool:
        """Whether it will run on several machines."""
        place = (self.plain.get("targets") or {}).get(self.target) or {}
        return (place.get("backend") or (self.options.backend if self.options else "")) in CLUSTERS

    @property
    def environ(self) -> Mapping[str, str]:
        return self.environment.values

    @property
    def services(self) -> Mapping[str, Any]:
        """The enabled services by name."""
        services: Mapping[str, Any] = self.plain.get("services", {})
        return services

    def position(self, path: str) -> Position | None:
        """The place of the value at path or of its nearest parent that was written."""
        while path:
            if path in self.origins:
                return self.origins[path]
            cut = max(path.rfind("."), path.rfind("["))
            path = path[:cut] if cut > 0 else ""
        return None
