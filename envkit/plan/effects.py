"""What a change of one attribute costs, by the backend's word. Pure."""

from __future__ import annotations

from envkit.lean import cached_property
from envkit.plan.model import Effect

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
    from typing import Any, Protocol

    from envkit.diagnostics import Diagnostic
    from envkit.plan.model import AttributeChange
    from envkit.spec.environment import Environment
else:
    Protocol = object

NO_INSTANCE = frozenset({"replicas", "update", "rollback", "pull_policy", "attach"})
"""Keys of a ServiceSpec that say nothing about one instance, where the planner plans each replica on its own."""

_RANK = {Effect.NONE: 0, Effect.IN_PLACE: 1, Effect.RESTART: 2, Effect.REPLACE: 3}


class Capabilities(Protocol):
    """The part of backend.base.Capabilities that the planner reads."""

    @property
    def expands_replicas(self) -> bool: ...
    @property
    def in_place(self) -> frozenset[str]: ...
    @property
    def restart(self) -> frozenset[str]: ...
    @property
    def check(self) -> Callable[[Environment], Sequence[Diagnostic]]: ...
    @property
    def kinds(self) -> frozenset[str]: ...
    @property
    def alone(self) -> Callable[[Mapping[str, Any]], Sequence[tuple[str, str]]]: ...


def globs(patterns: Collection[str]) -> Callable[[str], Any]:
    """A matcher of paths: a pattern means the path itself and everything below it; `*` crosses dots."""
    if not patterns:
        return lambda path: None
    if not any(set(pattern) & set("*?[") for pattern in patterns):
        return lambda path: path in patterns or any(_is_below(path, pattern) for pattern in patterns)
    import re
    from fnmatch import translate

    parts = [translate(pattern.replace("[", "[[]")).removesuffix(r"\Z") for pattern in sorted(patterns)]
    return re.compile(rf"(?:{'|'.join(parts)})(?:[.\[].*)?\Z", re.DOTALL).match


def _is_below(path: str, above: str) -> bool:
    return path.startswith(above) and path[len(above) : len(above) + 1] in (".", "[")


class Effects:
    """Path of a ServiceSpec, or of a service's observed facts -> Effect."""

    def __init__(self, capabilities: Capabilities) -> None:
        self._capabilities = capabilities
        self._none = NO_INSTANCE if capabilities.expands_replicas else frozenset()
        self._known: dict[str, Effect] = {}

    @cached_property
    def _in_place(self) -> Callable[[str], Any]:
        return globs(self._capabilities.in_place)

    @cached_property
    def _restart(self) -> Callable[[str], Any]:
        return globs(self._capabilities.restart)

    def of(self, path: str) -> Effect:
        effect = self._known.get(path)
        if effect is None:
            effect = self._known[path] = self._find(path)
        return effect

    def is_start_first(self, spec: Mapping[str, Any]) -> bool:
        """Whether a replacement of this service is made beside the old instance: asked for, and possible."""
        return spec.get("update", {}).get("order") == "start-first" and not self._capabilities.alone(spec)

    def _find(self, path: str) -> Effect:
        if path.partition("[")[0].partition(".")[0] in self._none:
            return Effect.NONE
        if self._in_place(path):
            return Effect.IN_PLACE
        if self._restart(path) or path == "state":
            return Effect.RESTART
        return Effect.REPLACE


def strongest(attributes: Iterable[AttributeChange]) -> Effect:
    """The effect that the whole set has; NONE for an empty one."""
    return max((item.effect for item in attributes), key=_RANK.__getitem__, default=Effect.NONE)
