"""Debian packages, installed by the image's own apt from this machine's sources.

Versions come from the lock as far as it goes; what it does not name is resolved and handed to it. Before anything is
installed, a simulation says what will be: packages that are missing, or that a frozen lock does not name, end it there.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from envkit.digest import fingerprint
from envkit.host.files import make_directory, remove_tree
from envkit.host.lock import Lock
from envkit.image import machine, packages
from envkit.image.contained import Outcome
from envkit.image.placing import LayerError, Placer, exists
from envkit.image.sandbox import Bind
from envkit.image.settings import PLACE, Settings, base_environment, lay_out
from envkit.image.step import Step

_FRESH = 600  # seconds for which package lists are not fetched again
_POLICY_PATH = "/usr/sbin/policy-rc.d"
_POLICY = b"#!/bin/sh\nexit 101\n"


def sees(step: Step) -> Any:
    return {}


def matches(step: Step, resolved: Any) -> bool:
    """Whether no package of an earlier result has another version in the lock."""
    return step.context.lock.agrees(packages.suite_of(step.root), resolved["packages"])


def record(step: Step, resolved: Any) -> None:
    step.context.lock.record_versions(packages.suite_of(step.root), resolved["packages"])


def make(step: Step) -> Any:
    if not exists(step.root, "/usr/bin/apt-get"):
        raise LayerError(
            "the image has no apt", "an `apt` layer needs a Debian or Ubuntu root with apt in it",
            "start from {debian: SUITE} with the variant apt or minbase",
        )  # fmt: skip
    suite = packages.suite_of(step.root)
    locked = step.context.lock.versions(suite)
    settings = lay_out(step.space, step.root, step.context.environ, packages.preferences(locked))
    apt = _Apt(step, settings)
    apt.update()
    before = packages.installed(step.root)
    expected = apt.simulate()
    _check(step, suite, locked, expected)
    with _no_daemons(step):
        apt.install()
    after = packages.installed(step.root)
    new = {name: version for name, version in after.items() if before.get(name) != version}
    apt.keep_archives()
    return {"suite": suite, "packages": new}


def _check(step: Step, suite: str, locked: dict[str, str], expected: dict[str, str]) -> None:
    """Versions that the lock names but the mirror no longer offers; in a frozen lock also what it does not name."""
    moved = {name: version for name, version in expected.items() if name in locked and locked[name] != version}
    for name, version in sorted(moved.items()):
        step.warn(f"{name} {locked[name]} of the lock is no longer offered; {version} is taken")
    if step.context.lock.frozen:
        step.context.lock.record_versions(suite, expected)


class _Apt:
    """apt-get in the step's root."""

    def __init__(self, step: Step, settings: Settings) -> None:
        self._step = step
        self._settings = settings
        sources = [source.encode() for source in settings.sources]
        name = fingerprint([sources, packages.suite_of(step.root)])[7:23]
        self._cache = os.path.join(step.context.home.cache, "build", "apt", name)
        self._lists = os.path.join(self._cache, "lists")
        self._archives = os.path.join(self._cache, "archives")
        self._own_archives = step.space.directory("archives")

    def _run(self, *words: str, lists_read_only: bool = True) -> tuple[Outcome, list[str]]:
        lines: list[str] = []
        binds = (
            *self._settings.binds, Bind(self._lists, f"{PLACE}/lists", read_only=lists_read_only),
            Bind(self._own_archives, f"{PLACE}/archives", read_only=False),
        )  # fmt: skip
        environment = {**base_environment(), "PYTHONHASHSEED": "0", **self._settings.environment}
        outcome = self._step.execute(
            ("apt-get", *words), environment=environment, binds=binds, online=True, on_line=lines.append
        )
        return outcome, lines

    def update(self) -> None:
        """Fetch the package lists, unless that was a moment ago. One build at a time."""
        make_directory(self._cache)
        for directory in (self._lists, self._archives):
            make_directory(directory)
        stamp = os.path.join(self._cache, "updated")
        with Lock(os.path.join(self._cache, "lock"), {"purpose": "fetching package lists"}):
            if _age(stamp) < _FRESH:
                return
            outcome, lines = self._run("update", "-q", "--error-on=any", lists_read_only=False)
            if outcome.returncode:
                failed = [line for line in lines if line.startswith(("E:", "W:", "Err:"))]
                hint = "check this machine's network, proxy and apt sources; `envkit doctor` looks at them"
                if proxy := machine.loopback_proxy(self._step.context.environ):
                    hint = f"a build has a network of its own, from where {proxy} is out of reach: let it listen wider"
                raise self._step.error("the package lists cannot be fetched", "\n".join(failed[:3]), hint, outcome.last)
            with open(stamp, "wb"):
                os.utime(stamp)

    def _words(self, *options: str) -> tuple[str, ...]:
        args = self._step.args
        recommends = ("--install-recommends",) if args.get("recommends") else ()
        return ("install", "-q", "--allow-downgrades", *recommends, *options, "--", *args["packages"])

    def simulate(self) -> dict[str, str]:
        """What will be installed."""
        outcome, lines = self._run(*self._words("--simulate"))
        if outcome.returncode:
            unknown = packages.missing(lines)
            if unknown:
                hint = "look for its name with `apt-cache search`; `apt:` takes names of the image's own suite"
                raise self._step.error("a package is not found", ", ".join(unknown), hint, outcome.last)
            self._step.must("apt's plan", outcome)
        return packages.to_install(lines)

    def install(self) -> None:
        for name in os.listdir(self._archives):
            if name.endswith(".deb"):
                with suppress(FileNotFoundError, FileExistsError):
                    os.link(os.path.join(self._archives, name), os.path.join(self._own_archives, name))
        outcome, lines = self._run(*self._words())
        if any("Failed to fetch" in line for line in lines) and outcome.returncode:
            remove_tree(os.path.join(self._cache, "updated"))  # the lists are older than the mirror: fetch them anew
            hint = "run the build again; if that fails as well, check this machine's network"
            raise self._step.error("packages cannot be fetched", "", hint, outcome.last)
        self._step.must("apt-get install", outcome)

    def keep_archives(self) -> None:
        """Hand what was fetched on to later builds."""
        for name in os.listdir(self._own_archives):
            source, target = os.path.join(self._own_archives, name), os.path.join(self._archives, name)
            if name.endswith(".deb") and not os.path.exists(target):
                with suppress(FileExistsError):
                    os.link(source, target)


@contextmanager
def _no_daemons(step: Step) -> Iterator[None]:
    """No service is started when its package is installed (Debian policy 9.3.3.1; policy-rc.d of invoke-rc.d(8))."""
    if exists(step.root, _POLICY_PATH):
        yield
        return
    with Placer(step.root) as placer:
        placer.put(_POLICY_PATH, _POLICY, 0o755, 0, 0)
        try:
            yield
        finally:
            placer.remove(_POLICY_PATH)


def _age(path: str) -> float:
    try:
        return time.time() - os.stat(path).st_mtime
    except FileNotFoundError:
        return float("inf")
