"""What makes an apply on an engine quick: nothing is looked at twice, and what can be made early is."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest

from envkit.address import Address
from envkit.backend.docker.ahead import Ahead
from envkit.backend.docker.leaving import Leaving
from envkit.backend.docker.session import _changed, _made
from envkit.backend.engine_api import EngineError, EngineNotFoundError
from envkit.backend.engine_api.quoting import query, quoted
from envkit.backend.features import BY_ID, find
from envkit.backend.threads import for_each
from envkit.observed.state import ObservedResource
from envkit.plan.model import Action, Change
from envkit.spec.environment import Dependency, Resource

WEB, NET, DATA = (Address.parse(text) for text in ("service.web", "network.default", "volume.data"))


def change(address: Address, action: Action = Action.CREATE, needs: tuple[Address, ...] = (), **spec: Any) -> Change:
    observed = ObservedResource(address, {}, "f", attributes={"network_id": "n1"}) if action is Action.DELETE else None
    made = Resource(address, spec, "f") if action is Action.CREATE else None
    return Change(address, action, "", resource=made, observed=observed, requires=tuple(map(Dependency, needs)))


def services(make: Callable[..., object]) -> Mock:
    return Mock(present={}, make=make, engine=Mock(is_podman=False, version=(1, 41)))


def test_a_container_is_made_ahead_once_its_volume_is_there() -> None:
    begun = threading.Event()

    def make(*_: object, **__: object) -> object:
        begun.set()
        return Mock(identity="c1")

    ahead = Ahead(services(make))
    ahead.begin([change(NET), change(DATA), change(WEB, needs=(NET, DATA), networks={"default": {}})], 4)
    assert not begun.wait(0.05)
    ahead.note_volume(DATA, done=True)
    taken: Any = ahead.take(WEB)
    assert taken.identity == "c1"
    ahead.close()


def test_what_nobody_takes_is_removed() -> None:
    host = services(lambda *_, **__: Mock(identity="c1"))
    ahead = Ahead(host)
    ahead.begin([change(NET), change(WEB, needs=(NET,))], 4)
    ahead.close()
    host.discard_made.assert_called_once_with("c1")


@pytest.mark.parametrize("spec", [
    {"secrets": [{"source": "pw"}]}, {"links": ["db"]}, {"network_mode": "service:db"},
    {"networks": {"a": {}, "b": {}}},
])  # fmt: skip
def test_what_needs_more_than_a_network_is_not_made_ahead(spec: dict[str, Any]) -> None:
    ahead = Ahead(services(Mock(side_effect=AssertionError)))
    ahead.begin([change(NET), change(WEB, needs=(NET,), **spec)], 4)
    assert ahead.take(WEB) is None


def test_a_volume_that_fails_and_an_engine_that_wants_the_network_first() -> None:
    missing = EngineNotFoundError(404, "no such network")
    for ready, make in ((False, Mock(side_effect=AssertionError)), (True, Mock(side_effect=missing))):
        ahead = Ahead(services(make))
        ahead.note_volume(DATA, done=ready)
        ahead.begin([change(NET), change(DATA), change(WEB, needs=(NET, DATA))], 4)
        assert ahead.take(WEB) is None


def test_networks_go_when_the_last_container_has_stopped() -> None:
    engine = Mock()
    leaving = Leaving(engine)
    leaving.announce([change(WEB, Action.DELETE), change(WEB.replica(2), Action.DELETE), change(NET, Action.DELETE)])
    leaving.note_stopped(WEB)
    engine.delete.assert_not_called()
    leaving.note_stopped(WEB.replica(2))
    assert leaving.is_gone(NET)
    engine.delete.assert_called_once_with("/networks/n1")


def test_a_network_in_use_is_left_to_its_turn() -> None:
    engine = Mock(delete=Mock(side_effect=EngineError(403, "has active endpoints")))
    leaving = Leaving(engine)
    leaving.announce([change(WEB, Action.DELETE), change(NET, Action.DELETE)])
    leaving.note_stopped(WEB)
    assert not leaving.is_gone(NET)
    leaving = Leaving(engine)
    leaving.announce([change(WEB), change(NET, Action.DELETE)])  # something stays
    leaving.note_stopped(WEB)
    assert not leaving.is_gone(NET)


def test_a_lock_that_was_not_there(tmp_path: Path) -> None:
    path = str(tmp_path / "engines" / "e.lock")
    assert _changed(path) == os.stat(tmp_path).st_mtime
    os.mkdir(tmp_path / "engines")
    assert _made(path) == os.stat(path).st_mtime
    assert _made(path) == 0.0


def test_threads_do_everything_once() -> None:
    done: list[int] = []
    at_once: set[int] = set()

    def work(item: int) -> None:
        at_once.add(threading.get_ident())
        time.sleep(0.002)
        done.append(item)

    for_each(work, range(20), 3)
    assert sorted(done) == list(range(20))
    assert len(at_once) == 3


def test_queries_are_encoded() -> None:
    assert quoted("a b/ä:1@x", safe="/:@") == "a%20b/%C3%A4:1@x"
    assert query({"all": "1", "name": ["a&b", "c"]}) == "all=1&name=a%26b&name=c"


def test_flags_of_a_tmpfs_are_kept_everywhere() -> None:
    feature = BY_ID["service.mounts[].nosuid"]
    rows = [{"type": kind, "target": "/t", "nosuid": True} for kind in ("tmpfs", "volume")]
    assert list(find(feature, {"mounts": rows})) == ["mounts[1].nosuid"]
