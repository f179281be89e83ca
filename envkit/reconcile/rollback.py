"""Back to an earlier generation: its environment as it was compiled, and the images that it ran with."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from envkit.address import Address
from envkit.backend.base import Backend
from envkit.errors import NotFoundError
from envkit.host.home import Home
from envkit.observed.state import ObservedState
from envkit.reconcile.generations import list_generations, read_generation
from envkit.spec.environment import Environment
from envkit.values import replace

__all__ = ["AsThen", "generation_before", "read_generation"]


def generation_before(home: Home, environment: str, number: int | None) -> int:
    """The generation to go back to: number, or the one before the latest. Raises NotFoundError when there is none."""
    kept = list_generations(home, environment)
    if number is not None:
        if number not in kept:
            raise NotFoundError(
                "There is no such generation", f"{number} of {environment}",
                f"kept are: {', '.join(map(str, kept)) or 'none'}; envkit history lists them",
            )  # fmt: skip
        return number
    if len(kept) < 2:
        raise NotFoundError(
            "There is nothing to go back to", f"{environment} has {len(kept)} generations", "envkit history lists them"
        )
    return kept[-2]


class AsThen:
    """A backend that offers the images which a generation ran with. See backend.base.Backend for the rest."""

    def __init__(self, backend: Backend, images: dict[str, str]) -> None:
        self._backend, self._images = backend, images

    def __getattr__(self, name: str) -> Any:
        return getattr(self._backend, name)

    def observe(
        self, environment: Environment, *, thorough: bool = True, only: Collection[Address] | None = None
    ) -> ObservedState:
        """What is there; where an image is another one than then, that one is offered."""
        observed = self._backend.observe(environment, thorough=thorough, only=only)
        offered = {
            name: digest for name, digest in self._images.items()
            if environment.get("image", name) is not None and observed.images.get(name) not in (None, digest)
        }  # fmt: skip
        return replace(observed, offered=offered)
