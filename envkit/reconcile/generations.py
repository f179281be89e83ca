"""The environment as each successful apply left it: `environments/ENV/generations/N.json`, for diff and rollback.

A file holds the compiled environment (secrets are keyed digests in it) and the digest of every image then in use.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping

from envkit.address import Address
from envkit.errors import NotFoundError
from envkit.host.files import make_directory, read_json, write_json
from envkit.host.home import Home
from envkit.spec.environment import Dependency, Environment, Resource

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

KEPT = 20
WITH_IMAGES = 2
"""The images of so many latest generations outlive a `gc`, so that the last step can be taken back."""


def directory_of(home: Home, environment: str) -> str:
    return os.path.join(home.environment(environment), "generations")


def write_generation(home: Home, number: int, environment: Environment, images: Mapping[str, str]) -> None:
    """Keep generation number; the oldest beyond the last 20 are dropped."""
    directory = directory_of(home, environment.name)
    make_directory(home.environment(environment.name), 0o755)
    make_directory(directory, 0o700)
    value = {"format": 1, "generation": number, "environment": encode(environment), "images": dict(images)}
    write_json(os.path.join(directory, f"{number}.json"), value, 0o600, durable=False)
    for old in list_generations(home, environment.name)[:-KEPT]:
        os.unlink(os.path.join(directory, f"{old}.json"))


def list_generations(home: Home, environment: str) -> list[int]:
    """The numbers that are kept, in order."""
    try:
        names = os.listdir(directory_of(home, environment))
    except (FileNotFoundError, NotADirectoryError):
        return []
    return sorted(int(name.removesuffix(".json")) for name in names if name.removesuffix(".json").isdigit())


def read_generation(home: Home, environment: str, number: int) -> tuple[Environment, dict[str, str]]:
    """(the environment, image name -> digest). Raises NotFoundError naming what is kept."""
    value = read_json(os.path.join(directory_of(home, environment), f"{number}.json"))
    if not value:
        kept = ", ".join(map(str, list_generations(home, environment))) or "none"
        raise NotFoundError("There is no such generation", f"{number} of {environment}", f"kept are: {kept}")
    return decode(value["environment"]), dict(value["images"])


def images_to_go_back(home: Home, environments: Iterable[str]) -> set[str]:
    """Digests of the images that the environments' latest generations ran with."""
    return {
        digest
        for name in environments
        for number in list_generations(home, name)[-WITH_IMAGES:]
        for digest in read_generation(home, name, number)[1].values()
    }


def encode(environment: Environment) -> dict[str, Any]:
    """An environment as plain JSON data, without its warnings."""
    return {
        "name": environment.name, "directory": environment.directory, "files": list(environment.files),
        "hardened": environment.hardened, "profiles": list(environment.profiles),
        "disabled": list(environment.disabled), "drift_ignore": [dict(rule) for rule in environment.drift_ignore],
        "targets": {name: dict(target) for name, target in environment.targets.items()},
        "target": environment.target,
        "resources": [
            {"address": str(item.address), "spec": dict(item.spec), "fingerprint": item.fingerprint,
             "origins": dict(item.origins), "depends_on": [_dependency(each) for each in item.depends_on]}
            for item in environment.resources.values()
        ],
    }  # fmt: skip


def decode(value: Mapping[str, Any]) -> Environment:
    """The inverse of encode()."""
    resources = [
        Resource(
            Address.parse(item["address"]), item["spec"], item["fingerprint"],
            tuple(
                Dependency(Address.parse(each["address"]), each["condition"], each["required"], each["restart"])
                for each in item["depends_on"]
            ),
            item["origins"],
        )
        for item in value["resources"]
    ]  # fmt: skip
    return Environment(
        value["name"], value["directory"], tuple(value["files"]), value["hardened"],
        {item.address: item for item in resources}, (), tuple(value["profiles"]), tuple(value["disabled"]),
        tuple(value["drift_ignore"]), value["targets"], value.get("target", ""),
    )  # fmt: skip


def _dependency(item: Dependency) -> dict[str, Any]:
    return {
        "address": str(item.address), "condition": item.condition, "required": item.required, "restart": item.restart,
    }  # fmt: skip
