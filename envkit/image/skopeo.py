"""skopeo: its flags, and its image proxy, which streams the blobs of an image.

Sources: skopeo(1), skopeo-inspect(1), skopeo-copy(1), skopeo-experimental-image-proxy(1): one JSON message a packet on
a SOCK_SEQPACKET socket pair; a blob comes through a pipe whose end is told by FinishPipe alone.
"""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import subprocess
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from envkit.host.process import require
from envkit.image.credentials import authfile
from envkit.image.reach import check, is_loopback, policy_exists
from envkit.image.reference import Reference
from envkit.image.registries import Registries
from envkit.image.registry_errors import RegistryError, from_text

STALL = 60.0  # seconds without a byte or an answer after which a transfer counts as broken
_PACKET = 1 << 16


_live: set[subprocess.Popen[bytes]] = set()
_given_up = threading.Event()


def give_up() -> None:
    """End every transfer of this process at once, and let none begin (the second Ctrl-C)."""
    _given_up.set()
    for process in list(_live):
        kill(process)


class Skopeo:
    """The program, as it is to be called for one reference.

    overrides: the flags that choose another platform are not used: platforms are chosen here.
    """

    def __init__(self, reference: Reference, environ: Mapping[str, str], registries: Registries | None = None) -> None:
        self.reference = reference
        self.environ = dict(environ)
        self.registries = registries or Registries.load(environ)
        self.endpoints = self.registries.endpoints(reference)
        self._auth = authfile({reference.domain, *(item.host for item in self.endpoints)}, environ)

    def __enter__(self) -> Skopeo:
        """Raises UnsupportedError where skopeo is missing, RegistryError when no server can be reached."""
        require("skopeo")
        if self.registries.is_blocked(self.reference):
            raise RegistryError("blocked", self.reference.familiar)
        check(self.endpoints, self.reference.familiar, self.environ)
        self._path, self._descriptor = self._auth.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self._auth.__exit__(None, None, None)

    def argv(self, command: str, tls: str, *words: str) -> list[str]:
        """The command line. tls: `tls-verify`, or how the command calls that flag for this side."""
        argv = ["skopeo"]
        if self.registries.file:
            argv += ["--registries-conf", self.registries.file]
        if not policy_exists(self.environ):
            argv.append("--insecure-policy")
        argv += [command, "--authfile", self._path]
        if is_loopback(self.endpoints[-1].host) and not self.registries.mentions(self.reference):
            argv.append(f"--{tls}=false")
        return [*argv, *words]

    def manifest(self, suffix: str = "") -> bytes:
        """The manifest or index as the registry has it. suffix: another tag or digest than the reference's. Raises
        RegistryError."""
        name = f"docker://{self.reference.name}{suffix or self.suffix}"
        argv = self.argv("inspect", "tls-verify", "--raw", name)
        process = self.start(argv, stdout=subprocess.PIPE)
        try:
            out, err = process.communicate(timeout=STALL)
        except subprocess.TimeoutExpired:
            raise RegistryError("unreachable", f"{self.reference.familiar}: no answer within {STALL:g} s") from None
        finally:
            end(process)
        if process.returncode:
            text = err.decode(errors="replace")
            raise from_text(text, self.reference.familiar, command=argv, returncode=process.returncode)
        return out

    @property
    def suffix(self) -> str:
        """`:tag`, or `@digest` where both are written: skopeo takes one of the two."""
        return f"@{self.reference.digest}" if self.reference.digest else f":{self.reference.tag}"

    def start(self, argv: Sequence[str], **channels: Any) -> subprocess.Popen[bytes]:
        """Start argv in a process group of its own; extra: further file descriptors."""
        extra = channels.pop("extra", ())
        if _given_up.is_set():
            raise RegistryError("interrupted", f"{self.reference.familiar}: it was given up")
        process = subprocess.Popen(
            [require(argv[0]), *argv[1:]], stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, env=self.environ,
            pass_fds=(self._descriptor, *extra), process_group=0, **channels,
        )  # fmt: skip
        _live.add(process)
        return process


