"""Where a runtime tells the pid of a process that it has started in a container."""

from __future__ import annotations

import os
import shutil
import tempfile

from envkit.backend.embedded.runtime import Runtime


class PidFile:
    """A file of memory for crun. runc writes a file beside it and renames that (1.1.5, utils_linux.go), which needs a
    directory."""

    def __init__(self, runtime: Runtime) -> None:
        self._directory = ""
        if runtime.name == "crun":
            self.descriptor = os.memfd_create("pid")
            self.path = f"/proc/self/fd/{self.descriptor}"
        else:
            self._directory = tempfile.mkdtemp(prefix="envkit-pid-")
            self.descriptor = os.open(self._directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
            self.path = f"{self._directory}/pid"

    def read(self) -> int:
        """The pid in our count; 0 as long as the process has not begun."""
        if not self._directory:
            return int(os.pread(self.descriptor, 32, 0) or 0)
        try:
            with open(self.path, "rb") as file:
                return int(file.read() or 0)
        except FileNotFoundError:
            return 0

    def close(self) -> None:
        os.close(self.descriptor)
        if self._directory:
            shutil.rmtree(self._directory, ignore_errors=True)
