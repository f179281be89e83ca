"""Symbolic links. Independent of the layers below but for the directories it writes into."""

from __future__ import annotations

from typing import Any

from envkit.image.placing import Placer, parent_of, survey
from envkit.image.step import Step


def sees(step: Step) -> Any:
    return survey(step.root, map(parent_of, step.args["links"]))


def make(step: Step) -> Any:
    with Placer(step.root) as placer:
        for path, target in sorted(step.args["links"].items()):
            placer.link(path, target)
