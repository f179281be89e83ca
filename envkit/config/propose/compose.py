"""A compose project -> a Proposal of an envkit.yaml."""

from __future__ import annotations

import os
import re

from envkit.config.load import load_model
from envkit.config.lookup import FAMILIES
from envkit.config.propose import document as documents
from envkit.config.propose.check import compiled, finished, with_options
from envkit.config.propose.proposal import Draft
from envkit.config.propose.recipe import Recipe, Unmapped
from envkit.config.propose.services import conditions, harden
from envkit.errors import InputError, NotFoundError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from envkit.config.model import Model
    from envkit.config.options import LoadOptions
    from envkit.config.propose.proposal import Proposal
    from envkit.host.home import Home
    from envkit.spec.dockerfile.stages import Program

_MAPPED = {"context", "dockerfile", "target", "args", "tags", "cache_from", "cache_to", "labels", "pull", "no_cache"}
_NO_EFFECT = ("cache_from", "cache_to", "pull", "no_cache", "tags", "labels")
_NO_KEY = re.compile(r"[^a-z0-9]+")


def compose_files(directory: str) -> list[str]:
    """The compose file of a directory with its override, [] for none."""
    names, overrides = FAMILIES[1]
    found = [name for name in names if os.path.isfile(os.path.join(directory, name))][:1]
    return found and [*found, *[name for name in overrides if os.path.isfile(os.path.join(directory, name))][:1]]


def propose(options: LoadOptions, home: Home, output: str) -> Proposal:
    """The envkit.yaml for the project of options.files, which are compose files. output: where it will be, absolute.
    Raises InputError with what is wrong with the files, or with what the proposal cannot say."""
    if not options.files:
        hint = "name it: envkit init --from-compose FILE"
        raise NotFoundError("There is no compose file here", options.directory, hint)
    model = load_model(with_options(options, all_resources=True))
    before = compiled(model, home)
    draft = Draft(_document(options, model))
    images = _Images(draft, model)
    images.replace()
    services = draft.document["services"]
    for name in list(services):
        if services[name] is None:
            continue
        services[name] = documents.whole(services[name])
        found = model.services.get(name) or model.disabled_services.get(name) or {}
        image = "" if "build" in services[name] else str(found.get("image") or "")
        image = images.bases.get(str(services[name].get("image")), image)
        harden(draft, name, services[name], image, model.directory, found.get("volumes") or ())
    conditions(draft, services)
    return finished(draft, options, home, output, before)


def _document(options: LoadOptions, model: Model) -> Any:
    """The project's document: its one file's own text, or what its files say together."""
    if len(model.files) == 1 and model.files[0] != "-":
        with open(model.files[0], encoding="utf-8") as file:
            found = documents.read(file.read())
        if found is not None:
            return found
    raw = load_model(with_options(
        options, all_resources=True, no_interpolate=True, no_normalize=True, no_path_resolution=True,
        no_env_resolution=True, no_consistency=True,
    ))  # fmt: skip
    raw.plain.drop("version")
    if not model.files or "name" not in _written(raw):
        raw.plain.drop("name")
    return documents.merged(raw)


def _written(model: Model) -> Mapping[str, Any]:
    return {key: item for key, item in model.plain.items() if key != "name" or "name" in model.plain.at}


