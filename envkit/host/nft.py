"""nftables by its program: one script, one transaction; a script with an error changes nothing (nft(8))."""

from __future__ import annotations

from envkit.host import process
from envkit.host.steps import step

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def apply(script: str) -> None:
    """Load a script in the current network namespace. Raises HostError with nft's message, UnsupportedError."""
    step("nft.apply")
    process.run(["nft", "-f", "-"], input=script.encode(), timeout=60)


def list_table(family: str, name: str) -> dict[str, Any] | None:
    """A table in libnftables' JSON form (`{"nftables": […]}`, libnftables-json(5)); None when there is none."""
    import json

    done = process.run(["nft", "-j", "list", "table", family, name], timeout=60, check=False)
    if done.returncode:
        if b"No such file or directory" in done.stderr:
            return None
        raise process.failure(["nft", "-j", "list", "table", family, name], done.returncode, done.stderr)
    value: dict[str, Any] = json.loads(done.stdout)
    return value


def delete_table(family: str, name: str) -> None:
    """Remove a table with everything in it; absent is fine."""
    apply(f"add table {family} {name}\ndelete table {family} {name}\n")