class Proxy:
    """One image at its registry, open for reading blobs one after the other; used by one thread."""

    def __init__(self, skopeo: Skopeo, digest: str) -> None:
        self._what = skopeo.reference.familiar
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._socket.settimeout(STALL)
        with theirs:
            argv = skopeo.argv("experimental-image-proxy", "tls-verify", "--sockfd", str(theirs.fileno()))
            self._process = skopeo.start(argv, extra=(theirs.fileno(),), stdout=subprocess.DEVNULL)
        try:
            self._call("Initialize")
            self._image, _ = self._call("OpenImage", f"docker://{skopeo.reference.name}@{digest}")
        except BaseException:
            self.close()
            raise

    def blob(self, digest: str, size: int) -> BlobReader:
        """The content of a blob; its reader is closed before the next one is asked for. Raises RegistryError."""
        (pipe_id, pipe), descriptors = self._call("GetBlob", self._image, digest, size, pipe=True)
        self._send("FinishPipe", [pipe_id])
        assert pipe == len(descriptors) == 1
        return BlobReader(descriptors[0], self._finish, f"{self._what}: {digest[7:19]}")

    def _finish(self) -> None:
        self._answer(pipe=False)

    def _call(self, method: str, *words: Any, pipe: bool = False) -> tuple[Any, list[int]]:
        self._send(method, list(words))
        return self._answer(pipe)

    def _send(self, method: str, words: list[Any]) -> None:
        try:
            self._socket.send(json.dumps({"method": method, "args": words}).encode())
        except OSError as error:
            raise self._broken(str(error)) from error

    def _answer(self, pipe: bool) -> tuple[Any, list[int]]:
        try:
            data, descriptors, _, _ = socket.recv_fds(self._socket, _PACKET, 1)
        except OSError as error:
            raise self._broken(str(error) or f"no answer within {STALL:g} s") from error
        if not data:
            raise self._broken("skopeo has ended")
        answer = json.loads(data)
        if not answer.get("success"):
            raise from_text(str(answer.get("error")), self._what)
        return ((answer["pipeid"], len(descriptors)) if pipe else answer.get("value")), descriptors

    def _broken(self, why: str) -> RegistryError:
        self.abort()
        stderr = self._process.stderr
        said = stderr.read().decode(errors="replace") if stderr and not stderr.closed else ""
        self.close()
        if said.strip():
            return from_text(said, self._what)
        return RegistryError("interrupted", f"{self._what}: {why}")

    def abort(self) -> None:
        """End the program, from any thread: whoever reads from it gets an error."""
        kill(self._process)

    def close(self) -> None:
        """End the program and give everything back; harmless to repeat."""
        self._socket.close()
        end(self._process)


class BlobReader:
    """A file to read a blob from. The end of the data is only believed once the sender has confirmed it."""

    def __init__(self, descriptor: int, finish: Callable[[], None], what: str) -> None:
        self._descriptor, self._finish, self._what = descriptor, finish, what
        self._poll = select.poll()
        self._poll.register(descriptor, select.POLLIN)

    def read(self, size: int, /) -> bytes:
        if not self._poll.poll(STALL * 1000):
            raise RegistryError("interrupted", f"{self._what}: nothing came for {STALL:g} s")
        data = os.read(self._descriptor, size)
        if not data:
            self._finish()
        return data

    def close(self) -> None:
        os.close(self._descriptor)


def kill(process: subprocess.Popen[bytes]) -> None:
    """Kill a program with its children and wait for it."""
    if process.poll() is None:
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            process.kill()
        process.wait()


def end(process: subprocess.Popen[bytes]) -> None:
    """kill, and close the ends of its pipes that are here."""
    kill(process)
    _live.discard(process)
    for pipe in (process.stdout, process.stderr):
        if pipe is not None:
            pipe.close()
