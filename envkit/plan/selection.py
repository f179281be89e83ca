"""The part of an environment that `--only` names, and the addresses that flags give as text. Pure."""

from __future__ import annotations

from envkit.address import Address
from envkit.errors import NotFoundError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from envkit.spec.environment import Environment


def addresses(texts: Iterable[str | Address], known: Collection[Address], flag: str) -> tuple[Address, ...]:
    """Texts (`service.web`, `web`, `service.web[2]`) as addresses.

    Raises NotFoundError with the nearest name when none of `known` is of that kind and name.
    """
    names = {(address.kind, address.name) for address in known}
    found: list[Address] = []
    for text in texts:
        address = text if isinstance(text, Address) else _parse(text)
        if address is None or (address.kind, address.name) not in names:
            import difflib

            written = sorted(str(Address(kind, name)) for kind, name in names)
            near = difflib.get_close_matches(str(text), [*written, *(name for _, name in names)], n=1)
            hint = f"did you mean {near[0]}?" if near else f"there is {', '.join(written) or 'nothing'}"
            raise NotFoundError("There is no such address", f"{flag} {text}", hint)
        found.append(address)
    return tuple(found)


def _parse(text: str) -> Address | None:
    try:
        return Address.parse(text if "." in text else f"service.{text}")
    except ValueError:
        return None


class Selection:
    """Which addresses a partial plan may change: the named ones and all that they depend on."""

    def __init__(self, environment: Environment, only: Collection[Address]) -> None:
        self._all = not only
        self._exact = {address for address in only if address.index != 1}
        self._whole: set[tuple[str, str]] = set()
        stack = [address.replica(1) for address in only]
        named = {(address.kind, address.name) for address in only if address.index == 1}
        self._whole |= named
        seen = set(stack)
        while stack:
            resource = environment.resources.get(stack.pop())
            for dependency in resource.depends_on if resource else ():
                if dependency.address not in seen:
                    seen.add(dependency.address)
                    stack.append(dependency.address)
                self._whole.add((dependency.address.kind, dependency.address.name))

    def __contains__(self, address: Address) -> bool:
        return self._all or (address.kind, address.name) in self._whole or address in self._exact
