"""The `process` of config.json: what runs, as whom, with which environment and limits. Pure.

Sources: OCI runtime-spec config.md#process; OCI image-spec config.md for the image's defaults; Compose Specification
05-services.md (command, entrypoint, environment, user, working_dir, ulimits, init).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from envkit.backend.embedded.users import User
from envkit.errors import EnvkitError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
INIT = "/dev/init"  # /dev is a fresh tmpfs in every container: a mount point that a read-only root need not have
UNLIMITED = (1 << 64) - 1


def arguments(spec: Mapping[str, Any], image: Mapping[str, Any]) -> list[str]:
    """The argument vector. A service's entrypoint takes the image's command away.

    image: the OCI image config's `config` object. Raises EnvkitError when nothing is left to run.
    """
    entrypoint = spec.get("entrypoint")
    command = spec.get("command")
    if command is None:
        command = (image.get("Cmd") or []) if entrypoint is None else []
    if entrypoint is None:
        entrypoint = image.get("Entrypoint") or []
    words = [*entrypoint, *command]
    if not words:
        raise EnvkitError(
            "There is nothing to run",
            "neither the service nor its image has a command or an entrypoint",
            "write `command:`",
        )
    return words


def variables(
    spec: Mapping[str, Any], image: Mapping[str, Any], *, hostname: str, home: str, tty: bool
) -> dict[str, str]:
    """The environment: PATH, HOSTNAME, TERM (with a terminal), the image's, HOME, the service's.

    A variable that the service sets to None is taken away, wherever it came from.
    """
    result = {"PATH": PATH, "HOSTNAME": hostname}
    if tty:
        result["TERM"] = "xterm"
    for item in image.get("Env") or ():
        name, _, value = item.partition("=")
        result[name] = value
    result.setdefault("HOME", home)
    for name, value in (spec.get("environment") or {}).items():
        if value is None:
            result.pop(name, None)
        else:
            result[name] = value
    return result


def rlimits(
    ulimits: Mapping[str, Mapping[str, int]], hard: Mapping[str, int]
) -> tuple[list[dict[str, Any]], list[str]]:
    """(`process.rlimits`, a sentence per limit that had to be lowered).

    ulimits: name -> soft and hard, -1 is unlimited. hard: name -> the most this machine can give (UNLIMITED: anything).
    """
    rows, warnings = [], []
    for name, value in sorted(ulimits.items()):
        most = hard.get(name, UNLIMITED)
        wanted_hard = _number(value.get("hard", value.get("soft", -1)))
        wanted_soft = _number(value.get("soft", value.get("hard", -1)))
        if wanted_hard > most:
            warnings.append(f"ulimit {name}: {_text(wanted_hard)} was lowered to this machine's hard limit {most}")
        limit = min(wanted_hard, most)
        rows.append({"type": f"RLIMIT_{name.upper()}", "hard": limit, "soft": min(wanted_soft, limit)})
    return rows, warnings


def _number(value: int) -> int:
    return UNLIMITED if value < 0 else value


def _text(value: int) -> str:
    return "unlimited" if value == UNLIMITED else str(value)


def encode(
    spec: Mapping[str, Any], image: Mapping[str, Any], *, user: User, hostname: str,
    capabilities: Mapping[str, list[str]], limits: Sequence[Mapping[str, Any]], init: bool,
) -> dict[str, Any]:  # fmt: skip
    """The whole `process` object."""
    tty = bool(spec.get("tty"))
    words = arguments(spec, image)
    environment = variables(spec, image, hostname=hostname, home=user.home, tty=tty)
    process: dict[str, Any] = {
        "terminal": tty,
        "user": {"uid": user.uid, "gid": user.gid, "additionalGids": list(user.groups)},
        "args": [INIT, "--", *words] if init else words,
        "env": [f"{name}={value}" for name, value in environment.items()],
        "cwd": spec.get("working_dir") or image.get("WorkingDir") or "/",
        "capabilities": dict(capabilities),
        "noNewPrivileges": bool(spec.get("no_new_privileges")) and not spec.get("privileged"),
    }
    if limits:
        process["rlimits"] = list(limits)
    if spec.get("oom_score_adj") is not None:
        process["oomScoreAdj"] = spec["oom_score_adj"]
    return process
