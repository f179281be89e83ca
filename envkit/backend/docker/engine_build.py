"""A Dockerfile left to the engine's own builder (`--builder engine`): POST /build with a tar of the context.

The classic builder (Engine API, Image, Build): no BuildKit session is held, so there are no secrets, agents or further
contexts. What it cannot do is said at plan time.
"""

from __future__ import annotations

import os

from envkit.backend.engine_api import EngineError
from envkit.diagnostics import Diagnostic, Severity
from envkit.errors import ApplyError
from envkit.events import Event, EventKind

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from typing import IO, Any

    from envkit.backend.engine_api import Engine
    from envkit.events import Emit
    from envkit.spec.environment import Environment, Resource

_BUILDKIT = ("secrets", "ssh", "additional_contexts", "no_cache_filter", "privileged", "entitlements")
_SHOWN = 20
_CHUNK = 1 << 16
HINT = "leave `--builder engine` out: envkit builds it, and sends it to the engine"


def build(
    engine: Engine, spec: Mapping[str, Any], *, emit: Emit, address: str, fresh: bool = False, pull: bool = False
) -> None:
    """Let the engine build the image of spec and give it its name. fresh: every layer anew; pull: newer bases. Raises
    ApplyError with the last lines of its output."""
    asked: Mapping[str, Any] = spec["build"]
    log: list[str] = []
    try:
        for row in engine.lines(
            "POST", "/build", timeout=None, chunks=_chunks(asked), headers=_credentials(asked),
            **_query(spec, asked, fresh=fresh, pull=pull),
        ):  # fmt: skip
            for line in str(row.get("stream") or row.get("status") or "").splitlines():
                if line.strip():
                    log.append(line)
                    emit(Event(EventKind.PROGRESS, address, "build", line))
    except EngineError as error:
        hint = HINT if "BuildKit" in error.message else "the lines above are the engine's"
        raise ApplyError("An image cannot be built", error.message, hint, address=address, log=log[-_SHOWN:]) from error


def problems(environment: Environment) -> Iterator[Diagnostic]:
    """What the builds of an environment ask that the engine's classic builder does not know."""
    from envkit.backend.features import position

    for address, resource in environment.resources.items():
        asked = resource.spec.get("build")
        if address.kind != "image" or not asked:
            continue
        found = [f"build.{key}" for key in _BUILDKIT if asked.get(key)]
        if len(asked.get("platforms") or ()) > 1:
            found.append("build.platforms")
        if not found and _mounts(asked):
            found = ["build.dockerfile"]
        for path in found:
            what = "`RUN --mount`" if path == "build.dockerfile" else f"`{path}`"
            yield Diagnostic(
                Severity.ERROR, "unsupported-builder", "The engine's own builder cannot do this",
                f"image {address.name!r}: {what} needs BuildKit", position(resource.origin(path)), HINT,
            )  # fmt: skip


def _mounts(asked: Mapping[str, Any]) -> bool:
    import re

    return any(re.match(r"\s*RUN\s+(--\S+\s+)*--mount=", line, re.IGNORECASE) for line in _text(asked).splitlines())


