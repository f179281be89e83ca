"""RUN, COPY, ADD and WORKDIR as work on a root: words expanded, sources found, arguments complete."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from envkit.image.dockerfile.add import Add
from envkit.image.dockerfile.chmod import is_mode
from envkit.image.dockerfile.copy import Copy
from envkit.image.dockerfile.layer import Work
from envkit.image.dockerfile.mounting import Mounting
from envkit.image.dockerfile.run import Limits, Run, script_path
from envkit.image.dockerfile.settings import InstructionError
from envkit.image.dockerfile.sources import Source
from envkit.image.dockerfile.state import State
from envkit.image.placing import Placer, survey
from envkit.image.step import Step
from envkit.spec.dockerfile.check import sources_and_target
from envkit.spec.dockerfile.inputs import is_remote
from envkit.spec.dockerfile.mounts import MountError, parse_mount
from envkit.spec.dockerfile.parse import Instruction, heredoc_name
from envkit.spec.dockerfile.stages import PROXIES

Find = Callable[[str, Step], Source]


@dataclass(frozen=True, slots=True)
class Options:
    """What holds for every instruction of a build. source(name, step): the tree that `from` means, "" the context."""

    source: Find
    context: Source
    limits: Limits = field(default_factory=Limits)
    network: str = "default"
    secrets: Mapping[str, str] = field(default_factory=dict)
    ssh: Mapping[str, str] = field(default_factory=dict)
    insecure: bool = False
    offline: bool = False


def work_of(state: State, item: Instruction, options: Options, *, fresh: bool) -> Work:
    """The work of an instruction that makes a layer. Raises InstructionError, WordError."""
    makers = {"RUN": _run, "COPY": _copy, "ADD": _add, "WORKDIR": _workdir}
    return makers[item.keyword](state, item, options, fresh)


# -- RUN


def _run(state: State, item: Instruction, options: Options, fresh: bool) -> Work:
    expander = state.expander
    try:
        mounts = [parse_mount(text, expander.word) for text in item.all_flags("mount")]
    except MountError as problem:
        raise InstructionError(str(problem)) from problem
    insecure = item.flag("security") == "insecure"
    if insecure and not options.insecure:
        hint = "write `privileged: true` or `entitlements: [security.insecure]` below the build"
        raise InstructionError("--security=insecure is not allowed by the build", hint)
    argv, scripts, shown = _argv(state, item)
    variables = {**state.arguments, **state.environment}
    hidden = {name: value for name, value in state.given.items() if name in PROXIES and name not in variables}
    work = Run(
        tuple(argv), variables, hidden, str(state.config.get("User") or ""), state.workdir,
        item.flag("network") or options.network,
        Mounting(mounts, options.source, state.workdir, options.secrets, options.ssh), options.limits,
        insecure, tuple(scripts), tuple(state.layers),
    )  # fmt: skip
    title = " ".join(f"RUN {shown}".split())
    sees = work.mounting.sees if work.mounting.looks else None
    return Work(item, title, work.asked, sees, work.make, chained=True, fresh=fresh, after=work.made)


def _argv(state: State, item: Instruction) -> tuple[list[str], list[tuple[str, str]], str]:
    """(argv, scripts, how it is shown)."""
    words = item.json()
    if words is not None and not item.heredocs:
        if not words:
            raise InstructionError("RUN [] has no command")
        return words, [], " ".join(words)
    if len(item.heredocs) == 1 and heredoc_name(item.rest) == item.heredocs[0].name:
        content = item.heredocs[0].content
        if content.startswith("#!"):
            name = item.heredocs[0].name
            return [*state.shell, script_path(name)], [(name, content)], f"{item.rest} {content}"
        return [*state.shell, content], [], f"{item.rest} {content}"
    text = item.rest
    for heredoc in item.heredocs:
        text += f"\n{heredoc.content}{heredoc.name}"
    return [*state.shell, text + ("\n" if item.heredocs else "")], [], " ".join([*state.shell, text])


# -- COPY, ADD


def _copied(state: State, item: Instruction, source: Source, options: Options) -> tuple[Copy, list[str]]:
    """(the copy, the words of its sources that are URLs)."""
    expander = state.expander
    written, target = sources_and_target(item, expander.escape)
    heredocs = {heredoc.name: heredoc for heredoc in item.heredocs}
    inline: list[tuple[str, str]] = []
    sources: list[str] = []
    urls: list[str] = []
    literal = item.json() is not None
    for word in written:
        name = "" if literal else heredoc_name(word)
        if name in heredocs:
            heredoc = heredocs[name]
            inline.append((name, expander.raw(heredoc.content) if heredoc.expands else heredoc.content))
            continue
        path = expander.word(word)
        (urls if item.keyword == "ADD" and is_remote(path) else sources).append(path)
    place = expander.word(target)
    if len(sources) + len(urls) + len(inline) > 1 and not place.endswith("/") and place not in (".", ".."):
        raise InstructionError(f"it has several sources, and the destination {place}", f"write {place}/")
    chmod = expander.word(item.flag("chmod") or "")
    if chmod and not is_mode(chmod):
        raise InstructionError(f"--chmod={chmod} is no mode", "write it octal (0755) or as chmod does (u=rwX,go=rX)")
    absolute = state.absolute(place)
    if place in (".", "..") or place.endswith(("/.", "/..")):
        absolute = absolute.rstrip("/") + "/"
    made = Copy(
        source, tuple(sources), absolute, expander.word(item.flag("chown") or ""), chmod,
        tuple(expander.word(text) for text in item.all_flags("exclude")), item.is_set("parents"),
        item.is_set("link"), tuple(inline),
    )  # fmt: skip
    return made, urls


def _copy(state: State, item: Instruction, options: Options, fresh: bool) -> Work:
    origin = item.flag("from")
    if not origin:
        copy, _ = _copied(state, item, options.context, options)
        return Work(item, item.text, copy.asked, copy.sees, copy.make, detached=copy.link, fresh=fresh)

    def found(step: Step) -> Copy:
        return _copied(state, item, options.source(origin or "", step), options)[0]

    asked = _copied(state, item, options.context, options)[0].asked
    detached = item.is_set("link")
    return Work(item, item.text, asked, lambda step: found(step).sees(step), lambda step: found(step).make(step),
                detached=detached, fresh=fresh)  # fmt: skip


def _add(state: State, item: Instruction, options: Options, fresh: bool) -> Work:
    copy, urls = _copied(state, item, options.context, options)
    gits = [url for url in urls if not url.startswith(("http://", "https://")) or _is_repository(url)]
    urls = [url for url in urls if url not in gits]
    checksum = state.expander.word(item.flag("checksum") or "")
    if checksum and len(urls) != 1:
        raise InstructionError("--checksum is for one URL", "write an ADD of its own for each URL")
    unpack = None if item.flag("unpack") is None else item.is_set("unpack")
    add = Add(copy, tuple(urls), checksum, unpack, options.offline, tuple(gits), item.is_set("keep-git-dir"))
    return Work(item, item.text, add.asked, add.sees, add.make, detached=copy.link, fresh=fresh)


def _is_repository(url: str) -> bool:
    """Whether an HTTP URL is a Git repository's."""
    return url.partition("#")[0].endswith(".git")


# -- WORKDIR


def _workdir(state: State, item: Instruction, options: Options, fresh: bool) -> Work:
    path = state.absolute(state.expander.word(item.rest)).rstrip("/") or "/"
    state.config["WorkingDir"] = path

    def make(step: Step) -> None:
        with Placer(step.root) as placer, placer.directory(path):
            return

    return Work(item, f"WORKDIR {path}", {"path": path}, lambda step: survey(step.root, [path]), make, fresh=fresh)

