"""Every look at the disk that loading takes goes through one object, so that a cache can ask the same questions again.

Standard library only.
"""

from __future__ import annotations

import os

from envkit.digest import sha256

ABSENT = "absent"


class Sources:
    """files: path -> digest of the content that was read, or ABSENT; found: path -> "file", "directory" or ABSENT,
    for paths that were only looked for. Paths are absolute. lasting: False when something was read that can change
    without a change here (a Git branch)."""

    def __init__(self) -> None:
        self.files: dict[str, str] = {}
        self.found: dict[str, str] = {}
        self.lasting = True

    def read(self, path: str) -> bytes:
        """The content of a file. Raises OSError."""
        try:
            with open(path, "rb") as file:
                content = file.read()
        except OSError:
            self.files[path] = ABSENT
            raise
        self.files[path] = sha256(content)
        return content

    def look(self, path: str) -> str:
        """file, directory or ABSENT."""
        kind = "directory" if os.path.isdir(path) else "file" if os.path.exists(path) else ABSENT
        self.found[path] = kind
        return kind

    def is_file(self, path: str) -> bool:
        return self.look(path) == "file"
