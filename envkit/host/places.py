"""The records of environments that run elsewhere: what was done at one place says nothing of another."""

from __future__ import annotations

import os

from envkit.host.home import Home


class PlaceHome(Home):
    """An installation whose journals and generations are those of one place (a target, or a backend with an engine of
    its own). Everything else, the image store for one, is the installation's."""

    def __init__(self, root: str, place: str) -> None:
        super().__init__(root)
        self.place = place

    def __eq__(self, other: object) -> bool:
        return isinstance(other, PlaceHome) and (other.root, other.place) == (self.root, self.place)

    def __hash__(self) -> int:
        return hash((self.root, self.place))

    @property
    def environments(self) -> str:
        return os.path.join(self.root, "places", self.place)
