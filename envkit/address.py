"""Addresses: the identity of everything a plan can name (`service.web`, `service.web[2]`, `volume.data`).

Standard library only.
"""

from __future__ import annotations

from envkit.values import value

KINDS = ("image", "network", "volume", "secret", "config", "service")
_FORM = r"(?P<kind>[a-z]+)\.(?P<name>[^\[\]]+)(?:\[(?P<index>\d+)\])?"


@value
class Address:
    """kind.name or kind.name[index].

    A service's first replica has no index (`service.web` *is* replica 1), further ones count from 2, so that scaling
    up and down changes nobody's identity.
    """

    kind: str
    name: str
    index: int = 1

    def __eq__(self, other: object) -> bool:
        if other.__class__ is not Address:
            return NotImplemented
        return self.name == other.name and self.kind == other.kind and self.index == other.index

    def __hash__(self) -> int:
        return hash((self.kind, self.name, self.index))

    def __lt__(self, other: Address) -> bool:
        return (self.kind, self.name, self.index) < (other.kind, other.name, other.index)

    def __str__(self) -> str:
        return f"{self.kind}.{self.name}" if self.index == 1 else f"{self.kind}.{self.name}[{self.index}]"

    @classmethod
    def parse(cls, text: str) -> Address:
        """The inverse of str(). Raises ValueError on anything else."""
        kind, dot, name = text.partition(".")
        if dot and kind in KINDS and name and "[" not in name and "]" not in name:
            return cls(kind, name)
        import re

        match = re.fullmatch(_FORM, text)
        if not match or match["kind"] not in KINDS:
            raise ValueError(f"{text!r} is not an address; write KIND.NAME, where KIND is one of {', '.join(KINDS)}")
        return cls(match["kind"], match["name"], int(match["index"] or 1))

    def replica(self, index: int) -> Address:
        """The address of another replica of the same service."""
        return self if index == self.index else Address(self.kind, self.name, index)
