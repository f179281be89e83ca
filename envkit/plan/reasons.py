"""Why a change is made, in a sentence for people. Never read by anything that decides. Pure."""

from __future__ import annotations

from envkit.observed.state import InstanceState
from envkit.plan.drift import GONE, KNOWN_AFTER_BUILD, KNOWN_AFTER_PULL
from envkit.plan.effects import strongest
from envkit.plan.model import Effect

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from envkit.address import Address
    from envkit.observed.state import ObservedResource
    from envkit.plan.model import AttributeChange
    from envkit.spec.environment import Environment, Resource

CUT_OFF = "replaced because an earlier apply was cut off before it was finished"
OWED = "restarted because an earlier apply was cut off before it was"
FINISHED = "finished because an earlier apply was cut off"
DEMANDED = "replaced because --replace asks for it"
COMPLETED = "completed with exit code 0"
TAKEN_DOWN = "taken down with the environment"
_VERBS = {Effect.IN_PLACE: "updated in place", Effect.RESTART: "restarted", Effect.REPLACE: "replaced"}


def creation(address: Address, observed: ObservedResource | None, replicas: int, siblings: int) -> str:
    """Why something is made: new, vanished, or one more replica."""
    if observed is not None:
        return "made anew because it has vanished"
    if address.kind == "service" and siblings and replicas > siblings:
        return f"scaled up from {siblings} to {replicas} replicas"
    return "does not exist yet"


def image_creation(resource: Resource, observed: ObservedResource | None) -> str:
    """Why an image is made or fetched."""
    if observed is not None:
        return "no longer in the store"
    return "not here yet: will be pulled" if "reference" in resource.spec else "not built yet"


def image_renewal(
    resource: Resource, attributes: Sequence[AttributeChange], bases: Sequence[str], demanded: bool
) -> str:
    """Why an image that is there is made or fetched again."""
    verb = f"{_made(resource)} again because"
    if demanded:
        return f"{verb} --replace asks for it"
    if bases:
        return f"{verb} image.{bases[0]} is"
    return f"{verb} {_what(attributes)}" if attributes else f"{verb} it was cut off"


def _made(resource: Resource) -> str:
    return "pulled" if "reference" in resource.spec else "built"


def alteration(attributes: Sequence[AttributeChange]) -> str:
    """Why an existing thing is changed: the attributes that force the strongest effect, and where they are written."""
    cost = strongest(attributes)
    if cost not in _VERBS:
        return ""
    return f"{_VERBS[cost]} because {_what([item for item in attributes if item.effect is cost])}"


def _what(items: Sequence[AttributeChange]) -> str:
    """The first paths with what happened to them, and the place of the first value that is written."""
    written = next((item.source for item in items if item.source and item.after is not None), "")
    source = written or next((item.source for item in items if item.source), "")
    if len(items) == 1:
        return f"{_single(items[0])}{_place(source)}"
    return f"{_listed([item.path for item in items])} changed{_place(source)}"


def _single(item: AttributeChange) -> str:
    if item.path == "image_digest":
        if item.effect is Effect.NONE:
            return "its registry or envkit.lock has another one now"
        verb = {KNOWN_AFTER_BUILD: "is built again", KNOWN_AFTER_PULL: "is pulled again"}
        return f"its image {verb.get(item.after, 'is another one now')}"
    if item.before is None:
        return f"{item.path} was added"
    return f"{item.path} was removed" if item.after is None else f"{item.path} changed"


def _listed(paths: Sequence[str]) -> str:
    return " and ".join(paths) if len(paths) <= 2 else f"{paths[0]}, {paths[1]} and {len(paths) - 2} more"


def mending(drift: Sequence[AttributeChange], exit_code: Any, stopped: bool) -> str:
    """Why an unchanged spec still needs a change."""
    state = next((item.after for item in drift if item.path == "state"), None)
    if state == GONE:
        return "made anew because it has vanished"
    if state == InstanceState.EXITED:
        return f"started again because it {'was stopped' if stopped else _exit(exit_code)}"
    if state == InstanceState.CREATED:
        return "started because it was created but never started"
    if state == InstanceState.PAUSED:
        return "unpaused because it was paused"
    paths = [item.path for item in drift if item.effect is not Effect.NONE]
    verb = "replaced" if strongest(drift) is Effect.REPLACE else "mended"
    return f"{verb} because {_listed(paths)} changed outside envkit"


def divergence(drift: Sequence[AttributeChange], exit_code: Any, stopped: bool) -> str:
    """What happened outside, in a few words; "" where the attributes say it all."""
    state = next((item.after for item in drift if item.path == "state"), None)
    if state == InstanceState.EXITED:
        return "was stopped" if stopped else _exit(exit_code)
    words: dict[Any, str] = {
        GONE: "has vanished", InstanceState.CREATED: "was created but never started", InstanceState.PAUSED: "is paused",
        InstanceState.RESTARTING: "keeps ending; its supervisor is starting it again",
    }  # fmt: skip
    return words.get(state, "")


def _exit(code: Any) -> str:
    return "exited with an unknown code" if code is None else f"exited with code {code}"


def cascade(cause: Address, cause_verb: str, effect: Effect) -> str:
    """Why something unchanged follows another change: `restarted because service.db is replaced`."""
    return f"{_VERBS.get(effect, 'updated')} because {cause} is {cause_verb}"


def removal(environment: Environment, address: Address, replicas: int | None, source: str) -> str:
    """Why something goes: it left the file, or it is one replica too many."""
    if replicas is not None:
        return f"scaled down to {replicas} replica{'s' * (replicas != 1)}{_place(source)}"
    files = " and ".join(file.rpartition("/")[2] for file in environment.files) or "its files"
    return f"no longer in {files}"


def anonymous(owner: str) -> str:
    """Why a volume without a key goes. owner: "ADDRESS TARGET" of its mount."""
    address, _, target = owner.partition(" ")
    return f"anonymous, of {address} at {target}" if target.startswith("/") else f"was {owner}"


def _place(source: str) -> str:
    return f" ({source})" if source else ""
