"""Python distributions, installed by the image's own Python and pip from this machine's index.

What is resolved once is locked with version and SHA-256, and installed from then on by exactly that list.
Sources: pip install --report (pip "Installation Report"), "Secure installs" (--require-hashes), PEP 668.
"""

from __future__ import annotations

import json
import os
import re
from typing import Any

from envkit.digest import fingerprint
from envkit.host.files import make_directory
from envkit.image.contained import Outcome
from envkit.image.placing import LayerError, exists
from envkit.image.recipe import request
from envkit.image.sandbox import Bind
from envkit.image.settings import base_environment, lay_out
from envkit.image.step import Step

_WORK = "/run/envkit-pip"
_NOT_FOUND = re.compile(r"^ERROR: No matching distribution found for (.+)$", re.MULTILINE)


def sees(step: Step) -> Any:
    return {}


def matches(step: Step, resolved: Any) -> bool:
    return step.context.lock.accepts("pip", _name(step), resolved["packages"])


def record(step: Step, resolved: Any) -> None:
    asked = list(step.args.get("packages", []))
    if "requirements" in step.args:
        asked.append(os.path.basename(step.args["requirements"]))
    step.context.lock.record("pip", _name(step), {"asked": asked, "packages": resolved["packages"]})


def _name(step: Step) -> str:
    """The lock's name of this layer's request: the same wherever the request is the same."""
    return fingerprint(request(step.layer))[7:23]


def make(step: Step) -> Any:
    pip = _Pip(step)
    pip.prepare()
    locked = step.context.lock.get("pip", _name(step))
    if locked is None and step.context.lock.frozen:
        record(step, {"packages": {}})  # refuses
    found: dict[str, Any] = locked["packages"] if locked else pip.resolve()
    pip.install(found)
    return {"packages": found}


class _Pip:
    """pip in the step's root."""

    def __init__(self, step: Step) -> None:
        self._step = step
        self._settings = lay_out(step.space, step.root, step.context.environ)
        self._work = step.space.directory("pip")
        self._venv: str = step.args.get("venv", "")
        self._python = f"{self._venv}/bin/python3" if self._venv else "python3"

    def _run(self, *words: str, online: bool = True) -> Outcome:
        step = self._step
        cache = os.path.join(step.context.home.cache, "build", "pip")
        make_directory(cache)
        environment = {
            **base_environment(), "PYTHONHASHSEED": "0", **(self._settings.environment if online else {}),
            "PIP_BREAK_SYSTEM_PACKAGES": "1", "PIP_CACHE_DIR": f"{_WORK}/cache", "PIP_NO_INPUT": "1",
        }  # fmt: skip
        binds = (
            *self._settings.binds, Bind(self._work, _WORK, read_only=False),
            Bind(cache, f"{_WORK}/cache", read_only=False),
        )  # fmt: skip
        step.space.directory("pip/cache")
        return step.execute(words, environment=environment, binds=binds, online=online)

    def prepare(self) -> None:
        """Make the virtual environment where one is asked for; see that there is a pip."""
        step = self._step
        if not any(exists(step.root, f"{directory}/python3") for directory in ("/usr/bin", "/usr/local/bin", "/bin")):
            hint = "install it by a layer before: `apt: [python3, python3-venv]`"
            raise LayerError("the image has no Python", "a `pip` layer needs python3", hint)
        if self._venv and not exists(step.root, f"{self._venv}/bin/python3"):
            outcome = self._run("python3", "-m", "venv", "--symlinks", self._venv, online=False)
            step.must("making the virtual environment", outcome, "install its parts before: `apt: [python3-venv]`")
        outcome = self._run(self._python, "-m", "pip", "--version", online=False)
        hint = "add `apt: [python3-pip]` before, or write `venv: /opt/venv` with `apt: [python3-venv]` before"
        step.must("looking for pip", outcome, hint)

    def resolve(self) -> dict[str, Any]:
        """Ask the index what to install, without installing: name -> version and digests."""
        args = self._step.args
        words = list(args.get("packages", []))
        if "requirements" in args:
            try:
                with open(args["requirements"], encoding="utf-8") as file:
                    self._write("requirements.txt", file.read())
            except OSError as error:
                detail = f"{os.path.basename(args['requirements'])}: {error.strerror}"
                raise LayerError("the requirements file cannot be read", detail) from error
            words += ["-r", f"{_WORK}/requirements.txt"]
        outcome = self._run(
            self._python, "-m", "pip", "install", "--dry-run", "--ignore-installed", "--report", f"{_WORK}/report.json",
            "--progress-bar", "off", *words,
        )  # fmt: skip
        hint = "check the names and versions; `envkit doctor` looks at this machine's index"
        if unknown := _NOT_FOUND.findall("\n".join(outcome.last)):
            raise self._step.error("a distribution is not found", ", ".join(unknown), hint, outcome.last)
        self._step.must("pip's plan", outcome, hint)
        with open(os.path.join(self._work, "report.json"), "rb") as file:
            report = json.load(file)
        return dict(sorted(_entry(item) for item in report["install"]))

    def install(self, found: dict[str, Any]) -> None:
        lines = [
            f"{name}=={item['version']} " + " ".join(f"--hash=sha256:{digest}" for digest in item["sha256"])
            for name, item in sorted(found.items())
        ]  # fmt: skip
        self._write("locked.txt", "\n".join(lines) + "\n")
        outcome = self._run(
            self._python, "-m", "pip", "install", "--no-deps", "--require-hashes", "--progress-bar", "off",
            "--no-warn-script-location", "-r", f"{_WORK}/locked.txt",
        )  # fmt: skip
        self._step.must("pip install", outcome, "if the lock's versions are gone from the index, run `envkit lock`")

    def _write(self, name: str, text: str) -> None:
        with open(os.path.join(self._work, name), "w", encoding="utf-8") as file:
            file.write(text)


def _entry(item: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """One entry of the report. A distribution without a digest (a directory, a repository) cannot be locked."""
    metadata, archive = item["metadata"], (item.get("download_info") or {}).get("archive_info") or {}
    name = re.sub(r"[-_.]+", "-", metadata["name"]).lower()
    digests = archive.get("hashes") or {}
    digest = digests.get("sha256") or (archive.get("hash") or "").removeprefix("sha256=")
    if not digest:
        detail = f"{name} does not come from an index"
        raise LayerError("a distribution cannot be locked", detail, "name a released version")
    return name, {"version": metadata["version"], "sha256": [digest]}
