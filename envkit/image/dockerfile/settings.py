"""Instructions that change nothing but the configuration.

Source: Dockerfile reference; Docker image-spec v1.2 (Shell, OnBuild, Healthcheck) and OCI image-spec config.md.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from envkit.image.dockerfile.state import State
from envkit.spec.dockerfile.parse import Instruction
from envkit.spec.dockerfile.words import split_words

_PORT = re.compile(r"(?P<first>\d+)(?:-(?P<last>\d+))?(?:/(?P<protocol>tcp|udp|sctp))?")
_UNITS = {"ns": 1, "us": 10**3, "µs": 10**3, "ms": 10**6, "s": 10**9, "m": 60 * 10**9, "h": 3600 * 10**9}
_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ns|us|µs|ms|s|m|h)")


class InstructionError(ValueError):
    """An instruction cannot be carried out; the text says why, hint what to do."""

    def __init__(self, text: str, hint: str = "") -> None:
        super().__init__(text)
        self.hint = hint


def configure(state: State, item: Instruction) -> bool:
    """Apply an instruction to the state; False when it makes a layer instead. Raises InstructionError, WordError."""
    handler = _HANDLERS.get(item.keyword)
    if handler is None:
        return False
    handler(state, item)
    state.remember(item, layer=False)
    return True


def pairs(item: Instruction, state: State) -> list[tuple[str, str]]:
    """The pairs of ENV and LABEL, expanded."""
    expander = state.expander
    words = split_words(item.rest, expander.escape)
    if "=" not in words[0]:
        return [(expander.word(words[0]), expander.word(item.rest[len(words[0]) :].strip()))]
    cut = [word.partition("=") for word in words]
    return [(expander.word(name), expander.word(value)) for name, _, value in cut]


def _env(state: State, item: Instruction) -> None:
    state.environment = {**state.environment, **dict(pairs(item, state))}


def _label(state: State, item: Instruction) -> None:
    state.config["Labels"] = {**(state.config.get("Labels") or {}), **dict(pairs(item, state))}


def _arg(state: State, item: Instruction) -> None:
    """A build argument stands before the default here, that before the value of an ARG above all stages."""
    for word in split_words(item.rest, state.expander.escape):
        name, equals, value = word.partition("=")
        name = state.expander.word(name)
        known = {**state.platform, **state.program.arguments}
        if name in state.given:
            state.arguments[name] = state.given[name]
        elif equals:
            state.arguments[name] = state.expander.word(value)
        elif name in known:
            state.arguments[name] = known[name]


def command(state: State, item: Instruction) -> list[str]:
    """The exec form as it is, the shell form with the stage's shell."""
    words = item.json()
    return words if words is not None else [*state.shell, item.rest]


def _cmd(state: State, item: Instruction) -> None:
    state.config["Cmd"] = command(state, item)
    state.own_command = True


def _entrypoint(state: State, item: Instruction) -> None:
    """A new entrypoint drops a command of the base, which was meant as the arguments of another program."""
    state.config["Entrypoint"] = command(state, item)
    if not state.own_command:
        state.config.pop("Cmd", None)


def _expose(state: State, item: Instruction) -> None:
    ports = dict(state.config.get("ExposedPorts") or {})
    for word in state.expander.words(item.rest):
        match = _PORT.fullmatch(word)
        first = int(match["first"]) if match else -1
        last = int(match["last"] or first) if match else -1
        if match is None or not 0 <= first <= last < 65536:
            raise InstructionError(f"{word!r} is no port", "write 80, 53/udp or 8000-8010")
        ports.update({f"{port}/{match['protocol'] or 'tcp'}": {} for port in range(first, last + 1)})
    state.config["ExposedPorts"] = ports


def _volume(state: State, item: Instruction) -> None:
    words = item.json()
    expanded = state.expander.words(item.rest) if words is None else [state.expander.word(word) for word in words]
    paths = [word for word in expanded if word]
    if not paths:
        raise InstructionError("VOLUME names no path")
    state.config["Volumes"] = {**(state.config.get("Volumes") or {}), **{path: {} for path in paths}}


def _user(state: State, item: Instruction) -> None:
    state.config["User"] = state.expander.word(item.rest)


def _stop_signal(state: State, item: Instruction) -> None:
    state.config["StopSignal"] = state.expander.word(item.rest)


def _shell(state: State, item: Instruction) -> None:
    state.config["Shell"] = item.json()


def _onbuild(state: State, item: Instruction) -> None:
    state.config["OnBuild"] = [*(state.config.get("OnBuild") or ()), item.rest]


def _maintainer(state: State, item: Instruction) -> None:
    state.document["author"] = item.rest


def _healthcheck(state: State, item: Instruction) -> None:
    word, _, rest = item.rest.partition(" ")
    if word.upper() == "NONE":
        state.config["Healthcheck"] = {"Test": ["NONE"]}
        return
    inner = Instruction("CMD", rest.strip())
    words = inner.json()
    made: dict[str, Any] = {"Test": ["CMD", *words] if words is not None else ["CMD-SHELL", inner.rest]}
    names = {"interval": "Interval", "timeout": "Timeout", "start-period": "StartPeriod",
             "start-interval": "StartInterval"}  # fmt: skip
    for flag in item.flags:
        value = state.expander.word(flag.value or "")
        if flag.name == "retries":
            made["Retries"] = int(value)
        else:
            made[names[flag.name]] = nanoseconds(value)
    state.config["Healthcheck"] = made


def nanoseconds(text: str) -> int:
    """A duration of Go's: 1m30s, 500ms."""
    found = _DURATION.findall(text)
    if text != "0" and "".join(number + unit for number, unit in found) != text:
        raise InstructionError(f"{text!r} is no duration", "write 30s, 1m30s or 500ms")
    return round(sum(float(number) * _UNITS[unit] for number, unit in found))


_HANDLERS: dict[str, Callable[[State, Instruction], None]] = {
    "ARG": _arg, "CMD": _cmd, "ENTRYPOINT": _entrypoint, "ENV": _env, "EXPOSE": _expose, "HEALTHCHECK": _healthcheck,
    "LABEL": _label, "MAINTAINER": _maintainer, "ONBUILD": _onbuild, "SHELL": _shell, "STOPSIGNAL": _stop_signal,
    "USER": _user, "VOLUME": _volume,
}  # fmt: skip
