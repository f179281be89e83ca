"""Why a change is made, in a sentence for people. Never read by anything that decides. Pure."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from envkit.address import Address
from envkit.observed.state import InstanceState, ObservedResource
from envkit.plan.drift import GONE
from envkit.plan.effects import strongest
from envkit.plan.model import AttributeChange, Effect
from envkit.spec.environment import Environment, Resource

CUT_OFF = "replaced because an earlier apply was cut off before it was finished"
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


def image(resource: Resource, observed: ObservedResource | None) -> str:
    """Why an image is made or fetched."""
    verb = "fetched" if "reference" in resource.spec else "built"
    if observed is None or observed.missing:
        return f"not {verb} yet"
    return f"{verb} again"


def alteration(attributes: Sequence[AttributeChange]) -> str:
    """Why an existing thing is changed: the attributes that force the strongest effect, and where they are written."""
    cost = strongest(attributes)
    if cost not in _VERBS:
        return ""
    forcing = [item for item in attributes if item.effect is cost]
    named = forcing[:2]
    more = len(forcing) - len(named)
    paths = ", ".join(item.path for item in named) if more else " and ".join(item.path for item in named)
    what = f"{paths} and {more} more changed" if more else f"{paths} {_verb(forcing)}"
    sources = [item.source for item in named if item.source]
    return f"{_VERBS[cost]} because {what}{_place(sources[0] if sources else '')}"


def _verb(items: Sequence[AttributeChange]) -> str:
    if len(items) == 1 and items[0].before is None:
        return "was added"
    return "was removed" if len(items) == 1 and items[0].after is None else "changed"


def mending(drift: Sequence[AttributeChange], exit_code: Any, stopped: bool) -> str:
    """Why an unchanged spec still needs a change."""
    state = next((item.after for item in drift if item.path == "state"), None)
    if state == GONE:
        return "made anew because it has vanished"
    if state == InstanceState.EXITED:
        code = "exited" if exit_code is None else f"exited with code {exit_code}"
        return f"started again because it {'was stopped' if stopped else code}"
    if state == InstanceState.CREATED:
        return "started because it was created but never started"
    if state == InstanceState.PAUSED:
        return "unpaused because it was paused"
    paths = [item.path for item in drift if item.effect is not Effect.NONE]
    verb = "replaced" if strongest(drift) is Effect.REPLACE else "mended"
    what = " and ".join(paths) if len(paths) <= 2 else f"{paths[0]}, {paths[1]} and {len(paths) - 2} more"
    return f"{verb} because {what} changed outside envkit"


def cascade(cause: Address, cause_verb: str, effect: Effect) -> str:
    """Why something unchanged follows another change: `restarted because service.db is replaced`."""
    return f"{_VERBS.get(effect, 'updated')} because {cause} is {cause_verb}"


def removal(environment: Environment, address: Address, replicas: int | None, source: str) -> str:
    """Why something goes: it left the file, or it is one replica too many."""
    if replicas is not None:
        return f"scaled down to {replicas} replica{'s' * (replicas != 1)}{_place(source)}"
    files = " and ".join(os.path.basename(file) for file in environment.files) or "its files"
    return f"no longer in {files}"


def _place(source: str) -> str:
    return f" ({source})" if source else ""
