"""Instructions -> stages, and which of them a target needs.

Source: Dockerfile reference ("FROM", "ARG", "Automatic platform ARGs in the global scope"); Docker documentation,
"Multi-stage builds". A name of an additional context stands before a stage, a stage before an image.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence

from envkit.diagnostics import Diagnostics, Position
from envkit.errors import InputError
from envkit.spec.dockerfile.check import check
from envkit.spec.dockerfile.mounts import MountError, parse_mount
from envkit.spec.dockerfile.parse import Dockerfile, Instruction, parse
from envkit.spec.dockerfile.words import Expander, WordError, split_words
from envkit.values import field, value

_SYNTAX = re.compile(r"(?:docker\.io/)?(?:docker/dockerfile|docker/dockerfile-upstream)(?=[:@]|$)")
_PROXIES = ("http_proxy", "https_proxy", "ftp_proxy", "no_proxy", "all_proxy")
PROXIES = frozenset(name for word in _PROXIES for name in (word, word.upper()))
"""Arguments that every RUN sees and no cache depends on, unless ARG declares them."""


@value
class Stage:
    """base: what FROM names, expanded; base_stage: the number of the stage that it is, None for an image or context.
    needs: the numbers of all stages that must be there before, origins: the names in `from` that are no stages."""

    number: int
    name: str
    base: str
    platform: str
    start: Instruction
    instructions: tuple[Instruction, ...]
    base_stage: int | None = None
    needs: frozenset[int] = frozenset()
    origins: frozenset[str] = frozenset()

    @property
    def title(self) -> str:
        return self.name or str(self.number)


@value
class Program:
    """A whole Dockerfile, ready to be built. arguments: the ARGs before the first FROM, with their values; unused: the
    build arguments that nothing declares."""

    dockerfile: Dockerfile
    arguments: Mapping[str, str]
    stages: tuple[Stage, ...]
    unused: tuple[str, ...] = ()
    warnings: Diagnostics = field(default_factory=Diagnostics)

    def find(self, name: str) -> Stage | None:
        """The stage of a name (whatever its case) or number; the last one of that name."""
        for stage in reversed(self.stages):
            if stage.name and stage.name.lower() == name.lower():
                return stage
        return self.stages[int(name)] if name.isdigit() and int(name) < len(self.stages) else None

    def target(self, name: str) -> Stage:
        """The stage to build: the last one when name is "". Raises InputError."""
        if not name:
            return self.stages[-1]
        stage = self.find(name)
        if stage is None:
            found = Diagnostics()
            names = ", ".join(stage.title for stage in self.stages)
            found.error("no-such-stage", "A stage does not exist", f"the target is {name!r}",
                        Position(self.dockerfile.file, 1, 1), f"there is {names}")  # fmt: skip
            raise InputError(found.items)
        return stage

    def needed(self, target: Stage) -> list[Stage]:
        """The stages that target needs, itself last, in the order of the file."""
        wanted, todo = set[int](), [target.number]
        while todo:
            number = todo.pop()
            if number not in wanted:
                wanted.add(number)
                todo += self.stages[number].needs
        return [stage for stage in self.stages if stage.number in wanted]


def read_program(
    text: str, file: str, arguments: Mapping[str, str], *, platform: Mapping[str, str], contexts: Collection[str] = ()
) -> Program:
    """The program of a Dockerfile's text. arguments: the build's; platform: the predefined TARGETARCH and so on;
    contexts: names of additional contexts. Raises InputError with everything that is wrong."""
    found = Diagnostics()
    dockerfile = parse(text, file, found)
    if dockerfile.syntax and not _SYNTAX.match(dockerfile.syntax):
        found.warning("unknown-syntax", "Another frontend is not run", f"# syntax={dockerfile.syntax}",
                      Position(file, 1, 1), "the file is read as docker/dockerfile:1 reads it")  # fmt: skip
    for item in dockerfile.instructions:
        check(item, dockerfile.escape, found)
    builder = _Builder(dockerfile, arguments, platform, contexts, found)
    if not found.has_errors:
        builder.read()
    found.raise_if_errors()
    return builder.program()


class _Builder:
    def __init__(
        self, dockerfile: Dockerfile, given: Mapping[str, str], platform: Mapping[str, str], contexts: Collection[str],
        found: Diagnostics,
    ) -> None:  # fmt: skip
        self._dockerfile, self._given, self._contexts, self._found = dockerfile, given, set(contexts), found
        self._platform = platform
        self._arguments: dict[str, str] = {}
        self._stages: list[Stage] = []

    def program(self) -> Program:
        declared = {
            pair.partition("=")[0] for item in self._dockerfile.instructions if item.keyword == "ARG"
            for pair in split_words(item.rest, self._dockerfile.escape)
        }  # fmt: skip
        known = declared | PROXIES | set(self._platform) | {"SOURCE_DATE_EPOCH"}
        unused = tuple(sorted(name for name in self._given if name not in known and not name.startswith("BUILDKIT_")))
        return Program(self._dockerfile, self._arguments, tuple(self._stages), unused, self._found)

    def read(self) -> None:
        instructions = self._dockerfile.instructions
        starts = [place for place, item in enumerate(instructions) if item.keyword == "FROM"]
        first = starts[0] if starts else len(instructions)
        for item in instructions[:first]:
            if item.keyword != "ARG":
                hint = "start with FROM; only ARG may come before it"
                self._found.error("no-stage", "An instruction stands before FROM", item.keyword, item.position, hint)
                return
            self._declare(item)
        if not starts:
            self._found.error("no-stage", "A Dockerfile has no stage", self._dockerfile.file,
                              Position(self._dockerfile.file, 1, 1), "add FROM")  # fmt: skip
        for place, start in enumerate(starts):
            end = starts[place + 1] if place + 1 < len(starts) else len(instructions)
            self._stage(instructions[start], instructions[start + 1 : end])

    def _declare(self, item: Instruction) -> None:
        expander = Expander({**self._platform, **self._arguments}, self._dockerfile.escape)
        try:
            for pair in split_words(item.rest, self._dockerfile.escape):
                name, equals, value = expander.word(pair).partition("=")
                if name in self._given:
                    self._arguments[name] = self._given[name]
                elif equals:
                    self._arguments[name] = value
        except WordError as problem:
            self._found.error("invalid-word", "A word cannot be read", str(problem), item.position)

    def _stage(self, start: Instruction, body: Sequence[Instruction]) -> None:
        words = split_words(start.rest, self._dockerfile.escape)
        if len(words) not in (1, 3) or (len(words) == 3 and words[1].upper() != "AS"):
            self._found.error("invalid-from", "FROM is not complete", f"FROM {start.rest}", start.position,
                              "write FROM IMAGE, or FROM IMAGE AS NAME")  # fmt: skip
            return
        expander = Expander({**self._platform, **self._arguments}, self._dockerfile.escape)
        try:
            base, platform = expander.word(words[0]), expander.word(start.flag("platform") or "")
        except WordError as problem:
            self._found.error("invalid-word", "A word cannot be read", str(problem), start.at(words[0]))
            return
        if not base:
            self._found.error("empty-base", "FROM names nothing", f"{words[0]} is empty", start.at(words[0]),
                              "give the ARG before the first FROM a value")  # fmt: skip
            return
        number = len(self._stages)
        base_stage = self._known(base, by_number=False)
        needs, origins = set[int]() if base_stage is None else {base_stage}, set[str]()
        for item in body:
            for origin, place in _origins(item):
                stage = self._known(origin)
                if stage is not None:
                    needs.add(stage)
                elif origin.isdigit() and origin not in self._contexts:
                    self._found.error("no-such-stage", "A stage does not exist", f"from={origin}", place,
                                      f"stages before this one are 0 to {number - 1}" if number else
                                      "there is no stage before this one")  # fmt: skip
                elif len(words) == 3 and origin.lower() == words[2].lower():
                    self._found.error("cycle", "A stage copies from itself", f"from={origin}", place,
                                      "name another stage")  # fmt: skip
                else:
                    origins.add(origin)
        self._stages.append(
            Stage(number, words[2] if len(words) == 3 else "", base, platform, start, tuple(body), base_stage,
                  frozenset(needs), frozenset(origins))
        )  # fmt: skip

    def _known(self, name: str, *, by_number: bool = True) -> int | None:
        """The number of an earlier stage."""
        if name in self._contexts or name.lower() in {each.lower() for each in self._contexts}:
            return None
        for stage in reversed(self._stages):
            if stage.name and stage.name.lower() == name.lower():
                return stage.number
        return int(name) if by_number and name.isdigit() and int(name) < len(self._stages) else None


def _origins(item: Instruction) -> list[tuple[str, Position]]:
    """What an instruction takes from elsewhere."""
    if item.keyword == "COPY" and (origin := item.flag("from")):
        return [(origin, item.at(origin))]
    found = []
    for text in item.all_flags("mount"):
        try:
            mount = parse_mount(text)
        except MountError:
            continue  # it has a variable; read again when it is carried out
        if mount.origin:
            found.append((mount.origin, item.at(mount.origin)))
    return found
