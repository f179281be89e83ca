"""Images between the store and registries, for several at once: `envkit pull`, `push` and `lock`."""

from __future__ import annotations

import time

from envkit.errors import EnvkitError, UsageError
from envkit.events import Event, EventKind
from envkit.values import replace, value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from envkit.events import Emit
    from envkit.spec.environment import Environment, Resource


@value
class Job:
    """One image to move. address: for events; reference: what it is called; ignorable: a failure is only a warning."""

    address: str
    reference: str
    policy: str = ""
    platform: str = ""
    pinned: str = ""
    wanted_by: str = ""
    ignorable: bool = False


@value
class Moved:
    """digests: reference -> digest of what went well; errors: reference -> why not; ignored: those that may fail."""

    digests: dict[str, str]
    errors: dict[str, EnvkitError]
    ignored: dict[str, EnvkitError]


def move(jobs: Sequence[Job], work: Callable[[Job], str], verb: str, emit: Emit, parallel: int) -> Moved:
    """work (which returns the digest) for every job, some at a time. verb: `pull` or `push`, for events."""
    from concurrent.futures import ThreadPoolExecutor, as_completed

    moved = Moved({}, {}, {})
    started = {}

    def one(job: Job) -> str:
        started[job] = time.monotonic()
        emit(Event(EventKind.STARTED, job.address, verb))
        return work(job)

    with ThreadPoolExecutor(max(1, parallel), verb) as pool:
        running = {pool.submit(one, job): job for job in jobs}
        try:
            for future in as_completed(running):
                job = running[future]
                error = future.exception()
                if error is None:
                    moved.digests[job.reference] = future.result()
                    seconds = {"seconds": round(time.monotonic() - started[job], 3)}
                    emit(Event(EventKind.DONE, job.address, verb, data=seconds))
                elif not isinstance(error, EnvkitError):
                    raise error
                elif job.ignorable:
                    moved.ignored[job.reference] = error
                    emit(Event(EventKind.WARNING, job.address, verb, str(error)))
                else:
                    moved.errors[job.reference] = error
                    emit(Event(EventKind.FAILED, job.address, verb, str(error)))
        except KeyboardInterrupt:
            from envkit.image.skopeo import give_up

            give_up()
            raise
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
    return moved


def to_pull(
    environment: Environment, names: Sequence[str], *, policy: str = "", dependencies: bool = False,
    ignore_buildable: bool = False, pins: Mapping[str, str] | None = None,
) -> list[Job]:  # fmt: skip
    """What `pull` brings: the references of these services (all when none is named; then bases of images as well).

    policy: in place of the services' own, which is `always` here unless it is never or build. An image that can be
    built is pulled as well (its failure is a warning) unless ignore_buildable. Raises UsageError for unknown services.
    """
    jobs = []
    for resource, users in _used(environment, names, dependencies):
        spec, own = resource.spec, str(resource.spec.get("pull_policy") or "")
        buildable = "reference" not in spec
        if own in ("never", "build") or (buildable and (ignore_buildable or not _has_own_name(spec, environment))):
            continue
        reference = str(spec.get("reference") or spec["name"])
        places = [f"service {user.address.name}{_at(user.origin('image'))}" for user in users]
        jobs.append(Job(
            str(resource.address), reference, policy or "always", str(spec.get("platform") or ""),
            (pins or {}).get(reference, ""), ", ".join(places) or resource.origin("reference"), buildable,
        ))  # fmt: skip
    return jobs


def to_push(environment: Environment, names: Sequence[str], *, dependencies: bool = False) -> list[Job]:
    """What `push` sends: the images that these services build and that have a name of their own, as Compose does."""
    return [
        Job(str(resource.address), str(resource.spec["name"]),
            wanted_by=", ".join(f"service {user.address.name}{_at(user.origin('image'))}" for user in users))
        for resource, users in _used(environment, names, dependencies)
        if "build" in resource.spec and _has_own_name(resource.spec, environment)
    ]  # fmt: skip


def _has_own_name(spec: Mapping[str, object], environment: Environment) -> bool:
    """Whether an image that is built here has a name that somebody wrote."""
    names = {f"{environment.name}-{name}" for name in environment.services}
    return "build" in spec and spec["name"] not in names


def _used(
    environment: Environment, names: Sequence[str], dependencies: bool
) -> Iterator[tuple[Resource, Sequence[Resource]]]:
    """(an image, the services among those asked for that run it)."""
    services = environment.services
    for name in names:
        if name not in services:
            raise UsageError(f"there is no service {name!r}", hint=f"there is {', '.join(services)}")
    chosen = set(names or services)
    todo = list(chosen) if dependencies else []
    while todo:
        for item in services[todo.pop()].depends_on:
            if item.address.kind == "service" and item.address.name in services and item.address.name not in chosen:
                chosen.add(item.address.name)
                todo.append(item.address.name)
    for address, resource in environment.resources.items():
        if address.kind != "image":
            continue
        image = resource.spec["name"]
        users = [item for name, item in services.items() if name in chosen and item.spec["image"] == image]
        if users or not names:
            yield resource, users


def _at(place: str) -> str:
    return f" at {place}" if place else ""


def with_policy(environment: Environment, policy: str) -> Environment:
    """The environment with this pull policy for every referenced image, in place of those in the files."""
    if not policy:
        return environment
    resources = dict(environment.resources)
    for address, resource in environment.resources.items():
        if address.kind == "image" and "reference" in resource.spec:
            resources[address] = replace(resource, spec={**resource.spec, "pull_policy": policy})
    return replace(environment, resources=resources)


def without_images(environment: Environment) -> Environment:
    """The environment for commands that need no image: no registry is asked about any."""
    kept = {address: item for address, item in environment.resources.items() if address.kind != "image"}
    return replace(environment, resources=kept)


def references(environment: Environment) -> dict[str, Resource]:
    """Every reference of a registry that the environment uses."""
    return {
        str(item.spec["reference"]): item
        for address, item in environment.resources.items()
        if address.kind == "image" and item.spec.get("reference")
    }

