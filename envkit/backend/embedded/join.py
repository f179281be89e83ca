"""`attach`: the caller's stdio joined to that of a running instance's first process."""

from __future__ import annotations

from envkit.address import Address
from envkit.backend.embedded import instance
from envkit.backend.embedded.exec import running
from envkit.backend.embedded.stdio import DETACH, Attachment
from envkit.backend.terminal import parse_keys
from envkit.host.home import Home


def join(
    home: Home, environment: str, address: Address, *, stdin: bool, forward_signals: bool, detach_keys: str
) -> int:
    """See backend.base.Backend.attach."""
    keys = parse_keys(detach_keys) if detach_keys else DETACH
    record = running(home, environment, address)
    with Attachment(record) as attachment:
        ended = attachment.join(
            (lambda number: instance.kill(record, number)) if forward_signals else None,
            pass_stdin=stdin and record.stdin_open, detach=keys,
        )  # fmt: skip
    if not ended:
        return 0
    instance.await_exits([record])
    code = instance.status(record).exit_code
    return 1 if code is None else code
