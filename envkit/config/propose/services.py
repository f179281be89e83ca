"""What a service of an envkit.yaml should say that a compose file does not: memory for what it writes, secrets in
files, health checks of known images, what others wait for."""

from __future__ import annotations

import os
import re

from envkit.config.propose.document import interpolated, remark, rename, tree
from envkit.config.propose.known import known, looks_secret, reads_file

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    from envkit.config.propose.proposal import Draft

SECRETS = "secrets"
_ONE_VARIABLE = re.compile(r"\$(?:\{([A-Za-z_]\w*)\}|([A-Za-z_]\w*))")
_SOCKETS = re.compile(r"/(?:docker|podman|containerd|crio)\.sock$")


def harden(
    draft: Draft, name: str, service: Any, image: str, directory: str, resolved: Sequence[Any] = ()
) -> None:
    """Fill in one service. image: what it runs or is made from, "" where that says nothing; directory: the project's;
    resolved: its volumes in their canonical form."""
    subject = f"service.{name}"
    found = known(image) if image else None
    if found and found.writes and "read_only" not in service:
        _put(service, "read_only", False)
        draft.note("check", subject, f"its root stays writable: {found.writes}")
    taken = {_target(item) for item in service.get("volumes") or ()} | {
        str(item).partition(":")[0] for item in _texts(service.get("tmpfs"))
    }
    for path in (found.memory if found and not found.writes else ()):
        if not any(path == other or path.startswith(f"{other}/") for other in taken):
            _list(service, "volumes").append(tree({"type": "tmpfs", "target": path}))
            draft.note("changed", subject, f"{path} is in memory: its image writes there")
    if "tmpfs" in service and service.get("read_only") is not False:
        for path in ("/tmp", "/run"):
            if path not in taken:
                service["tmpfs"] = tree([*_texts(service["tmpfs"]), path])
        draft.note("changed", subject, "its `tmpfs:` names /tmp and /run, too: with it envkit adds none")
    if found and found.health and "healthcheck" not in service:
        test = list(found.health)
        _put(service, "healthcheck", {"test": test, "interval": "5s", "retries": 12})
        draft.note("changed", subject, "has a health check, so that others can wait for it")
    _secrets(draft, name, service, image)
    _mounts(draft, name, service, directory, resolved)


def conditions(draft: Draft, services: Mapping[str, Any]) -> None:
    """Let services wait until those that they need are well, and leave those that run once at their end."""
    once = set()
    for name, service in services.items():
        needs = service.get("depends_on")
        if isinstance(needs, dict):
            once |= {other for other, item in needs.items()
                     if (item or {}).get("condition") == "service_completed_successfully"}  # fmt: skip
        if not isinstance(needs, list):
            continue
        healthy = [other for other in needs if _is_checked(services.get(other))]
        if healthy:
            condition = {True: "service_healthy", False: "service_started"}
            _put(service, "depends_on", {other: {"condition": condition[other in healthy]} for other in needs})
            draft.note("changed", f"service.{name}", f"waits until {', '.join(healthy)} is healthy")
    for name in once:
        if name in services and "restart" not in services[name] and "restart_policy" not in (
            services[name].get("deploy") or {}
        ):
            _put(services[name], "restart", "no")
            draft.note("changed", f"service.{name}", "runs once: `restart: \"no\"`")


def _is_checked(service: Any) -> bool:
    check = (service or {}).get("healthcheck") or {}
    return bool(check.get("test")) and not check.get("disable")


# -- secrets


def _secrets(draft: Draft, name: str, service: Any, image: str) -> None:
    environment = service.get("environment")
    if not environment:
        return
    pairs = _variables(environment)
    for variable, text in pairs.items():
        if not looks_secret(variable) or text in (None, "") or variable.upper().endswith("_FILE"):
            continue
        subject = f"service.{name}"
        if image and reads_file(image, variable):
            if f"{variable}_FILE" in pairs:
                continue
            secret = _declare(draft, variable, text, name)
            if secret:
                _replace(service, variable, f"{variable}_FILE", f"/run/secrets/{secret}")
                _list(service, "secrets").append(tree({"source": secret, "mode": "0444"}))
                draft.note("changed", subject, f"{variable} became the secret {secret}, by {variable}_FILE")
                continue
        what = "; its image is not known to read a file instead" if image else ""
        if isinstance(environment, dict):
            remark(service["environment"], variable,
                   f"A secret? `secrets:` gives it as /run/secrets/NAME{what}.")  # fmt: skip
        draft.note("check", subject, f"{variable} looks like a secret and stays a variable{what}")


