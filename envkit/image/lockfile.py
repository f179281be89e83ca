"""envkit.lock: the exact versions that an environment's images are made of, so that every machine makes the same ones.

    {"version": 1,
     "debian": {"bookworm/amd64": {"nginx": "1.22.1-9+deb12u3", …}},     every package that was installed
     "pip": {REQUEST: {"asked": […], "packages": {"flask": {"version": "3.0.3", "sha256": […]}}}},
     "npm": {REQUEST: {"asked": […], "before": TIME, "packages": {"typescript": "5.4.5"}}},
     "archives": {URL or project path: sha256}, "references": {REFERENCE: digest}}

One version per package and suite for the whole environment: images share their bases, and a layer that is added later
fits those that are there. No mirror's name enters. Kept sorted, one entry a line, as people read its diffs.
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Mapping
from typing import Any

from envkit.errors import ConflictError, EnvkitError

NAME = "envkit.lock"
VERSION = 1
SECTIONS = ("debian", "pip", "npm", "archives", "references")


class Lockfile:
    """The lock of one environment in memory; used by several threads at a time.

    frozen: whatever is not in it already is an error (ConflictError) instead of being added. refresh: everything is
    resolved anew, once: what the file said is not obeyed, what this run has resolved is.
    """

    def __init__(
        self, path: str = "", data: Mapping[str, Any] | None = None, *, frozen: bool = False, refresh: bool = False
    ) -> None:
        self.path = path
        self.frozen = frozen
        self.refresh = refresh
        self._data: dict[str, dict[str, Any]] = {name: dict((data or {}).get(name, {})) for name in SECTIONS}
        self._before = self.encode()
        self._used: dict[str, dict[str, Any]] = {name: {} for name in SECTIONS}
        self._guard = threading.Lock()

    @classmethod
    def read(cls, path: str, *, frozen: bool = False, refresh: bool = False) -> Lockfile:
        """The lock at path; an empty one when there is no such file. Raises EnvkitError when it is damaged."""
        try:
            with open(path, "rb") as file:
                data = json.loads(file.read())
        except FileNotFoundError:
            data = {"version": VERSION}
        except ValueError as error:
            hint = "restore it from version control, or delete it: the next build writes it anew"
            raise EnvkitError("the lock file is damaged", f"{path}: {error}", hint) from error
        if not isinstance(data, dict) or not all(isinstance(data.get(name, {}), dict) for name in SECTIONS):
            raise EnvkitError("the lock file is damaged", f"{path}: not an object of objects", "delete it")
        if data.get("version") != VERSION:
            found = f"{path}: version {data.get('version')!r}; this envkit knows {VERSION}"
            raise EnvkitError("the lock file is of another version", found, "update envkit, or delete the file")
        return cls(path, data, frozen=frozen, refresh=refresh)

    def get(self, section: str, name: str) -> Any:
        """What is locked for name, None when nothing is."""
        with self._guard:
            return (self._used if self.refresh else self._data)[section].get(name)

    def section(self, section: str) -> dict[str, Any]:
        """Everything that is locked of one kind."""
        with self._guard:
            return dict((self._used if self.refresh else self._data)[section])

    def versions(self, suite: str) -> dict[str, str]:
        """The locked packages of a suite ("bookworm/amd64")."""
        return dict(self.get("debian", suite) or {})

    def agrees(self, suite: str, versions: Mapping[str, str]) -> bool:
        """Whether packages of these versions are what the lock asks for: none is locked at another version; while
        everything is resolved anew, all were resolved to these."""
        locked = self.versions(suite)
        missing = {} if self.refresh else versions
        return all(locked.get(name, missing.get(name)) == version for name, version in versions.items())

    def accepts(self, section: str, name: str, packages: Any) -> bool:
        """Whether an earlier resolution to `packages` is what the lock asks for."""
        locked = self.get(section, name)
        return locked["packages"] == packages if locked else not self.refresh

    def record(self, section: str, name: str, value: Any) -> None:
        """Say that name was resolved to value; equal to what is locked: nothing happens. Raises ConflictError."""
        with self._guard:
            self._used[section][name] = value
            if self._data[section].get(name) == value:
                return
            self._refuse_if_frozen(f"{section}: {name}")
            self._data[section][name] = value

    def record_versions(self, suite: str, versions: Mapping[str, str]) -> None:
        """Say that these packages of a suite were installed. Raises ConflictError."""
        with self._guard:
            self._used["debian"].setdefault(suite, {}).update(versions)
            locked: dict[str, str] = self._data["debian"].get(suite, {})
            new = {name: version for name, version in versions.items() if locked.get(name) != version}
            if not new:
                return
            first = next(iter(sorted(new)))
            self._refuse_if_frozen(f"{suite}: {first} {new[first]} (locked: {locked.get(first, 'nothing')})")
            self._data["debian"][suite] = {**locked, **new}

    def _refuse_if_frozen(self, what: str) -> None:
        if self.frozen:
            hint = "run `envkit lock` where the lock may change, and commit the file"
            raise ConflictError(f"{NAME} does not cover this build, and it is frozen", what, hint)

    def prune(self) -> None:
        """Forget everything that no build has used since the lock was read (after all images were built)."""
        with self._guard:
            self._data = {name: dict(value) for name, value in self._used.items()}

    @property
    def changed(self) -> bool:
        """Whether it differs from the file that was read."""
        return self.encode() != self._before

    def encode(self) -> bytes:
        """The file's content: the same for equal locks."""
        value = {"version": VERSION, **{name: section for name, section in self._data.items() if section}}
        return (json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False) + "\n").encode()

    def write(self) -> bool:
        """Bring the file up to date; False when it was. Raises HostError, OSError."""
        from envkit.host.files import write_atomic

        if not self.changed or not self.path:
            return False
        with self._guard:
            data = self.encode()
            write_atomic(self.path, data)
            self._before = data
        return True


_shared: dict[str, Lockfile] = {}
_sharing = threading.Lock()


def of_project(directory: str, *, refresh: bool = False, frozen: bool = False) -> Lockfile:
    """The lock of the project in directory: one object for all builds of this process. refresh, frozen: see Lockfile;
    what the first caller of the process says counts."""
    path = os.path.join(os.path.abspath(directory), NAME)
    with _sharing:
        if path not in _shared:
            _shared[path] = Lockfile.read(path, refresh=refresh, frozen=frozen)
        return _shared[path]
