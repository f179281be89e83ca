"""The store's references: `index.json` of an OCI image layout, replaced whole under a lock.

Source: OCI image-spec image-index.md, image-layout.md, annotations.md (`org.opencontainers.image.ref.name`).
"""

from __future__ import annotations

import fcntl
import os

from envkit.host import files
from envkit.image import media
from envkit.image.manifest import ORIGIN, PULLED, REF_NAME, SOURCES, Descriptor, decode_descriptor, decode_json
from envkit.lean import contextmanager, json
from envkit.values import value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence


@value
class IndexEntry:
    """What a reference means; sources: for each layer the place in the YAML that made it.

    pulled: seconds since the epoch when a registry was last asked, 0 when none was; origin: the digest that the
    registry had for the reference (of an index, where it has one for several platforms).
    """

    digest: str
    descriptor: Descriptor
    sources: tuple[str, ...]

    @property
    def pulled(self) -> float:
        return float(self.descriptor.annotations.get(PULLED) or 0)

    @property
    def origin(self) -> str:
        return self.descriptor.annotations.get(ORIGIN, "")


class Index:
    """The references of the layout at root. Readers see the file before or after a change, never between."""

    def __init__(self, root: str) -> None:
        self._root = root
        self._path = os.path.join(root, "index.json")
        self._known: tuple[tuple[int, int, int], dict[str, IndexEntry]] | None = None

    def read(self) -> dict[str, IndexEntry]:
        """Every reference, in full text form; the caller's to change. Raises ImageError when the file is damaged."""
        try:
            with open(self._path, "rb") as file:
                info = os.fstat(file.fileno())
                version = (info.st_ino, info.st_size, info.st_mtime_ns)  # a new file each time: see _write
                if self._known and self._known[0] == version:
                    return self._known[1].copy()
                data = file.read()
        except FileNotFoundError:
            return {}
        found: dict[str, IndexEntry] = {}
        for item in decode_json(data, self._path).get("manifests") or ():
            descriptor = decode_descriptor(item, self._path)
            if name := descriptor.annotations.get(REF_NAME):
                sources = json.loads(descriptor.annotations.get(SOURCES, "[]"))
                found[name] = IndexEntry(descriptor.digest, descriptor, tuple(sources))
        self._known = (version, found)
        return found.copy()

    def put(
        self, name: str, descriptor: Descriptor, sources: Sequence[str] = (), facts: Mapping[str, str] | None = None
    ) -> None:
        """Let name mean descriptor, durably. facts: further annotations (see IndexEntry)."""
        annotations = {REF_NAME: name, **(facts or {})}
        if any(sources):
            annotations[SOURCES] = json.dumps(list(sources))
        entry = Descriptor(descriptor.media_type, descriptor.digest, descriptor.size, annotations)
        with self._locked():
            entries = self.read()
            if name in entries and entries[name].descriptor == entry:
                return
            if entries.get(entry.digest):  # it was kept without a name until now
                del entries[entry.digest]
            entries[name] = IndexEntry(entry.digest, entry, tuple(sources))
            self._write(entries)

    def delete(self, name: str) -> bool:
        """Forget name; whether it was there."""
        with self._locked():
            entries = self.read()
            if entries.pop(name, None) is None:
                return False
            self._write(entries)
            return True

    def _write(self, entries: dict[str, IndexEntry]) -> None:
        manifests = [entry.descriptor.encode() for _, entry in sorted(entries.items())]
        files.write_json(self._path, {"schemaVersion": 2, "mediaType": media.OCI_INDEX, "manifests": manifests})

    @contextmanager
    def _locked(self) -> Iterator[None]:
        files.make_directory(self._root)
        descriptor = os.open(os.path.join(self._root, "index.lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)
