"""A service of Podman's of a test's own: own socket, own storage, stopped by pid, nothing of it left."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path

from envkit.host.files import remove_tree

_CONF = """\
[containers]
default_ulimits = ["nofile=4096:4096", "nproc=1024:1024"]
log_driver = "k8s-file"
[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
runtime = "runc"
"""
"""There may be no systemd, and the hard limit of open files may be low."""


class Podman:
    """A running `podman system service` in folder. `podman(...)` runs the command on the same storage.

    It has a mount namespace of its own: Podman mounts its storage now and then, and unmounts it again.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.socket = folder / "podman.sock"
        self._namespace = -1
        (folder / "containers.conf").write_text(_CONF)
        self._log = (folder / "podman.log").open("wb")
        self.process = subprocess.Popen(
            [
                "unshare", "--mount", "--propagation", "slave", *self._command, "system", "service", "--time", "0",
                f"unix://{self.socket}",
            ],
            env=self.environ, stdout=self._log, stderr=self._log, stdin=subprocess.DEVNULL,
        )  # fmt: skip
        deadline = time.monotonic() + 60
        while not self.socket.exists():
            if self.process.poll() is not None or time.monotonic() > deadline:
                log = (folder / "podman.log").read_text(errors="replace")[-3000:]
                self.stop()
                raise RuntimeError(f"podman did not start:\n{log}")
            time.sleep(0.05)
        # Later its first thread may be in a namespace of a container's, where it unpacks files.
        self._namespace = os.open(f"/proc/{self.process.pid}/ns/mnt", os.O_RDONLY)

    @property
    def _command(self) -> list[str]:
        folder = self.folder
        return [
            "podman", "--root", f"{folder}/data", "--runroot", f"{folder}/run", "--tmpdir", f"{folder}/tmp",
            "--network-config-dir", f"{folder}/networks", "--storage-driver", "overlay",
        ]  # fmt: skip

    @property
    def environ(self) -> dict[str, str]:
        """Variables that both the service and the command need."""
        return {**os.environ, "CONTAINERS_CONF": str(self.folder / "containers.conf"), "TMPDIR": str(self.folder)}

    def podman(self, *arguments: str) -> str:
        """The output of `podman ARGUMENTS`; its failure is the test's."""
        inside = ["nsenter", f"--mount=/proc/self/fd/{self._namespace}"]
        done = subprocess.run(
            [*inside, *self._command, *arguments], env=self.environ, capture_output=True, text=True, timeout=120,
            check=False, pass_fds=(self._namespace,),
        )  # fmt: skip
        assert done.returncode == 0, f"podman {' '.join(arguments)}: {done.stderr}"
        return done.stdout

    def stop(self) -> None:
        """End the service and remove what it left."""
        self.process.terminate()
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait(10)
        self._log.close()
        if self._namespace >= 0:
            os.close(self._namespace)
        remove_tree(str(self.folder))
