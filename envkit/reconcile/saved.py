"""Files of saved plans: `plan -o FILE`, `apply FILE`."""

from __future__ import annotations

from envkit.errors import NotFoundError
from envkit.host.files import write_atomic
from envkit.plan.model import Plan
from envkit.plan.saved import SavedPlan, decode_saved, encode_saved


def write_saved(plan: Plan, path: str) -> None:
    """Save a plan; only its owner may read it."""
    write_atomic(path, encode_saved(plan), 0o600)


def read_saved(path: str) -> SavedPlan:
    """Raises NotFoundError when there is no such file, EnvkitError when it is not a saved plan."""
    try:
        with open(path, "rb") as file:
            data = file.read()
    except OSError as error:
        raise NotFoundError("The saved plan cannot be read", str(error), "make it with envkit plan -o FILE") from error
    return decode_saved(data, path)