class _Images:
    """`build:` of services as `images:`."""

    def __init__(self, draft: Draft, model: Model) -> None:
        self._draft, self._model = draft, model
        self.bases: dict[str, str] = {}  # key -> the reference that it starts from
        self._made: dict[str, str] = {}  # a build as text -> its key
        self._named: dict[str, str] = {}  # `image:` of a service that builds it -> the key

    def replace(self) -> None:
        services = self._draft.document["services"]
        everything = {**self._model.disabled_services, **self._model.services}
        for name in list(services):
            service = everything.get(name) or {}
            if services[name] is not None and service.get("build"):
                self._one(name, service)
        for name in list(services):
            image = (services[name] or {}).get("image")
            if image in self._named and "build" not in services[name]:
                services[name]["image"] = self._named[image]

    def _one(self, name: str, service: Mapping[str, Any]) -> None:
        draft, build = self._draft, service["build"]
        services = draft.document["services"]
        services[name] = written = documents.whole(services[name])
        subject = f"image.{name}"
        if reason := self._beyond(build, written):
            draft.note("kept", f"service.{name}", f"keeps `build:`: {reason}")
            return
        same = repr(sorted((key, item) for key, item in build.items() if key not in _NO_EFFECT))
        key = self._made.get(same)
        if key is None:
            key = self._made[same] = self._key(name)
            draft.section("images")[key] = documents.tree(self._image(subject, key, build))
        if written.get("image"):
            self._named[str(service["image"])] = key
        if "image" in written:
            del written["build"]
            written["image"] = key
        else:
            documents.rename(written, "build", "image", key)
        written.pop("pull_policy", None)
        written.pop("platform", None) if not service.get("platform") else None

    def _beyond(self, build: Mapping[str, Any], written: Any) -> str:
        """Why a build stays in its service, "" where it need not."""
        keys = sorted(key for key in build if key not in _MAPPED and build[key] not in (None, {}, [], False))
        if keys:
            return f"`images:` has no {', '.join(keys)}"
        context = str(build.get("context") or ".")
        if not os.path.isdir(context):
            return f"its context is {context}"
        if documents.interpolated(str(written.get("build"))):
            return "variables of its build are interpolated"
        return ""

    def _key(self, service: str) -> str:
        base = _NO_KEY.sub("-", service.lower()).strip("-") or "image"
        taken = self._draft.document.get("images") or {}
        return next(name for name in (base, *(f"{base}-{number}" for number in range(2, 1000))) if name not in taken)

    def _image(self, subject: str, key: str, build: Mapping[str, Any]) -> dict[str, Any]:
        from envkit.host.ignore import of_dockerfile
        from envkit.spec.dockerfile.platform import platform_arguments
        from envkit.spec.dockerfile.stages import read_program

        draft, directory = self._draft, self._model.directory
        context = os.path.normpath(str(build["context"]))
        path = os.path.normpath(os.path.join(context, str(build.get("dockerfile") or "Dockerfile")))
        arguments = {str(name): str(value) for name, value in (build.get("args") or {}).items() if value is not None}
        target = str(build.get("target") or "")
        try:
            with open(path, encoding="utf-8", errors="surrogateescape") as file:
                program: Program = read_program(file.read(), path, arguments, platform=platform_arguments())
            stage = program.target(target)
            while stage.base_stage is not None:
                stage = program.stages[stage.base_stage]
            self.bases[key] = stage.base
            recipe = Recipe(
                program, program.target(target), directory=directory, context=context,
                ignores=of_dockerfile(context, path), arguments=arguments,
            )  # fmt: skip
        except OSError as error:
            why = f"{os.path.relpath(path, directory)}: {error.strerror}"
        except InputError as error:
            why = error.diagnostics[0].summary if error.diagnostics else error.summary
        except Unmapped as problem:
            why = str(problem)
        else:
            count = len(recipe.value.get("layers") or ())
            draft.note("changed", subject, f"{os.path.relpath(path, directory)} became {count} layers")
            for text in recipe.notes:
                draft.note("check", subject, text)
            return recipe.value
        draft.note("kept", subject, f"stays a Dockerfile: {why}")
        base: dict[str, Any] = {"dockerfile": _dotted(path, directory)}
        if os.path.dirname(path) != context:
            base["context"] = _dotted(context, directory)
        if target:
            base["target"] = target
        if arguments:
            base["args"] = arguments
        return {"from": base}


def _dotted(path: str, directory: str) -> str:
    text = os.path.relpath(path, directory)
    return text if text.startswith(".") else f"./{text}"
