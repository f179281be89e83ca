"""Digests of secrets: keyed with the installation's salt, so that they say "it changed" and nothing else.

The salt is made by `apply` (ensure_salt) before anything is compiled. Without one, which is before the first apply of
an installation, every digest is UNSALTED: nothing can be guessed from a plan, and nothing exists that could differ.
"""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from envkit.host.home import Home

UNSALTED = "hmac-sha256:known-after-the-first-apply"


def read_salt(home: Home) -> bytes | None:
    """The installation's salt, None before the first apply."""
    try:
        with open(home.salt, "rb") as file:
            return file.read() or None
    except FileNotFoundError:
        return None


def ensure_salt(home: Home) -> None:
    """Make the salt (32 random bytes, 0600) when there is none. Safe to call at the same time twice."""
    if read_salt(home) is not None:
        return
    os.makedirs(home.root, mode=0o755, exist_ok=True)
    draft = os.path.join(home.root, f".salt.{os.getpid()}.{os.urandom(4).hex()}")  # see host.leftovers
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(os.urandom(32))
        file.flush()
        os.fsync(descriptor)
    try:
        os.link(draft, home.salt)  # unlike a rename it never replaces the salt of a process that was faster
    except FileExistsError:
        if read_salt(home) is None:
            os.replace(draft, home.salt)
            return
    finally:
        if os.path.lexists(draft):
            os.unlink(draft)


def keyed_digest(salt: bytes | None, purpose: str, content: bytes) -> str:
    """`hmac-sha256:…` of content for one purpose (`secret.db_password`); UNSALTED without a salt."""
    if salt is None:
        return UNSALTED
    import hmac

    return "hmac-sha256:" + hmac.new(salt, purpose.encode() + b"\0" + content, "sha256").hexdigest()
