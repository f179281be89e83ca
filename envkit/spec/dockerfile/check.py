"""What can be said of one instruction without building: flags that exist, arguments that are complete."""

from __future__ import annotations

import re
from difflib import get_close_matches

from envkit.diagnostics import Diagnostics
from envkit.spec.dockerfile.mounts import MountError, parse_mount
from envkit.spec.dockerfile.parse import Instruction, heredoc_name
from envkit.spec.dockerfile.words import split_words

_COPY = ("chown", "chmod", "link", "exclude")
FLAGS = {
    "FROM": ("platform",), "COPY": (*_COPY, "from", "parents"),
    "ADD": (*_COPY, "checksum", "keep-git-dir", "unpack"), "RUN": ("mount", "network", "security"),
    "HEALTHCHECK": ("interval", "timeout", "start-period", "start-interval", "retries"),
}  # fmt: skip
NETWORKS = ("default", "none", "host")
_DURATION = re.compile(r"(?:\d+(?:\.\d+)?(?:ns|us|µs|ms|s|m|h))+|0")


def check(item: Instruction, escape: str, found: Diagnostics) -> None:
    """Add what is wrong with an instruction to found."""
    allowed = FLAGS.get(item.keyword, ())
    for flag in item.flags:
        if flag.name not in allowed:
            near = get_close_matches(flag.name, allowed, 1)
            hint = f"did you mean --{near[0]}?" if near else f"{item.keyword} has --{', --'.join(allowed)}"
            found.error("unknown-flag", "A flag is not known", f"{item.keyword} has no --{flag.name}",
                        item.at(f"--{flag.name}"), hint)  # fmt: skip
    handler = _CHECKS.get(item.keyword)
    if handler is not None:
        handler(item, escape, found)


def sources_and_target(item: Instruction, escape: str) -> tuple[list[str], str]:
    """The words of COPY and ADD, as written (here-documents among the sources)."""
    words = item.json()
    if words is None:
        words = split_words(item.rest, escape)
    return words[:-1], words[-1] if words else ""


def _copy(item: Instruction, escape: str, found: Diagnostics) -> None:
    sources, target = sources_and_target(item, escape)
    if not sources:
        found.error("missing-argument", "An instruction lacks an argument", f"{item.keyword} needs a source and a "
                    "destination", item.position, f"write {item.keyword} SOURCE DESTINATION")  # fmt: skip
    elif len(sources) > 1 and not target.endswith("/") and target not in (".", "..") and "$" not in target:
        found.error("not-a-directory", "A destination is not a directory", f"{item.keyword} has {len(sources)} sources "
                    f"and the destination {target}", item.at(target), f"write {target}/")  # fmt: skip
    origin = item.flag("from")
    if origin is not None and "$" in origin:
        found.error("variable-from", "A variable cannot be used here", f"--from={origin}", item.at(origin),
                    "give the stage a name: FROM ${…} AS name, and COPY --from=name")  # fmt: skip
    if origin is not None and any(heredoc_name(source) for source in sources):
        found.error("heredoc-from", "A here-document is of no stage", f"--from={origin}", item.at(origin))
    checksum = item.flag("checksum")
    if checksum is not None and "$" not in checksum and not re.fullmatch(r"sha256:[0-9a-f]{64}", checksum):
        found.error("invalid-checksum", "A checksum is not valid", checksum, item.at(checksum),
                    "write --checksum=sha256: and 64 hex digits")  # fmt: skip


def _run(item: Instruction, escape: str, found: Diagnostics) -> None:
    for text in item.all_flags("mount"):
        try:
            parse_mount(text)
        except MountError as problem:
            if "$" not in text:
                found.error("invalid-mount", "A mount is not valid", str(problem), item.at(text))
    network = item.flag("network")
    if network is not None and network not in NETWORKS:
        found.error("invalid-network", "A network is not known", f"--network={network}", item.at(network),
                    f"it is one of {', '.join(NETWORKS)}")  # fmt: skip
    security = item.flag("security")
    if security not in (None, "sandbox", "insecure"):
        found.error("invalid-security", "A value is not valid", f"--security={security}", item.at(str(security)),
                    "it is sandbox or insecure")  # fmt: skip


def _shell(item: Instruction, escape: str, found: Diagnostics) -> None:
    if not item.json():
        found.error("not-json", "A list is expected", f"SHELL {item.rest}", item.position,
                    'write it as JSON: SHELL ["/bin/bash", "-c"]')  # fmt: skip


def _healthcheck(item: Instruction, escape: str, found: Diagnostics) -> None:
    word = item.rest.split(None, 1)[0].upper() if item.rest else ""
    if word not in ("NONE", "CMD") or (word == "CMD" and len(item.rest.split()) < 2):
        found.error("invalid-healthcheck", "A health check is not valid", f"HEALTHCHECK {item.rest}", item.position,
                    "write HEALTHCHECK [FLAGS] CMD COMMAND, or HEALTHCHECK NONE")  # fmt: skip
    for flag in item.flags:
        value = flag.value or ""
        valid = value.isdigit() if flag.name == "retries" else bool(_DURATION.fullmatch(value))
        if not valid and "$" not in value:
            found.error("invalid-value", "A value is not valid", f"--{flag.name}={value}", item.at(f"--{flag.name}"),
                        "write a duration such as 30s, or a number of retries")  # fmt: skip


def _pairs(item: Instruction, escape: str, found: Diagnostics) -> None:
    words = split_words(item.rest, escape)
    if "=" not in words[0]:
        if len(words) < 2:
            found.error("missing-value", "A value is missing", f"{item.keyword} {item.rest}", item.position,
                        f"write {item.keyword} {words[0]}=VALUE")  # fmt: skip
        return
    for word in words:
        if "=" not in word or word.startswith("="):
            found.error("missing-value", "A value is missing", f"{item.keyword} has the word {word}", item.at(word),
                        "write NAME=VALUE; quote a value with spaces")  # fmt: skip


def _maintainer(item: Instruction, escape: str, found: Diagnostics) -> None:
    found.warning("deprecated", "An instruction is deprecated", "MAINTAINER", item.position,
                  "write LABEL org.opencontainers.image.authors=…")  # fmt: skip


_CHECKS = {
    "COPY": _copy, "ADD": _copy, "RUN": _run, "SHELL": _shell, "HEALTHCHECK": _healthcheck, "ENV": _pairs,
    "LABEL": _pairs, "MAINTAINER": _maintainer,
}  # fmt: skip
