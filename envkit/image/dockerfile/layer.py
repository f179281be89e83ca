"""One layer of a Dockerfile: looked up by its key, or made in a space of its own, captured and stored.

A RUN depends on everything below it. A COPY depends on what it copies and on the directories that it writes to, and so
outlives a change of the layers below: it is made once and put on top of them again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from envkit.digest import fingerprint
from envkit.errors import ApplyError, EnvkitError
from envkit.host.idmap import IdMap
from envkit.image import normalise, recipe
from envkit.image.capture import capture_upper
from envkit.image.manifest import LayerInfo
from envkit.image.memory import Made, Memory, described
from envkit.image.space import Space
from envkit.image.step import Context, Step
from envkit.spec.canonical import LayerSpec
from envkit.spec.dockerfile.parse import Instruction
from envkit.values import value

FORMAT = 1
"""Counted up when the meaning of an instruction changes."""


class DockerStep(Step):
    """A step whose place is a line of a Dockerfile."""

    item: Instruction

    @property
    def origin(self) -> str:
        return str(self.item.position)

    def error(self, summary: str, detail: str = "", hint: str = "", log: tuple[str, ...] = ()) -> ApplyError:
        """The error with its line and a caret."""
        return failure(self.context, self.item, summary, detail, hint, log)


def failure(
    context: Context, item: Instruction, summary: str, detail: str = "", hint: str = "", log: Sequence[str] = (),
    word: str = "",
) -> ApplyError:  # fmt: skip
    """The error of an instruction: its place, its line, a caret below its keyword (or word)."""
    place = item.at(word) if word else item.position
    lines = [f"{place}: {detail}" if detail else str(place)]
    if item.source:
        head = f"{item.line:5} | "
        lines += [head + item.source, " " * (len(head) - 2) + "| " + " " * (place.column - 1) + "^" * place.width]
    return ApplyError(summary, "\n".join(lines), hint, address=context.address, log=log)


@value
class Work:
    """What an instruction does to the root. asked: all that it depends on beside what it sees of files; sees(step):
    that, None for nothing; make(step): do it. chained: everything below counts. detached: made in an empty root
    (COPY --link). after: called with a layer that was made."""

    item: Instruction
    title: str
    asked: Any
    sees: Callable[[Step], Any] | None
    make: Callable[[Step], None]
    chained: bool = False
    detached: bool = False
    fresh: bool = False
    after: Callable[[Step, LayerInfo], None] = lambda step, layer: None


class Layers:
    """Makes the layers of one image. total: how many there will be, for people."""

    def __init__(self, context: Context, memory: Memory, total: int) -> None:
        self.context, self.memory, self.total = context, memory, total
        self.idmap = IdMap.current()

    def make(self, work: Work, below: Sequence[LayerInfo], number: int) -> LayerInfo:
        """The layer on top of below. Raises ApplyError with the place of the instruction."""
        if work.sees is None and not work.fresh and (known := self.memory.find(self._key(None, work, below))):
            return self._on(known.layer, work, below)
        with Space(self.context.home, self.idmap.overlay_options) as space:
            step = self._step(work, below, number, space)
            try:
                key = self._key(step, work, below)
                with self.memory.lock(key):
                    made = None if work.fresh else self.memory.find(key)
                    if made is None:
                        step.progress(force=True)
                        made = Made(self._made(step, work, below), None)
                        self.memory.remember(key, made.layer)
            except ApplyError:
                raise
            except EnvkitError as error:
                if type(error).__name__ == "InterruptedBuildError":
                    raise
                word = error.detail.partition(" ")[0].rstrip(":")
                raise failure(
                    self.context, work.item, error.summary, error.detail, error.hint,
                    word=word if len(word) > 1 and word in work.item.source else "",
                ) from error  # fmt: skip
        return self._on(made.layer, work, below)

    def find(self, work: Work, below: Sequence[LayerInfo], number: int) -> tuple[str, LayerInfo | None]:
        """(key, the layer if it is there). Raises what sees raises."""
        if work.sees is None:
            key = self._key(None, work, below)
        else:
            with Space(self.context.home, self.idmap.overlay_options) as space:
                key = self._key(self._step(work, below, number, space), work, below)
        made = None if work.fresh else self.memory.find(key)
        return key, self._on(made.layer, work, below) if made else None

    def _step(self, work: Work, below: Sequence[LayerInfo], number: int, space: Space) -> DockerStep:
        layer: Any = {"kind": work.item.keyword, "args": {"title": work.title.removeprefix(work.item.keyword + " ")}}
        asked: LayerSpec = layer
        step = DockerStep(
            self.context, asked, number, self.total, space, space.see(self.context.store.trees(below))
        )  # fmt: skip
        step.item = work.item
        return step

    def _key(self, step: Step | None, work: Work, below: Sequence[LayerInfo]) -> str:
        seen = work.sees(step) if work.sees is not None and step is not None else None
        return fingerprint({
            "dockerfile": FORMAT, "format": recipe.FORMAT, "keyword": work.item.keyword, "asked": work.asked,
            "seen": seen, "below": [info.diff_id for info in below] if work.chained else [],
        })  # fmt: skip

    def _made(self, step: Step, work: Work, below: Sequence[LayerInfo]) -> LayerInfo:
        store, space = self.context.store, step.space
        trees = () if work.detached else store.trees(below)
        step.root = space.write(trees)
        work.make(step)
        space.settle()
        if work.chained:
            normalise.settle_bytecode(space.upper)
        else:
            normalise.settle_directories(space.upper)
        lowers = trees if work.chained else ()
        stream = capture_upper(space.upper, lowers, self.idmap.overlay_prefix, recipe.EPOCH)
        layer = store.add_layer(stream, below, created_by=work.title, origin=step.origin)
        work.after(step, layer)
        return layer

    def _on(self, layer: LayerInfo, work: Work, below: Sequence[LayerInfo]) -> LayerInfo:
        return self.context.store.rebase_layer(described(layer, work.title, str(work.item.position)), below)
