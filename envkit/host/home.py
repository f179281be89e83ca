"""Where an installation keeps everything: one directory, ENVKIT_HOME.

    images/                 the OCI store (owned by envkit.image)
    volumes/NAME/           named volumes: NAME/data is the content, NAME/volume.json the record
    volumes/.snapshots/     what they held at one moment: VOLUME/SNAPSHOT/data
    environments/NAME/      one per environment
        lock, journal.jsonl, network.json …
        instances/SERVICE.N/    the record directory of one service instance (and its OCI bundle)
    cache/                  may be deleted at any time: compiled environments, seccomp programs, build caches
    run/                    gone after a reboot: the engine namespace's pin, network namespaces, sockets
    salt                    the key of secret digests, 0600
"""

from __future__ import annotations

import os

from envkit.lean import cached_property, sha256

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping


class Home:
    """The paths below one ENVKIT_HOME (root is absolute)."""

    def __init__(self, root: str) -> None:
        self.root = root

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Home) and other.root == self.root

    def __hash__(self) -> int:
        return hash(self.root)

    def __repr__(self) -> str:
        return f"Home({self.root!r})"

    @classmethod
    def from_environ(cls, environ: Mapping[str, str], uid: int | None = None) -> Home:
        """ENVKIT_HOME, else /var/lib/envkit for root, else $XDG_DATA_HOME/envkit."""
        if given := environ.get("ENVKIT_HOME"):
            return cls(os.path.abspath(given))
        if (os.geteuid() if uid is None else uid) == 0:
            return cls("/var/lib/envkit")
        data = environ.get("XDG_DATA_HOME") or os.path.join(environ.get("HOME", "/"), ".local/share")
        return cls(os.path.join(data, "envkit"))

    @cached_property
    def tag(self) -> str:
        """Six hex digits that tell this installation's links and tables from another's."""
        return sha256(self.root.encode()).hexdigest()[:6]

    @property
    def images(self) -> str:
        return os.path.join(self.root, "images")

    @property
    def volumes(self) -> str:
        return os.path.join(self.root, "volumes")

    @property
    def environments(self) -> str:
        return os.path.join(self.root, "environments")

    @property
    def cache(self) -> str:
        return os.path.join(self.root, "cache")

    @property
    def run(self) -> str:
        return os.path.join(self.root, "run")

    @property
    def salt(self) -> str:
        return os.path.join(self.root, "salt")

    def environment(self, name: str) -> str:
        return os.path.join(self.environments, name)

    def intent(self, environment: str) -> str:
        """The file that says what an apply or down has begun; it goes at the end (see reconcile.journal)."""
        return os.path.join(self.environments, environment, "intent.json")

    def instances(self, environment: str) -> str:
        return os.path.join(self.environments, environment, "instances")
