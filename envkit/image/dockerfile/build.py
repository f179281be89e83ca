"""Build a Dockerfile: its stages, those that do not depend on one another at the same time.

A stage is built when the target needs it. Every instruction that changes files is a layer of its own (layer.py); the
others change the configuration (settings.py). Source: Dockerfile reference; Docker documentation, "Multi-stage builds".
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from envkit.errors import ApplyError, EnvkitError, InputError, UnsupportedError
from envkit.events import Event, EventKind
from envkit.image import bases, recipe
from envkit.image.bases import Base
from envkit.image.dockerfile import contexts
from envkit.image.dockerfile.layer import Layers, failure
from envkit.image.dockerfile.run import Limits
from envkit.image.dockerfile.settings import InstructionError, configure
from envkit.image.dockerfile.sources import Source
from envkit.image.dockerfile.state import State
from envkit.image.dockerfile.works import Options, work_of
from envkit.image.lockfile import Lockfile
from envkit.image.memory import Memory
from envkit.image.step import Context, Step
from envkit.spec.dockerfile.parse import Dockerfile, Instruction, parse
from envkit.spec.dockerfile.platform import is_native, platform_arguments
from envkit.spec.dockerfile.stages import Program, Stage, read_program
from envkit.spec.dockerfile.words import WordError
from envkit.values import replace

_LAYERS = frozenset({"RUN", "COPY", "ADD", "WORKDIR"})
_DEFAULT_SHM = 64 << 20


def build(context: Context, name: str, asked: Mapping[str, Any], memory: Memory, platform: str = "") -> str:
    """The manifest digest of the image that `build:` (ImageSpec.build) describes, tagged with name and its `tags`.

    Raises ApplyError naming the place of an instruction that is wrong or fails; other EnvkitErrors.
    """
    try:
        state = Building(context, asked, memory, platform).run()
    except InputError as error:  # of a context that only now is here; others were read with the YAML
        raise _as_failure(context, error) from error
    config = {key: value for key, value in state.config.items() if value not in (None, [], {}, "")}
    if asked.get("labels"):
        labels = {str(key): str(value) for key, value in pairs(asked["labels"]).items()}
        config["Labels"] = {**(config.get("Labels") or {}), **labels}
    document = {**state.document, "created": recipe.CREATED, "config": config, "history": state.history}
    digest = context.store.add_image(document, state.layers, name)
    for tag in asked.get("tags") or ():
        context.store.tag(str(tag), digest, [layer.source for layer in state.layers])
    return digest


def _as_failure(context: Context, error: InputError) -> ApplyError:
    """All problems of a Dockerfile in one error, the first one's summary and hint before the others."""
    problems = [item for item in error.diagnostics if item.is_error]
    detail = "\n".join(f"{item.source}: {item.detail}" for item in problems)
    return ApplyError(problems[0].summary, detail, problems[0].hint, address=context.address)


def _pins(lock: Lockfile) -> Lockfile:
    """What the project's lock says of references: a Dockerfile's packages are no business of it, and a build adds
    nothing to it."""
    return Lockfile(data={"references": lock.section("references")}, frozen=lock.frozen)


