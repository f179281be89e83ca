"""What a Dockerfile build would do, layer by layer, without doing it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from envkit.errors import EnvkitError
from envkit.image import bases
from envkit.image.bases import Base
from envkit.image.dockerfile.build import Building, start_from
from envkit.image.dockerfile.state import State
from envkit.image.dockerfile.works import work_of
from envkit.image.layerplan import LayerStep
from envkit.image.memory import Memory
from envkit.image.step import Context
from envkit.spec.dockerfile.parse import Instruction
from envkit.spec.dockerfile.stages import Stage
from envkit.values import replace


def layer_steps(context: Context, asked: Mapping[str, Any], memory: Memory, platform: str = "") -> list[LayerStep]:
    """The layers of every stage that the target needs, in the order of the file. Nothing is fetched or made."""
    return _Plan(context, asked, memory, platform).steps()


class _Plan(Building):
    def __init__(self, context: Context, asked: Mapping[str, Any], memory: Memory, platform: str) -> None:
        super().__init__(context, asked, memory, platform)
        self.options = replace(self.options, offline=True)
        self._steps: list[LayerStep] = []

    def steps(self) -> list[LayerStep]:
        for stage in self.stages:
            self.states[stage.number] = self.begin(stage)
            self.body(stage, self.states[stage.number], self._look)
        return self._steps

    def begin(self, stage: Stage) -> State:
        if stage.base_stage is not None:
            return self.states[stage.base_stage].child()
        state = State(self.program, self.given, self.platform)
        base = self._present(stage.base)
        if base is None:
            state.missing = f"{stage.base} is not here yet"
        else:
            start_from(state, base)
        return state

    def _present(self, name: str) -> Base | None:
        """An image that is in the store."""
        named = self.named.get(name)
        if name == "scratch" and named is None:
            return Base()
        asked = named.base if named is not None else None
        if asked is None:
            asked = {"image": name} if self.context.images.get(name) else {"reference": name}
        return bases.find(self.context, asked, self.memory)

    def _look(self, stage: Stage, state: State, item: Instruction, number: int) -> None:
        """Whether one layer is there; what does not depend on a missing one is looked for all the same."""
        work = work_of(state, item, self.options, fresh=self.is_fresh(stage))
        title = f"{stage.title}: {work.title}" if len(self.stages) > 1 else work.title
        reason = self._hindrance(state, item) if work.chained or not state.layers else self._unknown_source(item)
        if reason:
            self._add(number, item, title, "", False, reason)
        else:
            try:
                key, layer = self.layers.find(work, state.layers, number)
            except EnvkitError as error:
                key, layer, reason = "", None, str(error)
            if layer is not None:
                if not state.missing:
                    state.layers.append(layer)
                self._add(number, item, title, key, True, "it was made before from the same inputs")
                return
            reason = reason or ("it is to be made anew" if work.fresh else "its inputs are new")
            self._add(number, item, title, key, False, reason)
        if not state.missing:
            state.missing = f"it depends on layer {number}, which is made anew"

    def _hindrance(self, state: State, item: Instruction) -> str:
        return state.missing or self._unknown_source(item)

    def _unknown_source(self, item: Instruction) -> str:
        """Why what an instruction reads is not known yet."""
        for name in [item.flag("from") or "", *_mount_origins(item)]:
            stage = self.program.find(name) if name else None
            if stage is not None and stage.number in self.states:
                if self.states[stage.number].missing:
                    return f"it depends on stage {stage.title}, which is made anew"
            elif name and self.named.get(name) is None and self._present(name) is None:
                return f"{name} is not here yet"
        return ""

    def _add(self, number: int, item: Instruction, title: str, key: str, cached: bool, reason: str) -> None:
        self._steps.append(LayerStep(number, item.keyword, title, key, cached, reason))


def _mount_origins(item: Instruction) -> list[str]:
    found = []
    for text in item.all_flags("mount"):
        found += [part.partition("=")[2] for part in text.split(",") if part.startswith("from=")]
    return found
