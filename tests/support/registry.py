"""A registry of a test's own on loopback (Debian: docker-registry), plain, with TLS, or with a password; and a slow,
breakable wire to one."""

from __future__ import annotations

import base64
import io
import json
import os
import socket
import subprocess
import threading
import time
from contextlib import suppress
from pathlib import Path

import pytest

from envkit.image.pull import pull
from envkit.image.registry_errors import RegistryError
from envkit.image.store import Store
from tests.support.layers import first_layer, second_layer

USER, PASSWORD = "aladdin", "open sesame"
# bcrypt of PASSWORD, cost 4
_HTPASSWD = f"{USER}:$2b$04$abcdefghijklmnopqrstuu/LVz6MZlItEy42I2juLihZ66HnQx/cy\n"
AUTH = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


class Registry:
    """A running registry in folder. host: HOST:PORT of its references."""

    def __init__(self, folder: Path, *, tls: bool = False, password: bool = False) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.tls = folder, tls
        self.host = f"127.0.0.1:{free_port()}"
        settings: dict[str, object] = {
            "version": "0.1",
            "storage": {"filesystem": {"rootdirectory": str(folder / "data")}, "delete": {"enabled": True}},
        }
        http: dict[str, object] = {"addr": self.host, "secret": "tests"}
        if tls:
            self._make_certificates()
            http["tls"] = {"certificate": str(folder / "server.crt"), "key": str(folder / "server.key")}
        if password:
            (folder / "htpasswd").write_text(_HTPASSWD)
            settings["auth"] = {"htpasswd": {"realm": "tests", "path": str(folder / "htpasswd")}}
        (folder / "config.yml").write_text(json.dumps({**settings, "http": http}))  # JSON is YAML
        self.start()

    def start(self) -> None:
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                ["docker-registry", "serve", str(self.folder / "config.yml")], stdin=subprocess.DEVNULL, stdout=log,
                stderr=log,
            )  # fmt: skip
        deadline = time.monotonic() + 20
        host, _, port = self.host.partition(":")
        while time.monotonic() < deadline and self.process.poll() is None:
            with suppress(OSError), socket.create_connection((host, int(port)), 1):
                return
            time.sleep(0.02)
        self.stop()
        raise RuntimeError(f"docker-registry did not start:\n{self.log[-2000:]}")

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(10)

    @property
    def log(self) -> str:
        return (self.folder / "log").read_text(errors="replace")

    def blob(self, digest: str) -> Path:
        """The file that a blob is kept in."""
        digits = digest.removeprefix("sha256:")
        return self.folder / "data/docker/registry/v2/blobs/sha256" / digits[:2] / digits / "data"

    def trust(self, home: Path) -> None:
        """Let the user whose home directory it is trust this registry's authority."""
        place = home / ".config/containers/certs.d" / self.host
        place.mkdir(parents=True)
        (place / "ca.crt").write_bytes((self.folder / "ca.crt").read_bytes())

    def _make_certificates(self) -> None:
        self._openssl("req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout ca.key -out ca.crt -days 2 "
                      "-subj /CN=tests")  # fmt: skip
        self._openssl("req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout server.key -out server.csr "
                      "-subj /CN=registry")  # fmt: skip
        (self.folder / "san").write_text("subjectAltName=IP:127.0.0.1,DNS:localhost\n")
        self._openssl("x509 -req -in server.csr -CA ca.crt -CAkey ca.key -CAcreateserial -out server.crt -days 2 "
                      "-extfile san")  # fmt: skip

    def _openssl(self, words: str) -> None:
        subprocess.run(["openssl", *words.split()], cwd=self.folder, capture_output=True, check=True, timeout=30)


class Wire:
    """A TCP port that leads to another one at so many bytes a second; cut_after: break the first connection that has
    brought more bytes, once."""

    def __init__(self, target: str, *, rate: int = 0, cut_after: int = 0) -> None:
        self._target, self._rate, self._cut_after = target, rate, cut_after
        self._server = socket.create_server(("127.0.0.1", 0))
        self.host = f"127.0.0.1:{self._server.getsockname()[1]}"
        self.brought = 0
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        with suppress(OSError):
            self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                near, _ = self._server.accept()
                threading.Thread(target=self._connect, args=(near,), daemon=True).start()

    def _connect(self, near: socket.socket) -> None:
        host, _, port = self._target.partition(":")
        with near, socket.create_connection((host, int(port)), 60) as far:
            there = threading.Thread(target=self._copy, args=(near, far, False), daemon=True)
            there.start()
            self._copy(far, near, True)
            there.join()

    def _copy(self, source: socket.socket, to: socket.socket, slow: bool) -> None:
        brought = 0
        with suppress(OSError):
            while data := source.recv(16384):
                to.sendall(data)
                if slow:
                    brought += len(data)
                    self.brought += len(data)
                    if self._rate:
                        time.sleep(len(data) / self._rate)
                    if self._cut_after and brought > self._cut_after:
                        self._cut_after = 0
                        break
        for each in (source, to):
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)


def skopeo(*words: str) -> str:
    """What the program says, as a foreign judge."""
    done = subprocess.run(
        ["skopeo", *words], capture_output=True, text=True, timeout=60, check=False, env={**os.environ, "HOME": "/"}
    )  # fmt: skip
    assert done.returncode == 0, f"{words}: {done.stderr}"
    return done.stdout


def image(store: Store, reference: str, *more: bytes) -> str:
    """An image of two small layers and one of each of more; its digest."""
    layers = []
    for data in (first_layer(), second_layer(), *more):
        layers.append(store.add_layer(io.BytesIO(data), layers))
    return store.add_image({"config": {"Cmd": ["/bin/sh"]}}, layers, reference)


def refused(kind: str, store: Store, reference: str, environ: dict[str, str] | None = None) -> RegistryError:
    """The error of a pull that must fail in this way, with a hint and nothing left in the store."""
    with pytest.raises(RegistryError) as caught:
        pull(store, reference, environ=environ)
    assert caught.value.kind == kind, caught.value
    assert caught.value.hint
    assert store.resolve(reference) is None
    return caught.value
