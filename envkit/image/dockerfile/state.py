"""A stage in the making: its layers so far, its configuration, its arguments."""

from __future__ import annotations

import posixpath
from collections.abc import Mapping
from typing import Any

from envkit.image import recipe
from envkit.image.manifest import LayerInfo
from envkit.spec.dockerfile.parse import Instruction
from envkit.spec.dockerfile.stages import Program
from envkit.spec.dockerfile.words import Expander
from envkit.values import field, struct

_SHELL = ("/bin/sh", "-c")


@struct
class State:
    """program and given (the build's arguments) are read only. layers: bottom first. config: the OCI `config` object.
    arguments: those that ARG has declared in this stage and its parents, with their values. own_command: whether this
    stage has said CMD. missing: why the layers are not complete (of a plan; "": they are)."""

    program: Program
    given: Mapping[str, str]
    platform: Mapping[str, str]
    layers: list[LayerInfo] = field(default_factory=list)
    config: dict[str, Any] = field(default_factory=dict)
    history: list[dict[str, Any]] = field(default_factory=list)
    document: dict[str, Any] = field(default_factory=dict)
    arguments: dict[str, str] = field(default_factory=dict)
    own_command: bool = False
    missing: str = ""

    def child(self) -> State:
        """What a stage that starts from this one begins with."""
        return State(
            self.program, self.given, self.platform, list(self.layers), dict(self.config), list(self.history),
            dict(self.document), dict(self.arguments), missing=self.missing,
        )  # fmt: skip

    @property
    def environment(self) -> dict[str, str]:
        return recipe.environment_of(self.config)

    @environment.setter
    def environment(self, values: Mapping[str, str]) -> None:
        self.config["Env"] = [f"{name}={value}" for name, value in values.items()]

    @property
    def expander(self) -> Expander:
        """Replaces the variables that the next instruction sees; ENV stands before ARG."""
        return Expander({**self.arguments, **self.environment}, self.program.dockerfile.escape)

    @property
    def workdir(self) -> str:
        return str(self.config.get("WorkingDir") or "/")

    @property
    def shell(self) -> list[str]:
        return list(self.config.get("Shell") or _SHELL)

    def absolute(self, path: str) -> str:
        """A path of an instruction, seen from the working directory; a slash at its end is kept."""
        made = posixpath.normpath("/" + posixpath.join(self.workdir, path).lstrip("/"))
        return made + "/" if path.endswith(("/", "/.")) and made != "/" else made

    def remember(self, item: Instruction, created_by: str = "", *, layer: bool) -> None:
        """Add an entry to the history."""
        entry: dict[str, Any] = {"created": recipe.CREATED, "created_by": created_by or item.text}
        self.history.append(entry if layer else {**entry, "empty_layer": True})
