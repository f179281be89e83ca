"""Who wants what failed, and what it said last: texts for errors."""

from __future__ import annotations

from envkit.errors import ApplyError, EnvkitError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from envkit.backend.engine_api import Engine
    from envkit.plan.model import Change
    from envkit.spec.environment import Environment, Resource


def wanted_by(environment: Environment, resource: Resource) -> str:
    """"; wanted by service web at compose.yaml:4:12", "" when nobody is known to want it."""
    name = resource.address.name
    users = [item for item in environment.services.values() if item.spec.get("image") == name]
    texts = [f"service {user.address.name}{_at(user.origin('image'))}" for user in users[:3]]
    if len(users) > len(texts):
        texts.append(f"{len(users) - len(texts)} more")
    return f"; wanted by {', '.join(texts)}" if texts else ""


def _at(place: str) -> str:
    return f" at {place}" if place else ""


def named(change: Change, error: Exception) -> ApplyError:
    """The error as the change's own."""
    if isinstance(error, ApplyError):
        return error
    if isinstance(error, EnvkitError):
        return ApplyError(error.summary, error.detail, error.hint, address=str(change.address))
    return ApplyError("A change could not be carried out", str(error), address=str(change.address))


def last_lines(engine: Engine, identity: str, count: int = 20) -> list[str]:
    """The last lines that a container printed; none where its log cannot be read."""
    data: dict[int, bytes] = {}
    try:
        for stream, part in engine.frames(
            f"/containers/{identity}/logs", timeout=10.0, stdout=True, stderr=True, tail=count
        ):  # fmt: skip
            data[stream] = data.get(stream, b"") + part
    except EnvkitError:
        return []
    return [line for text in data.values() for line in text.decode(errors="replace").splitlines()][-count:]
