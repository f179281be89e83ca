"""RUN: a command in the root, with its mounts.

Source: Dockerfile reference, "RUN" (shell and exec form, here-documents, --mount, --network, --security). The machine's
way to package registries (image/settings) is mounted for the time of the command, as for `run` layers; what the image
and the Dockerfile say stands before it.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from typing import Any

from envkit.image import users
from envkit.image.dockerfile import aptlists
from envkit.image.dockerfile.mounting import Mounted, Mounting
from envkit.image.manifest import LayerInfo
from envkit.image.network import Network, network
from envkit.image.placing import LayerError, Placer
from envkit.image.recipe import PATH
from envkit.image.sandbox import Bind, Command
from envkit.image.sandbox import run as run_in
from envkit.image.settings import lay_out
from envkit.image.step import Step
from envkit.values import field, value

_SCRIPTS = "/dev/pipes"


@value
class Limits:
    """Of every RUN of a build: Compose's `shm_size` (bytes), `ulimits`, `extra_hosts`, `privileged`."""

    shm_size: int = 64 << 20
    ulimits: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    hosts: Mapping[str, Sequence[str]] = field(default_factory=dict)
    privileged: bool = False


@value
class Run:
    """argv is complete. scripts: (name, content) of here-documents with a `#!` line. environment: the image's
    variables and the arguments; hidden: proxies, on which nothing depends. network: default, none or host. below: the
    layers under it."""

    argv: tuple[str, ...]
    environment: Mapping[str, str]
    hidden: Mapping[str, str]
    user: str
    workdir: str
    network: str
    mounting: Mounting
    limits: Limits = Limits()
    insecure: bool = False
    scripts: tuple[tuple[str, str], ...] = ()
    below: tuple[LayerInfo, ...] = ()

    @property
    def asked(self) -> dict[str, Any]:
        return {
            "argv": self.argv, "environment": dict(sorted(self.environment.items())), "user": self.user,
            "workdir": self.workdir, "network": self.network, "insecure": self.insecure, "scripts": self.scripts,
            "mounts": self.mounting.asked, "hosts": {name: list(all_of) for name, all_of in self.limits.hosts.items()},
        }  # fmt: skip

    def make(self, step: Step) -> None:
        try:
            identity = users.find(step.root, self.user) if self.user else users.ROOT
        except Exception as error:
            from envkit.errors import NotFoundError

            if isinstance(error, NotFoundError):
                hint = "make it by RUN adduser before USER, or write its number"
                raise LayerError(error.summary, f"USER {self.user}", hint) from error
            raise
        with ExitStack() as stack:
            with Placer(step.root) as placer, placer.directory(self.workdir):
                mounted = self.mounting.mount(step, identity, stack)
            online = self.network != "none"
            settings: dict[str, str] = {}
            binds = list(mounted.binds)
            if online:
                laid = lay_out(step.space, step.root, step.context.environ, as_written=True)
                settings.update(laid.environment)
                binds += laid.binds
                aptlists.restore(step, self.below)
            variables = {
                "PATH": PATH, "HOME": identity.home if identity.uid else "/root", **settings, **self.hidden,
                **self.environment, **mounted.environment,
            }  # fmt: skip
            self._execute(step, identity, tuple(binds), variables, mounted)

    def made(self, step: Step, layer: LayerInfo) -> None:
        """What is kept beside the layer."""
        if self.network != "none":
            aptlists.keep(step, layer)

    def _execute(
        self, step: Step, identity: users.Identity, binds: tuple[Bind, ...], variables: Mapping[str, str],
        mounted: Mounted,
    ) -> None:  # fmt: skip
        with _way(step, self.network) as way:
            command = Command(
                self.argv, variables, identity, self.workdir, way.namespace,
                (*binds, *self._scripts(step), *way.binds(step.space, self.limits.hosts)), mounted.tmpfs,
                mounted.sizes, self.limits.shm_size, self.limits.ulimits, self.insecure or self.limits.privileged,
            )  # fmt: skip
            bundle = step.space.directory(f"bundle-{time.monotonic_ns()}", 0o700)
            outcome = run_in(step.root, bundle, command, on_line=step.progress, cancelled=step.context.cancelled)
        if outcome.returncode == 127 and not outcome.last:
            raise step.error("a command was not found", f"exit code 127: {self.argv[0]}", "is it in the image?")
        step.must("a command", outcome, self._hint(outcome.last))

    def _hint(self, last: Sequence[str]) -> str:
        if self.network == "none" and any("resolv" in line or "network" in line.lower() for line in last):
            return "it has no network here: --network=none, or `network: none` of the build"
        if self.argv and any(f"{self.argv[0]}" in line and "o such file" in line for line in last):
            return f"{self.argv[0]} is not in the image; SHELL, or the exec form, names another program"
        return "correct the command, and build again: the layers before it are kept"

    def _scripts(self, step: Step) -> list[Bind]:
        binds = []
        for name, content in self.scripts:
            path = os.path.join(step.space.directory("scripts"), name)
            with open(path, "w", encoding="utf-8") as file:
                file.write(content)
            os.chmod(path, 0o755)
            binds.append(Bind(path, f"{_SCRIPTS}/{name}"))
        return binds


def script_path(name: str) -> str:
    """Where a here-document with a `#!` line is seen during the command."""
    return f"{_SCRIPTS}/{name}"


class _Host:
    """The host's own network."""

    def __enter__(self) -> Network:
        from envkit.host.resolv_conf import read_resolv_conf

        return Network("/proc/self/ns/net", read_resolv_conf().text())

    def __exit__(self, *_: object) -> None:
        return None


def _way(step: Step, kind: str) -> Any:
    """A context manager that gives the Network of a command."""
    return _Host() if kind == "host" else network(step.context.home, kind != "none")
