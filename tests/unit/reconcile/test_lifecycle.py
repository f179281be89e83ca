"""The order of start, stop and restart."""

from __future__ import annotations

from envkit.address import Address
from envkit.events import Emit, ignore
from envkit.reconcile.lifecycle import in_order, levels, with_restarted
from tests.support.environments import environment, resource

SHOP = environment(
    resource("service.db", {"image": "a"}),
    resource("service.cache", {"image": "a"}, {"service.db": {"restart": True}}),
    resource("service.web", {"image": "a"}, {"service.cache": {"restart": True}}),
    resource("service.other", {"image": "a"}),
)


class Recorder:
    """A backend that remembers what it was told."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, set[str]]] = []

    def control(
        self, environment: str, addresses: list[Address], verb: str, *, emit: Emit, signal: str = "",
        timeout: float | None = None,
    ) -> None:  # fmt: skip
        self.calls.append((verb, {item.name for item in addresses}))


def called(verb: str, *names: str) -> list[tuple[str, set[str]]]:
    backend = Recorder()
    addresses = [Address("service", name) for name in names]
    in_order(backend, SHOP, addresses, verb, emit=ignore)  # type: ignore[arg-type]
    return backend.calls


def test_dependencies_start_first_and_stop_last() -> None:
    assert called("start", "web", "cache", "db", "other") == [
        ("start", {"db", "other"}), ("start", {"cache"}), ("start", {"web"}),
    ]  # fmt: skip
    assert called("stop", "web", "db") == [("stop", {"web"}), ("stop", {"db"})]
    assert called("restart", "web", "db") == [
        ("stop", {"web"}), ("stop", {"db"}), ("start", {"db"}), ("start", {"web"}),
    ]  # fmt: skip
    assert called("restart", "web", "other") == [("restart", {"web", "other"})]


def test_what_is_in_no_file_is_handled_too() -> None:
    assert levels(SHOP, {"gone", "web"}) == [{"gone", "web"}]


def test_those_that_ask_for_it_are_restarted() -> None:
    assert with_restarted(SHOP, ["db"]) == ["db", "cache", "web"]
    assert with_restarted(SHOP, ["other"]) == ["other"]
