"""Secrets and configs of the cluster: immutable, so each content is an object of its own, named by its keyed digest."""

from __future__ import annotations

from base64 import b64encode

from envkit.backend.engine_api import EngineConflictError, EngineError
from envkit.backend.ownership import ADDRESS, ENVIRONMENT
from envkit.backend.swarm.encode import STACK
from envkit.backend.swarm.marks import CONTENT
from envkit.digest import fingerprint
from envkit.errors import NotFoundError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from envkit.backend.base import Materials
    from envkit.backend.swarm.cluster import Cluster
    from envkit.spec.environment import Environment

KINDS = ("secret", "config")
_DIGITS = 12


def object_name(environment: str, kind: str, key: str, spec: Mapping[str, Any], digest: str) -> str:
    """NAME-DIGEST, at most 64 characters (what the API takes)."""
    base = str(spec.get("name") or f"{environment}_{key}")
    mark = digest.rpartition(":")[2][:_DIGITS]
    return f"{base[: 63 - len(mark)]}-{mark}"


def ensure(
    cluster: Cluster, environment: Environment, kind: str, spec: Mapping[str, Any], materials: Materials
) -> dict[str, tuple[str, str]]:
    """key -> (id, name) of every secret or config that a ServiceSpec uses; those that are missing are made.

    Raises NotFoundError for a source that is gone, and for an external one that does not exist.
    """
    found: dict[str, tuple[str, str]] = {}
    for row in spec.get(f"{kind}s") or ():
        key = str(row["source"])
        if key in found:
            continue
        resource = environment.get(kind, key)
        own: Mapping[str, Any] = resource.spec if resource is not None else {}
        if own.get("external"):
            found[key] = _external(cluster, kind, str(own["name"]))
            continue
        content = materials.secret(key) if kind == "secret" else materials.config(key)
        digest = str((spec.get(f"{kind}_digests") or {}).get(key) or own.get("digest") or fingerprint(content.hex()))
        name = object_name(environment.name, kind, key, own, digest)
        found[key] = (_make(cluster, environment.name, kind, key, name, content, digest), name)
    return found


def _external(cluster: Cluster, kind: str, name: str) -> tuple[str, str]:
    identity = _find(cluster, kind, name)
    if identity is None:
        raise NotFoundError(
            f"An external {kind} does not exist in the Swarm", name, f"make it with `docker {kind} create`"
        )
    return identity, name


def _find(cluster: Cluster, kind: str, name: str) -> str | None:
    rows = cluster.get(f"/{kind}s", filters={"name": [name]}) or ()
    return next((str(row["ID"]) for row in rows if row["Spec"]["Name"] == name), None)


def _make(
    cluster: Cluster, environment: str, kind: str, key: str, name: str, content: bytes, digest: str
) -> str:
    labels = {ENVIRONMENT: environment, ADDRESS: f"{kind}.{key}", STACK: environment, CONTENT: digest}
    try:
        made = cluster.post(f"/{kind}s/create", {"Name": name, "Data": b64encode(content).decode(), "Labels": labels})
        return str(made["ID"])
    except EngineConflictError:
        identity = _find(cluster, kind, name)
        if identity is None:
            raise
        return identity


def prune(cluster: Cluster, environment: str) -> None:
    """Remove the environment's secrets and configs that no service uses, nor would use after a rollback."""
    kept = {kind: cluster.materials(kind, environment) for kind in KINDS}
    if not any(kept.values()):
        return
    used: set[str] = set()
    for row in cluster.services(environment):
        status = str((row.get("UpdateStatus") or {}).get("State") or "completed")
        specs = [row["Spec"]]
        if status not in ("completed", "rollback_completed"):
            specs.append(row.get("PreviousSpec") or {})
        for spec in specs:
            container = (spec.get("TaskTemplate") or {}).get("ContainerSpec") or {}
            used |= {str(item["SecretID"]) for item in container.get("Secrets") or ()}
            used |= {str(item["ConfigID"]) for item in container.get("Configs") or ()}
    for kind, rows in kept.items():
        for row in rows:
            if row["ID"] not in used:
                try:
                    cluster.delete(f"/{kind}s/{row['ID']}")
                except EngineError as error:
                    if "in use" not in error.message:  # by a service that somebody has just made
                        raise
