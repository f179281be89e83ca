"""Addresses: the identity of everything a plan can name (`service.web`, `service.web[2]`, `volume.data`).

Standard library only.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

KINDS = ("image", "network", "volume", "secret", "config", "service")
_FORM = re.compile(r"(?P<kind>[a-z]+)\.(?P<name>[^\[\]]+)(?:\[(?P<index>\d+)\])?")


@dataclass(frozen=True, slots=True, order=True)
class Address:
    """kind.name or kind.name[index].

    A service's first replica has no index (`service.web` *is* replica 1), further ones count from 2, so that scaling
    up and down changes nobody's identity.
    """

    kind: str
    name: str
    index: int = 1

    def __str__(self) -> str:
        return f"{self.kind}.{self.name}" if self.index == 1 else f"{self.kind}.{self.name}[{self.index}]"

    @classmethod
    def parse(cls, text: str) -> Address:
        """The inverse of str(). Raises ValueError on anything else."""
        match = _FORM.fullmatch(text)
        if not match or match["kind"] not in KINDS:
            raise ValueError(f"{text!r} is not an address; write KIND.NAME, where KIND is one of {', '.join(KINDS)}")
        return cls(match["kind"], match["name"], int(match["index"] or 1))

    def replica(self, index: int) -> Address:
        """The address of another replica of the same service."""
        return Address(self.kind, self.name, index)
