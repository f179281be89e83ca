"""What each apply did: `environments/ENV/journal.jsonl`, one JSON object a line. Never the source of truth.

An entry: generation, time (RFC 3339, UTC), who (user@host), commit (of the directory's git repository, null without),
command, summary (the plan's totals as text), predicted and done (action word -> count), differs (sentences: what is
not as predicted), result (done, failed, interrupted, aborted, cut off), changes ([{address, action, reason,
result}]), desired (digest of all fingerprints), seconds. `intent.json` is the entry of what has begun and not ended.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Mapping

from envkit.errors import HostError
from envkit.host.files import fsync_directory, make_directory, read_json, write_json
from envkit.host.home import Home
from envkit.host.steps import step
from envkit.lean import json
from envkit.plan.model import Plan
from envkit.reconcile.commit import commit_of
from envkit.reconcile.outcome import Outcome

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_WORDS = ("create", "update", "replace", "delete")
_TAIL = 1 << 16


def path_of(home: Home, environment: str) -> str:
    return os.path.join(home.environment(environment), "journal.jsonl")


def read_journal(home: Home, environment: str) -> list[dict[str, Any]]:
    """All entries, the oldest first. A line that a crash cut short, or that is no entry, is left out."""
    try:
        with open(path_of(home, environment), "rb") as file:
            lines = file.read().splitlines()
    except (FileNotFoundError, NotADirectoryError):
        return []
    return [entry for line in lines if (entry := _decode(line)) is not None]


def last_generation(home: Home, environment: str) -> int:
    """The number of the latest entry (0: none), read from the end of the file."""
    try:
        with open(path_of(home, environment), "rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - _TAIL))
            lines = file.read().splitlines()
    except (FileNotFoundError, NotADirectoryError):
        return 0
    for line in reversed(lines):
        if (entry := _decode(line)) is not None:
            return int(entry["generation"])
    return max((int(entry["generation"]) for entry in read_journal(home, environment)), default=0)


def append_entry(home: Home, environment: str, entry: Mapping[str, Any]) -> None:
    """Add one entry; it survives a power cut once this returns. A torn last line stays a line of its own."""
    path = path_of(home, environment)
    make_directory(os.path.dirname(path), 0o755)
    step("journal.append")
    is_new = not os.path.exists(path)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    try:
        size = os.fstat(descriptor).st_size
        torn = size > 0 and os.pread(descriptor, 1, size - 1) != b"\n"
        line = json.dumps(entry, ensure_ascii=False, separators=(",", ":")).encode()
        os.write(descriptor, (b"\n" if torn else b"") + line + b"\n")
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    if is_new:
        fsync_directory(os.path.dirname(path))


def begin(home: Home, environment: str, entry: Mapping[str, Any]) -> None:
    """Say what is going to be done, before it is. What ends without a word (a kill, a power cut) is seen by that."""
    intended = {
        **entry, "result": "cut off", "done": dict.fromkeys(_WORDS, 0),
        "changes": [{**change, "result": "unknown"} for change in entry["changes"]],
    }  # fmt: skip
    make_directory(home.environment(environment), 0o755)
    write_json(home.intent(environment), intended, 0o600, durable=False)


def settle(home: Home, environment: str) -> bool:
    """Under the environment's lock: write the entry of what was cut off, if anything was; whether it was."""
    if not os.path.exists(home.intent(environment)):
        return False
    try:
        entry = read_json(home.intent(environment))
    except HostError:  # a power cut has torn it
        entry = None
    if isinstance(entry, dict) and int(entry["generation"]) > last_generation(home, environment):
        append_entry(home, environment, entry)
    forget(home, environment)
    return True


def finish(home: Home, environment: str, generation: int) -> None:
    """What was begun as this generation has come to its end, the session's included. Another's is left alone."""
    try:
        entry = read_json(home.intent(environment))
    except HostError:
        return
    if isinstance(entry, dict) and entry["generation"] == generation:
        forget(home, environment)


def forget(home: Home, environment: str) -> None:
    """Nothing has begun."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(home.intent(environment))


def make_entry(
    plan: Plan, outcome: Outcome, *, generation: int, directory: str, desired: str, seconds: float, result: str,
    command: str = "",
) -> dict[str, Any]:
    """The entry of one apply or down."""
    return {
        "generation": generation,
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "who": _who(),
        "commit": commit_of(directory),
        "command": command or ("down" if plan.destroy else "apply"),
        "summary": ", ".join(f"{plan.count(word)} to {word}" for word in _WORDS if plan.count(word)),
        "predicted": {word: plan.count(word) for word in _WORDS},
        "done": {word: sum(change.action.word == word and _result(change.address, outcome) == "done"
                           for change in plan.effective) for word in _WORDS},
        "differs": list(outcome.differs),
        "result": result,
        "changes": [
            {"address": str(change.address), "action": change.action.word, "reason": change.reason,
             "result": _result(change.address, outcome)}
            for change in plan.effective
        ],
        "desired": desired,
        "seconds": round(seconds, 3),
    }  # fmt: skip


def _result(address: Any, outcome: Outcome) -> str:
    if address in outcome.failed:
        return "failed"
    if address in outcome.skipped:
        return "skipped"
    return "unchanged" if address in outcome.unchanged else "done"


def _decode(line: bytes) -> dict[str, Any] | None:
    try:
        entry = json.loads(line)
    except ValueError:
        return None
    return entry if isinstance(entry, dict) and isinstance(entry.get("generation"), int) else None


def _who() -> str:
    import pwd

    try:
        name = os.environ.get("SUDO_USER") or pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        name = str(os.getuid())
    return f"{name}@{os.uname().nodename}"
