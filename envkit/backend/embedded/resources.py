"""What was last applied of images, secrets and configs, which have no live object that could carry it: one small file
each below HOME/environments/ENV/resources/. Also the environment's own facts (`environment.json`). Never a content.
"""

from __future__ import annotations

import os

from envkit.address import Address
from envkit.host.files import make_directory, read_json, write_json
from envkit.lean import suppress

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from envkit.host.home import Home


def directory(home: Home, environment: str) -> str:
    return os.path.join(home.environment(environment), "resources")


def _path(home: Home, environment: str, address: Address) -> str:
    name = str(address).replace("%", "%25").replace("/", "%2F")
    return os.path.join(directory(home, environment), name + ".json")


def save(
    home: Home, environment: str, address: Address, spec: Mapping[str, Any], fingerprint: str, **facts: Any
) -> None:
    """Remember a resource as applied. facts: whatever belongs to its kind (an image's digest)."""
    make_directory(directory(home, environment), 0o700)
    value = {"address": str(address), "spec": dict(spec), "fingerprint": fingerprint, **facts}
    write_json(_path(home, environment, address), value, 0o600, durable=False)


def load(home: Home, environment: str, address: Address) -> dict[str, Any] | None:
    value = read_json(_path(home, environment, address))
    return value if isinstance(value, dict) else None


def load_all(home: Home, environment: str) -> dict[Address, dict[str, Any]]:
    """Every remembered resource of an environment."""
    base = directory(home, environment)
    try:
        names = os.listdir(base)
    except FileNotFoundError:
        return {}
    values = (read_json(os.path.join(base, name)) for name in sorted(names) if name.endswith(".json"))
    return {Address.parse(value["address"]): value for value in values if isinstance(value, dict)}


def remove(home: Home, environment: str, address: Address) -> None:
    """Forget a resource; absent is fine."""
    with suppress(FileNotFoundError):
        os.unlink(_path(home, environment, address))


def environment_facts(home: Home, environment: str) -> dict[str, Any]:
    """{"generation", "directory", "files", "hardened"} as the last session left them; {} when there was none."""
    value = read_json(os.path.join(home.environment(environment), "environment.json"))
    return value if isinstance(value, dict) else {}


def save_environment_facts(home: Home, environment: str, facts: Mapping[str, Any]) -> None:
    write_json(os.path.join(home.environment(environment), "environment.json"), dict(facts), 0o600, durable=False)