def _declare(draft: Draft, variable: str, text: Any, service: str) -> str:
    """The key below `secrets:` for a variable's value; "" where it cannot be one."""
    text = str(text)
    section = draft.document.get("secrets") or {}
    whole = _ONE_VARIABLE.fullmatch(text)
    if whole:
        source: dict[str, str] = {"environment": whole[1] or whole[2]}
    elif interpolated(text):
        return ""
    else:
        content = text.replace("$$", "$").encode()
        path = next((path for path, known_ in draft.secrets.items() if known_ == content), "")
        source = {"file": f"./{path}"} if path else {}
    for key, item in section.items():
        if source and dict(item or {}) == source:
            return str(key)
    base = variable.lower()
    key = base if base not in section else f"{service.lower().replace('-', '_')}_{base}"
    if not source:
        draft.secrets[f"{SECRETS}/{key}"] = content
        source = {"file": f"./{SECRETS}/{key}"}
    draft.section("secrets")[key] = tree(source)
    return key


def _variables(environment: Any) -> dict[str, Any]:
    if isinstance(environment, dict):
        return {str(key): value for key, value in environment.items()}
    cut = (str(item).partition("=") for item in environment)
    return {name: value if equals else None for name, equals, value in cut}


def _replace(service: Any, variable: str, other: str, text: str) -> None:
    environment = service["environment"]
    if hasattr(environment, "items"):
        rename(environment, variable, other, text)
        return
    place = next(at for at, item in enumerate(environment) if str(item).partition("=")[0] == variable)
    environment[place] = f"{other}={text}"


# -- mounts


def _mounts(draft: Draft, name: str, service: Any, directory: str, resolved: Sequence[Any]) -> None:
    subject = f"service.{name}"
    for at, item in enumerate(service.get("volumes") or ()):
        source = _source(item)
        if interpolated(str(item)):
            found = resolved[at] if at < len(resolved) else {}
            if found.get("type") == "bind" and not os.path.lexists(found["source"]) and not _asks(item):
                relative = os.path.relpath(found["source"], directory)
                mount = _made(f"./{relative}", found["target"], read_only=bool(found.get("read_only")))
                service["volumes"][at] = tree(mount)
                draft.note("check", subject, f"{relative} is not there; it would be made. It was written {item}")
            continue
        if source is None:
            continue
        path = os.path.normpath(os.path.join(directory, os.path.expanduser(source)))  # noqa: PTH111
        if _SOCKETS.search(path):
            _allow(service, "runtime-socket")
            draft.note("check", subject, f"holds {path}, and so this machine (`allow: [runtime-socket]`)")
            continue
        if _refused(path, directory, item):
            _allow(service, "host-path")
            draft.note("check", subject, f"mounts {path} of this machine (`allow: [host-path]`)")
        if not os.path.lexists(path) and not _asks(item):
            service["volumes"][at] = tree(_made(source, _target(item), read_only=_mode(item) == "ro"))
            draft.note("check", subject, f"{source} is not there; it would be made, as Compose does")


def _made(source: str, target: str, *, read_only: bool) -> dict[str, Any]:
    """A bind mount whose source is made where it is not there."""
    mode = {"read_only": True} if read_only else {}
    return {"type": "bind", "source": source, "target": target, **mode, "bind": {"create_host_path": True}}


def _refused(path: str, directory: str, item: Any) -> bool:
    from envkit.config.hardened import HARMLESS, is_sensitive

    read_only = _mode(item) == "ro"
    return is_sensitive(path, directory) and not (read_only and path in HARMLESS)


def _allow(service: Any, what: str) -> None:
    if what not in (service.get("allow") or ()):
        _list(service, "allow").append(what)


def _source(item: Any) -> str | None:
    """The source of a bind mount."""
    if isinstance(item, dict):
        return str(item.get("source") or "") or None if item.get("type") == "bind" else None
    parts = _cut(str(item))
    return parts[0] if len(parts) > 1 and parts[0].startswith((".", "/", "~")) else None


def _target(item: Any) -> str:
    if isinstance(item, dict):
        return str(item.get("target") or "")
    parts = _cut(str(item))
    return (parts[1] if len(parts) > 1 else parts[0]).rstrip("/")


def _mode(item: Any) -> str:
    """ro or ""."""
    if isinstance(item, dict):
        return "ro" if item.get("read_only") in (True, "true") else ""
    parts = _cut(str(item))
    return "ro" if len(parts) > 2 and "ro" in parts[2].split(",") else ""


def _asks(item: Any) -> bool:
    return isinstance(item, dict) and (item.get("bind") or {}).get("create_host_path") is True


def _cut(text: str) -> list[str]:
    """`${A:-x}:/b:ro` in its parts."""
    return re.split(r":(?![^{]*\})", text)


def _texts(value: Any) -> list[str]:
    return [value] if isinstance(value, str) else [str(item) for item in value or ()]


def _put(mapping: Any, key: str, value: Any) -> None:
    """Set a key; a new one comes before the last, behind which stand comments about what follows."""
    if key in mapping:
        mapping[key] = tree(value)
    else:
        mapping.insert(max(len(mapping) - 1, min(len(mapping), 1)), key, tree(value))


def _list(mapping: Any, key: str) -> Any:
    if mapping.get(key) is None:
        _put(mapping, key, [])
        mapping[key].fa.set_block_style()
    return mapping[key]
