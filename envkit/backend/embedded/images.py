"""The images of an environment: what the store has of them, and how what is missing comes from a registry."""

from __future__ import annotations

from envkit.address import Address
from envkit.backend.embedded import resources
from envkit.errors import ApplyError, EnvkitError
from envkit.host.process import find
from envkit.image.store import Store
from envkit.observed.state import ObservedResource
from envkit.values import value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from envkit.events import Emit
    from envkit.host.home import Home
    from envkit.spec.environment import Environment, Resource


@value
class Images:
    """digests: name -> what the store has; resources: those known here; offered: see ObservedState."""

    digests: Mapping[str, str]
    resources: Mapping[Address, ObservedResource]
    offered: Mapping[str, str]


_has_asked = False


def observe(home: Home, environment: Environment) -> Images:
    """The images as they are. Registries are asked only about those whose pull policy wants it now."""
    store = Store(home)
    digests: dict[str, str] = {}
    found: dict[Address, ObservedResource] = {}
    for address, kept in resources.load_all(home, environment.name).items():
        # A reference means what the store says now; what is made here is what was made last.
        name = str(kept["spec"].get("reference") or kept.get("digest") or "")
        digest = (store.resolve(name) or "") if address.kind == "image" and name else ""
        missing = address.kind == "image" and not digest
        if address.kind == "image" and not missing:
            digests[address.name] = digest
        found[address] = ObservedResource(
            address, kept["spec"], kept["fingerprint"], image_digest=digest, missing=missing
        )
    references: dict[str, str] = {}
    for address, resource in environment.resources.items():
        if address.kind == "image" and (reference := resource.spec.get("reference")):
            references[reference] = resource.spec.get("pull_policy", "")
            if address not in found and (here := _digest(store, resource)):
                digests[address.name] = here
                found[address] = ObservedResource(address, resource.spec, resource.fingerprint, image_digest=here)
    wanted = {str(item.spec.get("image") or "") for item in environment.services.values()}
    for name in wanted - digests.keys():
        if name and environment.get("image", name) is None and (known := store.resolve(name)):
            digests[name] = known
    return Images(digests, found, _offered(store, environment, references))


def _digest(store: Store, resource: Resource) -> str:
    """The image of the store that a reference means, if it is one for its platform."""
    reference, platform = resource.spec["reference"], resource.spec.get("platform", "")
    if not platform:
        return store.resolve(reference) or ""
    from envkit.image.fetch import at_hand

    return at_hand(store, reference, platform)


def _offered(store: Store, environment: Environment, references: Mapping[str, str]) -> Mapping[str, str]:
    import os

    asking = any(policy not in ("", "missing", "never") for policy in references.values())
    if not asking and not os.path.exists(os.path.join(environment.directory, "envkit.lock")):
        return {}
    from envkit.image.fetch import offered, pins

    global _has_asked  # noqa: PLW0603  (of this process)
    _has_asked = _has_asked or asking
    return offered(store, references, pins(environment.directory))


def problems(home: Home, environment: Environment) -> Iterator[tuple[Resource, str, str, str]]:
    """(image, code, what, hint) of images that are not here and cannot come, as it is known without a network."""
    store = Store(home)
    for address, resource in environment.resources.items():
        if address.kind != "image" or "reference" not in resource.spec or _digest(store, resource):
            continue
        if resource.spec.get("pull_policy") == "never":
            hint = "`envkit image load FILE` brings it from an archive; another `pull_policy` from its registry"
            yield resource, "missing-image", f"{address.name} is not here, and its pull_policy is 'never'", hint
        elif not find("skopeo"):
            hint = "apt-get install skopeo, or `envkit image load FILE`"
            yield resource, "missing-tool", f"{address.name} is not here, and pulling it needs the program skopeo", hint


def remember(home: Home) -> None:
    """Keep when registries were asked, where this process has asked any."""
    if _has_asked:
        from envkit.image.fetch import remember

        remember(Store(home))


def fetch(store: Store, environment: Environment, resource: Resource, emit: Emit) -> str:
    """The digest of a referenced image, pulled where it is missing or its policy wants it. Raises ApplyError that names
    the services that use it and where they say so."""
    from envkit.image.fetch import ensure, pins

    spec, reference = resource.spec, str(resource.spec.get("reference") or resource.spec["name"])
    try:
        return ensure(
            store, reference, emit=emit, address=str(resource.address), policy=str(spec.get("pull_policy") or ""),
            platform=str(spec.get("platform") or ""), pinned=pins(environment.directory).get(reference, ""),
        )  # fmt: skip
    except EnvkitError as error:
        detail = f"{error.detail}{wanted_by(environment, resource)}"
        raise ApplyError(error.summary, detail, error.hint, address=str(resource.address)) from error


def wanted_by(environment: Environment, resource: Resource) -> str:
    """"; wanted by service web at compose.yaml:4:12", "" when nobody is known to want it."""
    name = resource.spec["name"]
    users = [item for item in environment.services.values() if item.spec.get("image") == name]
    texts = []
    for user in users[:3]:
        place = user.origin("image")
        texts.append(f"service {user.address.name}{f' at {place}' if place else ''}")
    if len(users) > len(texts):
        texts.append(f"{len(users) - len(texts)} more")
    if not texts and (place := resource.origin("reference")):
        texts.append(place)
    return f"; wanted by {', '.join(texts)}" if texts else ""
