"""Files with a given content. Independent of the layers below but for owners and the directories it writes into."""

from __future__ import annotations

import os
from typing import Any

from envkit.image.placing import LayerError, Placer, parent_of, survey
from envkit.image.step import Step
from envkit.image.users import find


def sees(step: Step) -> Any:
    files: dict[str, Any] = step.args["files"]
    owners = {path: find(step.root, item["owner"])[:2] for path, item in files.items() if item.get("owner")}
    return {"owners": owners, "below": survey(step.root, map(parent_of, files))}


def make(step: Step) -> Any:
    with Placer(step.root) as placer:
        for path, item in sorted(step.args["files"].items()):
            owner = find(step.root, item["owner"]) if item.get("owner") else (0, 0)
            placer.put(path, _content(item), item.get("mode", 0o644), owner[0], owner[1])


def _content(item: dict[str, Any]) -> bytes:
    if "file" not in item:
        return str(item.get("content", "")).encode()
    try:
        with open(item["file"], "rb") as file:
            return file.read()
    except OSError as error:
        detail = f"{os.path.basename(item['file'])}: {error.strerror}"
        raise LayerError("a file of the project cannot be read", detail) from error