class Building:
    """One build: its program, its options, and the states of its stages."""

    def __init__(self, context: Context, asked: Mapping[str, Any], memory: Memory, platform: str = "") -> None:
        for each in (platform, *(asked.get("platforms") or ())):
            if not is_native(str(each)):
                hint = "take it away, or build on a machine of that platform"
                raise UnsupportedError("an image for another platform cannot be built here", str(each), hint)
        self.context = replace(
            context, lock=_pins(context.lock), fresh=context.fresh or bool(asked.get("no_cache")),
            pull=context.pull or bool(asked.get("pull")),
        )  # fmt: skip
        self.asked, self.memory = asked, memory
        self.given = {key: value for key, value in pairs(asked.get("args")).items() if value is not None}
        self.platform = platform_arguments()
        self.source, text, path = contexts.read(self.context, asked)
        self.named = contexts.named(self.context, asked)
        self.program: Program = read_program(
            text, path, self.given, platform=self.platform, contexts=self.named.keys()
        )
        self.target = self.program.target(str(asked.get("target") or ""))
        self.stages = self.program.needed(self.target)
        wanted = asked.get("no_cache_filter") or ()
        self.renewed = {each.lower() for each in ([wanted] if isinstance(wanted, str) else wanted)}
        self.options = Options(
            self.find_source, self.source, _limits(asked), str(asked.get("network") or "default"),
            {str(item.get("target") or item["source"]).rpartition("/")[2]: item["source"]
             for item in asked.get("secrets") or ()},
            {str(key): str(value or "") for key, value in pairs(asked.get("ssh")).items()},
            bool(asked.get("privileged")) or "security.insecure" in (asked.get("entitlements") or ()),
        )  # fmt: skip
        total = sum(1 for stage in self.stages for item in stage.instructions if item.keyword in _LAYERS)
        self.layers = Layers(self.context, memory, total)
        self.states: dict[int, State] = {}
        self.numbers = _numbers(self.stages)

    def run(self) -> State:
        """The target's state when every stage that it needs is built."""
        for warning in (*self.program.warnings, *self._unused()):
            place = f"{warning.source}: " if warning.source else ""
            text = f"{place}{warning.summary}: {warning.detail}" + (f" ({warning.hint})" if warning.hint else "")
            self.context.emit(Event(EventKind.WARNING, self.context.address, "build", text))
        done: dict[int, Future[None]] = {}
        with ThreadPoolExecutor(max(2, min(len(self.stages), os.cpu_count() or 2)), "stage") as pool:
            for stage in self.stages:
                before = [done[number] for number in sorted(stage.needs)]
                done[stage.number] = pool.submit(self._after, before, stage)
        for future in done.values():
            future.result()
        if self.source.cache is not None:
            self.source.cache.save()
        return self.states[self.target.number]

    def _unused(self) -> list[Any]:
        from envkit.diagnostics import Diagnostic, Severity

        names = self.program.unused
        return [Diagnostic(Severity.WARNING, "unused-argument", "A build argument is not used", ", ".join(names), None,
                           "declare it by ARG")] if names else []  # fmt: skip

    def _after(self, before: list[Future[None]], stage: Stage) -> None:
        """Build a stage when those before it are built; they were submitted earlier, so nobody waits in a circle."""
        for future in before:
            if future.exception() is not None:
                return  # its error is the one to show
        self.states[stage.number] = self.begin(stage)
        self.body(stage, self.states[stage.number], self._made)

    # -- one stage

    def begin(self, stage: Stage) -> State:
        """What FROM gives: another stage's state, or an image's."""
        if not is_native(stage.platform):
            hint = "take --platform away, or build on a machine of that platform"
            raise failure(self.context, stage.start, "a stage is for another platform", stage.platform, hint)
        if stage.base_stage is not None:
            return self.states[stage.base_stage].child()
        state = State(self.program, self.given, self.platform)
        try:
            base = self.base(stage.base)
        except EnvkitError as error:
            context, start = self.context, stage.start
            raise failure(context, start, error.summary, error.detail, error.hint, word=stage.base) from error
        start_from(state, base)
        return state

    def base(self, name: str) -> Base:
        """The image that a FROM or `--from` names, made or fetched where it is missing."""
        named = self.named.get(name) or next((v for k, v in self.named.items() if k.lower() == name.lower()), None)
        if named is not None and named.base is None:
            hint = "COPY --from it into a stage that starts from scratch"
            raise UnsupportedError("a stage cannot start from a directory", name, hint)
        if named is not None and named.base is not None:
            return bases.make(self.context, named.base, self.memory)
        if name == "scratch":
            return Base()
        if self.context.images.get(name):
            return bases.make(self.context, {"image": name}, self.memory)
        return bases.make(self.context, {"reference": name}, self.memory)

    def body(self, stage: Stage, state: State, layer: Callable[[Stage, State, Instruction, int], None]) -> None:
        """Carry out the triggers of the base and the instructions; layer does those that change files."""
        triggers = state.config.pop("OnBuild", None) or () if stage.base_stage is None else ()
        for item in [*self._triggers(stage, triggers), *stage.instructions]:
            try:
                if not configure(state, item):
                    layer(stage, state, item, self.numbers.get(id(item), 0))
            except (InstructionError, WordError) as problem:
                hint = getattr(problem, "hint", "")
                raise failure(self.context, item, "an instruction cannot be carried out", str(problem), hint) from None

    def _triggers(self, stage: Stage, texts: list[str] | tuple[str, ...]) -> list[Instruction]:
        from envkit.diagnostics import Diagnostics

        found = Diagnostics()
        made: list[Instruction] = []
        for text in texts:
            parsed: Dockerfile = parse(text, f"ONBUILD of {stage.base}", found)
            made += parsed.instructions
        if found.has_errors:
            raise InputError(found.items)
        return made

    def _made(self, stage: Stage, state: State, item: Instruction, number: int) -> None:
        work = work_of(state, item, self.options, fresh=self.is_fresh(stage))
        made = self.layers.make(work, state.layers, number)
        state.layers.append(made)
        state.remember(item, work.title, layer=True)

    def is_fresh(self, stage: Stage) -> bool:
        return self.context.fresh or stage.name.lower() in self.renewed

    # -- where files come from

    def find_source(self, name: str, step: Step) -> Source:
        """The tree that `from` means: "" the context, else a context's, a stage's, an image's."""
        if not name:
            return self.source
        named = self.named.get(name)
        if named is not None and named.source is not None:
            return named.source
        stage = None if named is not None else self.program.find(name)
        if stage is not None and stage.number in self.states:
            return self._seen(step, self.states[stage.number].layers, f"stage {stage.title}")
        return self._seen(step, list(self.base(name).layers), f"the image {name}")

    def _seen(self, step: Step, layers: list[Any], name: str) -> Source:
        from envkit.digest import sha256

        trees = self.context.store.trees(layers)
        place = "from-" + sha256(name.encode())[7:19]
        return Source(step.space.see(trees, place), name, foreign=True)


