"""A reference as an image of the store: found there, or pulled where its pull policy and the lock want it."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Mapping

from envkit.errors import NotFoundError
from envkit.events import Emit, Event, EventKind, ignore
from envkit.image.manifest import ORIGIN, PULLED
from envkit.image.policy import is_due
from envkit.image.registry_errors import RegistryError
from envkit.image.store import Store

UNKNOWN = "(known after pull)"
_asked: dict[str, str] = {}  # reference -> what its registry had when this process asked
_guard = threading.Lock()


def ensure(
    store: Store, reference: str, *, emit: Emit = ignore, address: str = "", policy: str = "", platform: str = "",
    pinned: str = "", environ: Mapping[str, str] | None = None,
) -> str:  # fmt: skip
    """The digest of the image that reference means, which is in the store and unpacked afterwards.

    policy: see image.policy; pinned: the digest in envkit.lock, which no policy overrides. A registry that cannot be
    asked is an error where the image is not here or the policy is `always`, else a warning. Raises NotFoundError when
    the policy forbids to ask, RegistryError, ImageError.
    """
    here = at_hand(store, reference, platform, pinned)
    entry = store.entry(reference)
    if here and (pinned or not is_due(policy, entry.pulled if entry else 0.0)):
        if store.resolve(reference) != here:
            store.tag(reference, here, facts={ORIGIN: pinned} if pinned else None)
        return here
    if policy in ("never", "build"):
        hint = "`envkit image load FILE` brings it from an archive; another `pull_policy` from its registry"
        raise NotFoundError(f"an image is not here, and its pull_policy is {policy!r}", reference, hint)
    from envkit.image.pull import pull

    try:
        digest = pull(
            store, reference, emit=emit, address=address, platform=platform, pinned=pinned, environ=environ
        )  # fmt: skip
    except RegistryError as error:
        if not here or policy == "always":
            raise
        text = f"{error.summary}: {error.detail}; the image that is here is used"
        emit(Event(EventKind.WARNING, address, "pull", text))
        return here
    with _guard:
        _asked.pop(reference, None)
    return digest


def at_hand(store: Store, reference: str, platform: str, pinned: str = "") -> str:
    """The image of the store that will do without asking anybody; "" for none."""
    digest = store.resolve(pinned or reference) or ""
    if digest and platform:
        from envkit.image.layers import architecture
        from envkit.image.platform import Platform, fits, parse_platform

        config = store.image(digest).config
        found = Platform("linux", str(config.get("architecture") or ""), str(config.get("variant") or ""))
        if not fits(found, parse_platform(platform, architecture())):
            return ""
    return digest


def offered(store: Store, references: Mapping[str, str], pins: Mapping[str, str]) -> dict[str, str]:
    """Of references (name -> pull policy) those that mean something else than the store has: name -> the digest that
    the registry has, or that pins demands. Only registries that a policy wants to be asked now are; nothing is written,
    and each is asked once per process. UNKNOWN for one that cannot be asked."""
    found = {}
    due = []
    for reference, policy in references.items():
        digest = store.resolve(reference)
        if digest is None:
            continue  # to be pulled anyway
        entry = store.entry(reference)
        if pin := pins.get(reference):
            if store.resolve(pin) != digest:
                found[reference] = pin
        elif is_due(policy, entry.pulled if entry else 0.0):
            due.append((reference, digest, entry.origin if entry else ""))
    threads = [threading.Thread(target=_ask, args=(reference,), daemon=True) for reference, _, _ in due]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for reference, digest, origin in due:
        if _asked[reference] not in (digest, origin):
            found[reference] = _asked[reference]
    return found


def _ask(reference: str) -> None:
    from envkit.errors import EnvkitError
    from envkit.image.pull import look

    with _guard:
        if _asked.get(reference, UNKNOWN) != UNKNOWN:
            return
    try:
        digest = look(reference).digest
    except (EnvkitError, OSError):
        digest = UNKNOWN  # the pull that is planned then says why
    with _guard:
        _asked[reference] = digest


def remember(store: Store) -> None:
    """Keep the time at which this process found an image unchanged at its registry."""
    with _guard:
        asked = dict(_asked)
        _asked.clear()
    for reference, digest in asked.items():
        entry = store.entry(reference)
        if entry and digest in (entry.origin, entry.digest):
            facts = {PULLED: f"{time.time():.0f}", ORIGIN: digest}
            store.tag(reference, entry.digest, entry.sources, facts)


def pins(directory: str) -> dict[str, str]:
    """reference -> digest of the project's lock; {} without one. Raises EnvkitError for a damaged one."""
    from envkit.image.lockfile import NAME

    if not os.path.exists(os.path.join(directory, NAME)):
        return {}
    from envkit.image.lockfile import of_project

    return of_project(directory).section("references")
