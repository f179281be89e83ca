"""What was predicted against what is; the porcelain of git blame."""

from __future__ import annotations

import pytest

from envkit.address import Address
from envkit.observed.state import ObservedResource, ObservedState
from envkit.plan.model import Action, Change
from envkit.reconcile.blame import decode
from envkit.reconcile.outcome import Outcome
from envkit.reconcile.verify import differences
from envkit.spec.environment import Resource

WEB = Address("service", "web")
WANTED = Resource(WEB, {}, "new")


def seen(fingerprint="new", identity="b", **more):
    return ObservedResource(WEB, {}, fingerprint, attributes={"id": identity}, **more)


OLD = seen("old", "a")


@pytest.mark.parametrize(
    ("change", "now", "said"),
    [
        (Change(WEB, Action.CREATE, resource=WANTED), seen(), ""),
        (Change(WEB, Action.CREATE, resource=WANTED), None, "is not"),
        (Change(WEB, Action.CREATE, resource=WANTED), seen(missing=True), "is not"),
        (Change(WEB, Action.CREATE, resource=WANTED), seen("old"), "fingerprint"),
        (Change(WEB, Action.CREATE, resource=WANTED), seen(complete=False), "finished"),
        (Change(WEB, Action.REPLACE, resource=WANTED, observed=OLD), seen(), ""),
        (Change(WEB, Action.REPLACE, resource=WANTED, observed=OLD), seen(identity="a"), "same instance"),
        (Change(WEB, Action.UPDATE, resource=WANTED, observed=OLD), seen(identity="a"), ""),
        (Change(WEB, Action.UPDATE, resource=WANTED, observed=OLD), seen(), "another instance"),
        (Change(WEB, Action.DELETE, observed=OLD), None, ""),
        (Change(WEB, Action.DELETE, observed=OLD), OLD, "deleted"),
    ],
)  # fmt: skip
def test_a_difference_is_named(change, now, said):
    after = ObservedState("e", {WEB: now} if now else {})
    found = differences([change], Outcome(done=[WEB]), after)
    assert bool(found) == bool(said) and all(said in text for text in found)
    assert differences([change], Outcome(), after) == []


def test_blame():
    one, other = "a" * 40, "0" * 40
    text = (
        f"{one} 1 1 2\nauthor Ada\nauthor-time 1700000000\nsummary first\nfilename f\n\tname: x\n"
        f"{one} 2 2\n\tservices:\n"
        f"{other} 3 3 1\nauthor Not Committed Yet\nauthor-time 1800000000\nsummary f\nfilename f\n\t  web: {{}}\n"
    )
    found = decode(text)
    assert [found[line].author for line in (1, 2, 3)] == ["Ada", "Ada", "Not Committed Yet"]
    assert found[2].is_committed and not found[3].is_committed and found[1].time == 1700000000
