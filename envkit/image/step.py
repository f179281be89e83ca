"""One layer in the making, as the kinds see it: its arguments, the root it works in, and how to run a command there."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from threading import Event as Flag
from typing import Any

from envkit.errors import ApplyError, NotFoundError
from envkit.events import Emit, Event, EventKind
from envkit.host.home import Home
from envkit.image.contained import Outcome
from envkit.image.lockfile import Lockfile
from envkit.image.recipe import PATH, title
from envkit.image.sandbox import Bind, Command
from envkit.image.sandbox import run as run_in
from envkit.image.space import Space
from envkit.image.store import Store
from envkit.image.users import ROOT, Identity
from envkit.spec.canonical import LayerSpec
from envkit.values import field, struct, value

_PAUSE = 0.2  # seconds between two progress events of one layer


def no_secret(name: str) -> bytes:
    """For callers that have no secrets."""
    raise NotFoundError("a build asks for a secret that nobody gave", f"secrets.{name}")


@value
class Context:
    """What all layers of one image share.

    directory: the project's. images: the digests of the other images, by key. origin: a path of the ImageSpec
    (`layers[2]`) to its place in the YAML. secret: the content of a secret. environ: this process's variables.
    fresh: what was made before does not count. pull: references are looked up at their registries again.
    """

    address: str
    store: Store
    home: Home
    directory: str
    images: Mapping[str, str]
    emit: Emit
    lock: Lockfile
    origin: Callable[[str], str] = lambda path: ""
    secret: Callable[[str], bytes] = no_secret
    environ: Mapping[str, str] = field(default_factory=dict)
    cancelled: Flag | None = None
    fresh: bool = False
    pull: bool = False


@struct
class Step:
    """One layer. root: what is below it, merged (writable once it is being made); environment: the image's variables;
    number counts from 1."""

    context: Context
    layer: LayerSpec
    number: int
    total: int
    space: Space
    root: str
    environment: Mapping[str, str] = field(default_factory=dict)
    started: float = field(default_factory=time.monotonic)
    _shown: float = 0.0

    @property
    def args(self) -> dict[str, Any]:
        return self.layer["args"]

    @property
    def origin(self) -> str:
        """The layer's place in the YAML, "" when unknown."""
        return self.context.origin(f"layers[{self.number - 1}]")

    def progress(self, text: str = "", *, force: bool = False) -> None:
        """Tell how far the layer is; text: the last line of a command's output. Throttled."""
        now = time.monotonic()
        if not force and now - self._shown < _PAUSE:
            return
        self._shown = now
        elapsed = now - self.started
        head = f"layer {self.number}/{self.total} {title(self.layer)}"
        data = {"layer": self.number, "layers": self.total, "elapsed": round(elapsed, 1), "output": text}
        message = f"{head}: {text}" if text else head
        self.context.emit(Event(EventKind.PROGRESS, self.context.address, "build", message, data))

    def warn(self, text: str) -> None:
        """Something the user should know, though the layer is made."""
        message = f"{self.origin}: {text}" if self.origin else text
        self.context.emit(
            Event(EventKind.WARNING, self.context.address, "build", message, {"layer": self.number})
        )

    def error(self, summary: str, detail: str = "", hint: str = "", log: tuple[str, ...] = ()) -> ApplyError:
        """The error that names this layer."""
        name = f"layer {self.number} ({title(self.layer)})" + (f" at {self.origin}" if self.origin else "")
        return ApplyError(
            summary, f"{name}: {detail}" if detail else name, hint, address=self.context.address, log=log
        )  # fmt: skip

    def execute(
        self, argv: tuple[str, ...], *, environment: Mapping[str, str] | None = None, binds: tuple[Bind, ...] = (),
        identity: Identity = ROOT, workdir: str = "/", online: bool = False,
        on_line: Callable[[str], None] | None = None,
    ) -> Outcome:  # fmt: skip
        """Run a command in the root; online: with a network. Raises what sandbox.run does."""
        from envkit.image.network import network

        variables = {"PATH": PATH, "HOME": identity.home if identity.uid else "/root", **(environment or {})}

        def line(text: str) -> None:
            self.progress(text)
            if on_line is not None:
                on_line(text)

        with network(self.context.home, online) as uplink:
            command = Command(
                tuple(argv), variables, identity, workdir, uplink.namespace,
                (*binds, *uplink.binds(self.space)),
            )  # fmt: skip
            bundle = self.space.directory(f"bundle-{time.monotonic_ns()}", 0o700)
            return run_in(self.root, bundle, command, on_line=line, cancelled=self.context.cancelled)

    def must(self, what: str, outcome: Outcome, hint: str = "") -> None:
        """Raise the layer's error unless the command succeeded."""
        if outcome.returncode == 0:
            return
        how = f"exit code {outcome.returncode}"
        if outcome.returncode > 128:
            how += " (killed)" if outcome.returncode == 137 else ""
        raise self.error(f"{what} failed", how, hint, outcome.last)
