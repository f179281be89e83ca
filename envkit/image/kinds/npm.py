"""Node packages: a list installed globally, or a project's own lock file carried out below a directory.

A list is locked by the moment it was resolved at: npm's `before` makes any machine see the registry of that time, for
dependencies of dependencies too. Sources: npm-install(1), npm-ci(1), npm config `before`, npm-ls(1).
"""

from __future__ import annotations

import json
import os
import time
from typing import Any

from envkit.digest import fingerprint
from envkit.host.files import make_directory
from envkit.image.contained import Outcome
from envkit.image.placing import LayerError, Placer, exists
from envkit.image.recipe import request
from envkit.image.sandbox import Bind
from envkit.image.settings import base_environment, lay_out
from envkit.image.step import Step

_WORK = "/run/envkit-npm"
_PREFIX = "/usr/local"
_MANIFESTS = ("package.json", "package-lock.json", "npm-shrinkwrap.json")


def sees(step: Step) -> Any:
    return {}


def matches(step: Step, resolved: Any) -> bool:
    if "context" in step.args:
        return True  # the project's own lock file is an input
    return step.context.lock.accepts("npm", _name(step), resolved["packages"])


def record(step: Step, resolved: Any) -> None:
    if resolved is not None:
        step.context.lock.record("npm", _name(step), {"asked": step.args["packages"], **resolved})


def _name(step: Step) -> str:
    return fingerprint(request(step.layer))[7:23]


def make(step: Step) -> Any:
    if not any(exists(step.root, f"{directory}/npm") for directory in ("/usr/bin", "/usr/local/bin")):
        hint = "install it by a layer before: `apt: [npm]`"
        raise LayerError("the image has no npm", "an `npm` layer needs it", hint)
    return _project(step) if "context" in step.args else _global(step)


def _global(step: Step) -> Any:
    locked = step.context.lock.get("npm", _name(step))
    before = locked["before"] if locked else time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    if locked is None and step.context.lock.frozen:
        record(step, {"before": before, "packages": {}})  # refuses
    outcome = _run(step, "install", "--global", f"--prefix={_PREFIX}", f"--before={before}", *step.args["packages"])
    step.must("npm install", outcome, "check the names and versions; `envkit doctor` looks at this machine's registry")
    lines: list[str] = []
    listed = _run(step, "ls", "--global", f"--prefix={_PREFIX}", "--all", "--json", lines=lines, online=False)
    step.must("npm ls", listed)
    found = {"before": before, "packages": _flat(json.loads("\n".join(lines)))}
    if locked and locked["packages"] != found["packages"]:
        step.warn("the registry no longer gives the locked versions; others are taken")
    return found


def _flat(tree: dict[str, Any]) -> dict[str, str]:
    """Every package below, by its path of names."""
    found: dict[str, str] = {}
    for name, item in (tree.get("dependencies") or {}).items():
        if "version" in item:
            found[name] = item["version"]
        found.update({f"{name}/{path}": version for path, version in _flat(item).items()})
    return dict(sorted(found.items()))


def _project(step: Step) -> Any:
    source, target = step.args["context"], step.args["to"]
    if not os.path.isfile(os.path.join(source, "package-lock.json")):
        hint = "run `npm install --package-lock-only` in the project and commit the file"
        raise LayerError("the project has no package-lock.json", os.path.basename(source), hint)
    with Placer(step.root) as placer:
        for name in _MANIFESTS:
            path = os.path.join(source, name)
            if os.path.isfile(path):
                with open(path, "rb") as file:
                    placer.put(f"{target}/{name}", file.read(), 0o644, 0, 0)
    omit = () if step.args.get("dev") else ("--omit=dev",)
    outcome = _run(step, "ci", *omit, workdir=target)
    step.must("npm ci", outcome, "run `npm install` in the project if its two files disagree")


def _run(step: Step, *words: str, workdir: str = "/", lines: list[str] | None = None, online: bool = True) -> Outcome:
    settings = lay_out(step.space, step.root, step.context.environ)
    cache = os.path.join(step.context.home.cache, "build", "npm")
    make_directory(cache)
    environment = {
        **base_environment(), **settings.environment, "HOME": "/tmp", "NPM_CONFIG_CACHE": _WORK, "CI": "true",
    }  # fmt: skip
    binds = (*settings.binds, Bind(cache, _WORK, read_only=False))
    return step.execute(
        ("npm", *words), environment=environment, binds=binds, workdir=workdir, online=online,
        on_line=None if lines is None else lines.append,
    )  # fmt: skip
