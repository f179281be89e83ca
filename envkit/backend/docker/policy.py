"""`pull_policy` on an engine: what registries have in place of what the engine has, asked by the engine itself.

`GET /distribution/NAME/json` (Engine API, Distribution) answers with the digest of a tag; Podman has no such call, and
is asked for by skopeo where that is installed. When an image was asked about last is in the ledger.
"""

from __future__ import annotations

import threading
import time

from envkit.backend.docker.look import quoted
from envkit.errors import EnvkitError
from envkit.plan.drift import KNOWN_AFTER_PULL

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from envkit.backend.engine_api import Engine
    from envkit.backend.ledger import Ledger
    from envkit.host.home import Home
    from envkit.spec.environment import Environment

KEPT = frozenset({"", "missing", "if_not_present", "never", "build"})
_asked: dict[tuple[str, str], str] = {}  # (engine, reference) -> what its registry had when this process asked
_guard = threading.Lock()


def offered(
    engine: Engine, environment: Environment, ledger: Ledger, found: Mapping[str, Mapping[str, object] | None],
    pinned: Mapping[str, str],
) -> dict[str, str]:  # fmt: skip
    """Of the references whose policy wants a registry to be asked now, those that mean something else there than in the
    engine: reference -> digest, or KNOWN_AFTER_PULL where it cannot be asked. found: reference -> inspection."""
    due = {}
    for address, resource in environment.resources.items():
        reference, policy = str(resource.spec.get("reference") or ""), str(resource.spec.get("pull_policy") or "")
        if address.kind != "image" or not reference or policy in KEPT or reference in pinned:
            continue
        here = found.get(reference)
        if here is not None and _is_due(policy, ledger.pulled(reference)):
            due[reference] = here
    if not due:
        return {}
    threads = [threading.Thread(target=_ask, args=(engine, reference), daemon=True) for reference in due]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    now = {reference: _asked[engine.address.url, reference] for reference in due}
    return {
        reference: digest for reference, digest in now.items()
        if not any(name.endswith(f"@{digest}") for name in _digests(due[reference]))
    }  # fmt: skip


def _digests(inspection: Mapping[str, object]) -> list[str]:
    found = inspection.get("RepoDigests")
    return [str(name) for name in found] if isinstance(found, list) else []


def _is_due(policy: str, pulled: float) -> bool:
    from envkit.image.policy import is_due

    return is_due(policy, pulled)


def _ask(engine: Engine, reference: str) -> None:
    from envkit.backend.credentials import auth_of

    key = (engine.address.url, reference)
    with _guard:
        if _asked.get(key, KNOWN_AFTER_PULL) != KNOWN_AFTER_PULL:
            return
    try:
        if engine.is_podman:
            from envkit.image.pull import look

            digest = look(reference).digest
        else:
            answer = engine.get(f"/distribution/{quoted(reference)}/json", headers=auth_of(reference))
            digest = str(answer["Descriptor"]["digest"])
    except (EnvkitError, OSError, LookupError, TypeError):
        digest = KNOWN_AFTER_PULL  # the pull that is planned then says why
    with _guard:
        _asked[key] = digest


def forget(engine: Engine, reference: str) -> None:
    """It has just been pulled: what was said before is history."""
    with _guard:
        _asked.pop((engine.address.url, reference), None)


def remember(engine: Engine, home: Home, environment: str) -> None:
    """Keep when registries were asked about what this process found unchanged."""
    with _guard:
        known = [
            reference for (url, reference), digest in _asked.items()
            if url == engine.address.url and digest != KNOWN_AFTER_PULL
        ]  # fmt: skip
    if known:
        from envkit.backend.ledger import Ledger

        ledger = Ledger(home, engine.address, environment)
        for reference in known:
            ledger.note_pulled(reference, time.time())
        ledger.save()
