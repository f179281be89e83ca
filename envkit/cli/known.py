"""What there is: the names that completion offers. Nothing is an error here; what cannot be found is not offered."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from envkit.errors import EnvkitError

if TYPE_CHECKING:
    from envkit.cli.context import Context
    from envkit.spec.environment import Environment

Names = Callable[["Context", list[str]], list[str]]
"""(the context, the words that stand before) -> names."""


def _quietly(names: Callable[[], Iterable[str]]) -> list[str]:
    """The names, sorted and each once; none where they cannot be found out."""
    try:
        return sorted(set(names()))
    except (EnvkitError, OSError):
        return []


def _environment(context: Context) -> Environment | None:
    try:
        return context.identify()
    except EnvkitError:
        return None


def services(context: Context) -> list[str]:
    """Services of the files, and those that run."""
    environment = _environment(context)
    declared = [] if environment is None else list(environment.services)
    if environment is None:
        return declared
    name = environment.name
    live = _quietly(lambda: (row.service for row in context.backend.instances(name)))
    return sorted({*declared, *live})


def _addresses(context: Context) -> list[str]:
    environment = _environment(context)
    return [] if environment is None else sorted({str(address.replica(1)) for address in environment.resources})


def _images(context: Context) -> list[str]:
    """References of the store, as one writes them."""
    from envkit.image.store import Store

    def found() -> Iterable[str]:
        for image in Store(context.home).list():
            for reference in image.references:
                yield reference.removeprefix("docker.io/").removeprefix("library/")

    return _quietly(found)


def _volumes(context: Context) -> list[str]:
    return _quietly(lambda: (row.name for row in context.backend.volumes(None)))


def _snapshots(context: Context) -> list[str]:
    """Volumes' snapshots as one word, VOLUME@SNAPSHOT."""
    return _quietly(lambda: (f"{row.volume}@{row.name}" for row in context.backend.volume_data().snapshots()))


def _snapshot_volumes(context: Context) -> list[str]:
    return _quietly(lambda: (row.volume for row in context.backend.volume_data().snapshots()))


def _restore(context: Context, given: list[str]) -> list[str]:
    if not given:
        return sorted({*_volumes(context), *_snapshot_volumes(context)})
    rows = _quietly(lambda: (row.name for row in context.backend.volume_data().snapshots()
                             if given[0] in (row.volume, row.key)))  # fmt: skip
    return rows if len(given) == 1 else []


def _targets(context: Context) -> list[str]:
    environment = _environment(context)
    return [] if environment is None else sorted(environment.targets)


def _profiles(context: Context) -> list[str]:
    from envkit.config.load import load_model

    def found() -> Iterable[str]:
        model = load_model(context.load_options())
        for service in [*(model.plain.get("services") or {}).values(), *model.disabled_services.values()]:
            yield from service.get("profiles") or ()

    return _quietly(found)


def _contexts(context: Context) -> list[str]:
    """Docker's contexts, by their files."""
    config = context.environ.get("DOCKER_CONFIG") or os.path.join(context.environ.get("HOME", "/"), ".docker")

    def found() -> Iterable[str]:
        yield "default"
        with os.scandir(os.path.join(config, "contexts", "meta")) as entries:
            for entry in entries:
                with open(os.path.join(entry.path, "meta.json"), encoding="utf-8") as file:
                    yield json.load(file)["Name"]

    try:
        return sorted(set(found()))
    except (OSError, ValueError, KeyError):
        return ["default"]


def _templates(_: Context, given: list[str]) -> list[str]:
    from envkit.resources import template_names

    return [] if given else template_names()


def _explained(context: Context, given: list[str]) -> list[str]:
    from envkit.views.lessons import lessons

    return [] if given else [*services(context), *_addresses(context), *(code for code in lessons() if code[-1] != "*")]


def _generations(context: Context, given: list[str]) -> list[str]:
    from envkit.reconcile.journal import read_journal

    environment = _environment(context)
    if given or environment is None:
        return []
    return _quietly(lambda: (str(row["generation"]) for row in read_journal(context.home, environment.name)))


KNOWN: dict[str, Names] = {
    "init": _templates,
    "explain": _explained,
    "rollback": _generations,
    "scale": lambda context, _: [f"{name}=" for name in services(context)],
    "cp": lambda context, _: [f"{name}:" for name in services(context)],
    "image inspect": lambda context, _: _images(context),
    "image layers": lambda context, _: _images(context),
    "image push": lambda context, _: _images(context),
    "image rm": lambda context, _: _images(context),
    "image save": lambda context, _: _images(context),
    "volume ls": lambda *_: [],
    "volume rm": lambda context, _: sorted({*_volumes(context), *_snapshots(context)}),
    "volume snapshot": lambda context, given: [] if given else _volumes(context),
    "volume snapshots": lambda context, _: sorted({*_volumes(context), *_snapshot_volumes(context)}),
    "volume restore": _restore,
    "volume export": lambda context, given: [] if given else sorted({*_volumes(context), *_snapshots(context)}),
    "volume import": lambda context, given: [] if given else _volumes(context),
    "--target": lambda context, _: _targets(context),
    "--targets": lambda context, _: _targets(context),
    "--profile": lambda context, _: _profiles(context),
    "--context": lambda context, _: _contexts(context),
    "--only": lambda context, _: [*services(context), *_addresses(context)],
}
"""A command, a sub-command or a flag -> what may stand there."""
