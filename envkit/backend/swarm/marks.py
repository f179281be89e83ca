"""What envkit writes onto objects of the cluster to know them again. Pure."""

from __future__ import annotations

import json

from envkit.backend import ownership
from envkit.backend.swarm.encode import STACK

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from envkit.spec.environment import Environment, Resource

APPLIED = "envkit.applied"
"""The facts of what was sent: what the last apply left."""
IMAGE = "envkit.image"
"""The digest of the image in envkit's store."""
DEPENDS = "envkit.depends_on"
CONTENT = "envkit.content"
"""The keyed digest of a secret's or config's content."""
ONEOFF = "envkit.oneoff"
"""The service whose one-off it is."""
STOPPED = "envkit.stopped"
"""How many replicas there were before `envkit stop`."""


def of_service(
    environment: Environment, resource: Resource, applied: Mapping[str, Any], image_digest: str, image: str
) -> dict[str, str]:
    """All labels of a service: the user's `deploy.labels`, then those that say whose it is."""
    needs = sorted(item.address.name for item in resource.depends_on if item.address.kind == "service")
    return {
        **(resource.spec.get("deploy_labels") or {}), **_own(environment, resource), APPLIED: _text(applied),
        IMAGE: image_digest, DEPENDS: ",".join(needs), "com.docker.stack.image": image,
    }  # fmt: skip


def of_object(environment: Environment, resource: Resource) -> dict[str, str]:
    """Those of a network or volume."""
    return _own(environment, resource)


def _own(environment: Environment, resource: Resource) -> dict[str, str]:
    own = ownership.labels(environment, resource.address, resource)
    kept = (ownership.ENVIRONMENT, ownership.ADDRESS, ownership.FINGERPRINT, ownership.SPEC)
    return {**{name: own[name] for name in kept}, STACK: environment.name}


def _text(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False, sort_keys=True)


def applied(labels: Mapping[str, str]) -> dict[str, Any]:
    """The inverse of the label APPLIED; {} where it was tampered with."""
    try:
        found = json.loads(labels.get(APPLIED, ""))
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def is_oneoff(row: Mapping[str, Any]) -> bool:
    """Whether a service of the cluster is a one-off of `envkit run`."""
    return ONEOFF in (row["Spec"].get("Labels") or {})
