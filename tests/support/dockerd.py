"""A dockerd of a test's own: own socket, own data, stopped by pid, nothing of it left."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path

from envkit.host import mounts
from envkit.host.files import remove_tree


class Dockerd:
    """A running daemon in folder, with further arguments. `docker(...)` runs the client against it."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.socket = folder / "docker.sock"
        self._log = (folder / "dockerd.log").open("wb")
        self._arguments = arguments
        self._start()

    def _start(self) -> None:
        folder = self.folder
        self.process = subprocess.Popen(
            [
                "dockerd", "--data-root", str(folder / "data"), "--exec-root", str(folder / "exec"),
                "--pidfile", str(folder / "dockerd.pid"), "--host", f"unix://{self.socket}", "--bridge=none",
                "--iptables=false", "--ip6tables=false", *self._arguments,
            ],
            stdout=self._log, stderr=self._log, stdin=subprocess.DEVNULL,
        )  # fmt: skip
        deadline = time.monotonic() + 60
        while self._client("info").returncode:
            if self.process.poll() is not None or time.monotonic() > deadline:
                log = (folder / "dockerd.log").read_text(errors="replace")[-3000:]
                self.stop()
                raise RuntimeError(f"dockerd did not start:\n{log}")
            time.sleep(0.1)

    def restart(self) -> None:
        """End the daemon, which ends its containers, and start it again."""
        self.process.terminate()
        self.process.wait(60)
        self._start()

    @property
    def environ(self) -> dict[str, str]:
        """Variables that lead a client to it."""
        return {**os.environ, "DOCKER_HOST": f"unix://{self.socket}", "DOCKER_CONFIG": str(self.folder / "client")}

    def docker(self, *arguments: str) -> str:
        """The output of `docker ARGUMENTS`; its failure is the test's."""
        done = self._client(*arguments)
        assert done.returncode == 0, f"docker {' '.join(arguments)}: {done.stderr}"
        return done.stdout

    def _client(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = ["docker", *arguments]
        return subprocess.run(command, env=self.environ, capture_output=True, text=True, timeout=120, check=False)

    def stop(self) -> None:
        """End the daemon and its containerd, unmount and remove what it left."""
        self.process.terminate()
        try:
            self.process.wait(60)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait(10)
        self._log.close()
        for mount in reversed(mounts.mount_table()):
            if mount.target.startswith(f"{self.folder}/"):
                mounts.unmount(mount.target)
        remove_tree(str(self.folder))