def _text(asked: Mapping[str, Any]) -> str:
    """The Dockerfile; "" where it is elsewhere (the context is a URL)."""
    if asked.get("dockerfile_inline"):
        return str(asked["dockerfile_inline"])
    try:
        with open(_dockerfile(asked), encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError:
        return ""


def _dockerfile(asked: Mapping[str, Any]) -> str:
    return os.path.normpath(os.path.join(str(asked["context"]), str(asked.get("dockerfile") or "Dockerfile")))


def _is_remote(asked: Mapping[str, Any]) -> bool:
    return not str(asked["context"]).startswith("/")


def _query(spec: Mapping[str, Any], asked: Mapping[str, Any], *, fresh: bool, pull: bool) -> dict[str, Any]:
    from envkit.image.dockerfile.build import pairs

    platforms: Sequence[str] = asked.get("platforms") or ()
    arguments = pairs(asked.get("args"))
    return {
        "t": [str(spec["name"]), *(asked.get("tags") or ())], "dockerfile": _place(asked)[0],
        "remote": str(asked["context"]) if _is_remote(asked) else None, "rm": True, "forcerm": True, "version": "1",
        "nocache": fresh or bool(asked.get("no_cache")), "pull": pull or bool(asked.get("pull")),
        "buildargs": {name: value for name, value in arguments.items() if value is not None} or None,
        "labels": pairs(asked.get("labels")) or None, "target": asked.get("target") or None,
        "networkmode": asked.get("network") or None, "shmsize": asked.get("shm_size") or None,
        "platform": spec.get("platform") or (platforms[0] if platforms else None),
        "extrahosts": [
            f"{name}:{found}" for name, all_ in (asked.get("extra_hosts") or {}).items() for found in all_
        ] or None,
        "ulimits": _ulimits(asked.get("ulimits") or {}),
    }  # fmt: skip


def _ulimits(found: Mapping[str, Any]) -> str | None:
    from envkit.lean import json

    rows = [{"Name": name, "Soft": row["soft"], "Hard": row["hard"]} for name, row in found.items()]
    return json.dumps(rows) if rows else None


# -- the context


def _place(asked: Mapping[str, Any]) -> tuple[str, bytes | None]:
    """(the Dockerfile's path in the context, its content where it has to be added)."""
    if _is_remote(asked):
        return str(asked.get("dockerfile") or "Dockerfile"), None
    path = _dockerfile(asked)
    inside = os.path.relpath(path, str(asked["context"]))
    if not asked.get("dockerfile_inline") and not inside.startswith("../"):
        return inside, None
    from envkit.lean import sha256

    content = _text(asked).encode()
    return f".envkit.{sha256(content).hexdigest()[:16]}.Dockerfile", content


def _chunks(asked: Mapping[str, Any]) -> Iterator[bytes]:
    """The context as a tar; nothing for one that the engine fetches."""
    if _is_remote(asked):
        return
    import tempfile

    with tempfile.TemporaryFile() as file:
        _write(file, asked)
        file.seek(0)
        while chunk := file.read(_CHUNK):
            yield chunk


def _write(file: IO[bytes], asked: Mapping[str, Any]) -> None:
    """What the ignore file leaves, its owners root's as the engine makes them, and the Dockerfile whatever it says."""
    import io
    import tarfile

    from envkit.host.ignore import Ignore, of_dockerfile
    from envkit.host.tree import walk

    context, (name, content) = str(asked["context"]), _place(asked)
    rules = Ignore.from_file(found) if (found := of_dockerfile(context, _dockerfile(asked))) else Ignore()

    def plain(member: tarfile.TarInfo) -> tarfile.TarInfo:
        member.uid = member.gid = 0
        member.uname = member.gname = ""
        return member

    with tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT) as tar:
        there = set()
        for entry in walk(context, rules):
            if entry.path and entry.path != ".dockerignore":  # its rules have been applied
                there.add(entry.path)
                tar.add(os.path.join(context, entry.path), entry.path, recursive=False, filter=plain)
        if content is not None:
            for extra, data in ((name, content), (".dockerignore", f"{name}\n.dockerignore\n".encode())):
                member = tarfile.TarInfo(extra)
                member.size, member.mode = len(data), 0o644
                tar.addfile(member, io.BytesIO(data))
        elif name not in there:
            tar.add(os.path.join(context, name), name, filter=plain)


def _credentials(asked: Mapping[str, Any]) -> dict[str, str]:
    """X-Registry-Config: who one is at the registries of the bases."""
    import re

    from envkit.backend.credentials import config_header

    bases = re.findall(r"^\s*FROM\s+(?:--\S+\s+)*(\S+)", _text(asked), re.IGNORECASE | re.MULTILINE)
    return {"Content-Type": "application/x-tar", **config_header([base for base in bases if "$" not in base])}


def is_left_to(builder: str, resource: Resource) -> bool:
    """Whether the engine builds this image: those that are a Dockerfile alone."""
    return builder == "engine" and bool(resource.spec.get("build"))
