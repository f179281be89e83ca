"""The data that is shipped with envkit: schemas and templates.

A wheel has them in `envkit/_data/`, a checkout beside the package. Standard library only, imports nothing of envkit.
"""

from __future__ import annotations

import os

_PACKAGE = os.path.dirname(os.path.abspath(__file__))


def data_directory(kind: str) -> str:
    """The directory of all `schemas` or `templates`. Raises FileNotFoundError when the installation is incomplete."""
    for parent in (os.path.join(_PACKAGE, "_data"), os.path.dirname(_PACKAGE)):
        path = os.path.join(parent, kind)
        if os.path.isdir(path):
            return path
    raise FileNotFoundError(f"envkit is not installed completely: it has no {kind}")


def schema_path(name: str) -> str:
    """The file of a JSON schema: `environment` or `compose`."""
    return os.path.join(data_directory("schemas"), f"{name}.schema.json")


def schema_text(name: str) -> str:
    """A JSON schema as text. Raises FileNotFoundError when there is none of this name."""
    with open(schema_path(name), encoding="utf-8") as file:
        return file.read()


def template_names() -> list[str]:
    """What `envkit init` offers, sorted."""
    with os.scandir(data_directory("templates")) as entries:
        return sorted(entry.name for entry in entries if entry.is_dir())


def template_summary(name: str) -> str:
    """The one line that says what a template is: the content of its template.txt."""
    with open(os.path.join(template_dir(name), "template.txt"), encoding="utf-8") as file:
        return file.read().strip()


def template_dir(name: str) -> str:
    """The directory of a template. Raises FileNotFoundError when there is none of this name."""
    path = os.path.join(data_directory("templates"), name)
    if not os.path.isdir(path):
        raise FileNotFoundError(f"there is no template {name!r}")
    return path