def start_from(state: State, base: Base) -> None:
    """Begin a stage with what an image gives."""
    state.layers = list(base.layers)
    state.config = {key: value for key, value in base.config.items() if value not in (None, [], {}, "")}
    state.history = [dict(entry) for entry in base.history]
    state.document = dict(base.document)
    if "PATH" not in state.environment:
        state.environment = {"PATH": recipe.PATH, **state.environment}


def _numbers(stages: list[Stage]) -> dict[int, int]:
    """The number of each layer, by the identity of its instruction."""
    items = [item for stage in stages for item in stage.instructions if item.keyword in _LAYERS]
    return {id(item): number for number, item in enumerate(items, 1)}


def pairs(written: Any) -> dict[str, Any]:
    """A mapping, or a list of NAME=VALUE, as a mapping; a name without a value has None."""
    if isinstance(written, Mapping):
        return {str(key): None if value is None else _text(value) for key, value in written.items()}
    cut = (str(text).partition("=") for text in written or ())
    return {name: value if equals else None for name, equals, value in cut}


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _limits(asked: Mapping[str, Any]) -> Limits:
    return Limits(
        int(asked.get("shm_size") or _DEFAULT_SHM), asked.get("ulimits") or {}, _hosts(asked.get("extra_hosts")),
        bool(asked.get("privileged")),
    )  # fmt: skip


def _hosts(written: Any) -> dict[str, list[str]]:
    if isinstance(written, Mapping):
        return {str(name): [value] if isinstance(value, str) else list(value) for name, value in written.items()}
    made: dict[str, list[str]] = {}
    for text in written or ():
        name, _, address = str(text).replace("=", ":", 1).partition(":")
        made.setdefault(name, []).append(address)
    return made
