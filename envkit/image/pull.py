"""Bring an image from a registry into the store.

Manifest and blobs are kept as the registry has them, so the image keeps its digest. A blob that is in the store already
is not fetched; each one is checked against its digest and fsynced before its name appears, so a pull that is cut off
at any point goes on where it was. The name is set last. Layers are unpacked while those above them are still on their
way. Only what is harmless to repeat (reading) is tried again.
"""

from __future__ import annotations

import errno
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from io import BytesIO
from typing import NamedTuple, TypeVar

from envkit.digest import sha256
from envkit.errors import HostError
from envkit.events import Emit, Event, EventKind, ignore
from envkit.host.lock import Lock
from envkit.image.adopt import adopt
from envkit.image.layers import architecture
from envkit.image.manifest import (
    MAXIMUM_SIZE,
    ORIGIN,
    PULLED,
    Descriptor,
    LayerInfo,
    Manifest,
    decode_descriptor,
    decode_json,
    decode_manifest,
)  # fmt: skip
from envkit.image.platform import Platform, choose, fits, parse_platform
from envkit.image.reference import Reference
from envkit.image.registries import Registries
from envkit.image.registry_errors import RegistryError
from envkit.image.skopeo import BlobReader, Proxy, Skopeo
from envkit.image.store import Store

WORKERS = 3  # blobs of one image at once, as with Docker
_ATTEMPTS = 3
_PAUSE = 0.5  # seconds before the second attempt; doubled for each one more
_TICK = 0.25  # seconds between two events about the bytes of one blob
_NESTING = 4
Result = TypeVar("Result")


class Remote(NamedTuple):
    """What a registry has under a name now. reference: the full one that was found; digest: of what the name means
    there (an index, perhaps)."""

    reference: Reference
    digest: str
    data: bytes


def look(text: str, environ: Mapping[str, str] | None = None) -> Remote:
    """Ask for the manifest that text means; nothing is written. Raises RegistryError, UnsupportedError."""
    environ = os.environ if environ is None else environ
    registries = Registries.load(environ)
    candidates = registries.candidates(text)
    for place, reference in enumerate(candidates):
        try:
            with Skopeo(reference, environ, registries) as skopeo:
                data = _repeated(skopeo.manifest)
        except RegistryError as error:
            if error.kind != "not-found" or place == len(candidates) - 1:
                raise
            continue
        digest = sha256(data)
        _check(data, reference.digest, reference.familiar)
        return Remote(reference, digest, data)
    raise AssertionError("a name has at least one candidate")


def pull(
    store: Store, text: str, *, emit: Emit = ignore, address: str = "", platform: str = "", pinned: str = "",
    environ: Mapping[str, str] | None = None, workers: int = WORKERS,
) -> str:  # fmt: skip
    """Let text mean in the store what its registry has; returns the manifest's digest.

    platform: `linux/arm64`, "" for this machine's. pinned: the digest to get whatever the tag means by now. Raises
    RegistryError, ImageError, HostError (a full disk), UnsupportedError (no skopeo); then the store's names are as they
    were, and the blobs that have arrived stay for the next attempt.
    """
    environ = dict(os.environ if environ is None else environ)
    wanted = parse_platform(platform, architecture())
    asked = text.partition("@")[0] + f"@{pinned}" if pinned else text
    try:
        remote = look(asked, environ)
        with store.session():
            work = _Pull(store, remote, wanted, emit, address, environ, workers)
            digest = _unchanged(store, text, remote, wanted) or work.run()
            facts = {PULLED: f"{time.time():.0f}", ORIGIN: remote.digest}
            store.tag(text, digest, facts=facts)
            if not pinned and str(remote.reference) not in store.names():
                store.tag(str(remote.reference), digest, facts=facts)  # a short name's real one
    except (OSError, HostError) as error:
        cause = error if isinstance(error, OSError) else error.__cause__
        if isinstance(cause, OSError) and cause.errno in (errno.ENOSPC, errno.EDQUOT):
            hint = f"free some space, for instance by `envkit gc`; the store is {store.root}"
            raise HostError("there is no space left for the image", f"{text}: {cause.strerror}", hint) from error
        raise
    return digest


def _unchanged(store: Store, text: str, remote: Remote, wanted: Platform) -> str:
    """The image that text means already, if it is the one that the registry has; "" otherwise."""
    entry = store.entry(text)
    if entry is None or remote.digest not in (entry.origin, entry.digest):
        return ""
    image = store.image(entry.digest)
    config = image.config
    found = Platform("linux", str(config.get("architecture") or ""), str(config.get("variant") or ""))
    whole = all(os.path.exists(store.blob_path(layer.digest)) for layer in image.layers)
    if not fits(found, wanted) or not whole:
        return ""
    store.ensure_trees(image)
    return entry.digest


class _Pull:
    def __init__(
        self, store: Store, remote: Remote, wanted: Platform, emit: Emit, address: str, environ: Mapping[str, str],
        workers: int,
    ) -> None:  # fmt: skip
        self._store, self._remote, self._wanted = store, remote, wanted
        self._emit, self._address, self._environ, self._workers = emit, address, environ, max(1, workers)
        self._what = remote.reference.familiar
        self._open: list[Proxy] = []
        self._mine = threading.local()
        self._ended = threading.Event()

    def run(self) -> str:
        """The digest of the image, complete and unpacked, without a name yet."""
        with Skopeo(self._remote.reference, self._environ) as self._skopeo:
            descriptor, data = self._manifest()
            manifest = decode_manifest(data, f"{self._what}: {descriptor}")
            return self._image(descriptor, manifest, data)

    def _manifest(self) -> tuple[str, bytes]:
        """(digest, content) of the manifest for the platform, through indexes."""
        digest, data = self._remote.digest, self._remote.data
        for _ in range(_NESTING):
            value = decode_json(data, f"{self._what}: {digest}")
            if "manifests" not in value:
                return digest, data
            items = [item for item in value["manifests"] if isinstance(item, dict)]
            digest = decode_descriptor(choose(items, self._wanted, self._what), f"{self._what}: {digest}").digest
            if os.path.exists(self._store.blob_path(digest)):
                data = self._store.read_blob(digest)
            else:
                data = _repeated(partial(self._skopeo.manifest, f"@{digest}"))
                _check(data, digest, self._what)
        raise RegistryError("unsupported", f"{self._what}: its index nests too deeply")

    def _image(self, digest: str, manifest: Manifest, data: bytes) -> str:
        if manifest.config.size > MAXIMUM_SIZE:
            raise RegistryError("unsupported", f"{self._what}: a configuration of {manifest.config.size} bytes")
        layers = list({layer.digest: layer for layer in manifest.layers}.values())
        pool = ThreadPoolExecutor(self._workers, "pull")
        try:
            config = pool.submit(self._blob, digest, manifest.config, 0, len(layers))
            coming: dict[str, Future[None]] = {
                layer.digest: pool.submit(self._blob, digest, layer, place, len(layers))
                for place, layer in enumerate(layers, 1)
            }
            config.result()

            def ready(layer: LayerInfo) -> None:
                coming[layer.digest].result()

            found = self._store.read_blob(manifest.config.digest)
            return adopt(
                self._store, manifest, found, data, self._what, self._emit, action="pull", address=self._address,
                ready=ready,
            )  # fmt: skip
        finally:
            self._ended.set()
            pool.shutdown(wait=False, cancel_futures=True)
            for proxy in list(self._open):
                proxy.abort()
            pool.shutdown(wait=True)
            for proxy in self._open:
                proxy.close()

    def _blob(self, image: str, blob: Descriptor, place: int, places: int) -> None:
        """Afterwards the blob is in the store. Two that want the same one do not both fetch it."""
        path = self._store.blob_path(blob.digest)
        show = _Show(self._emit, self._address, blob, place, places)
        if os.path.exists(path):
            show.status("here")
            return
        with self._alone(blob):
            if os.path.exists(path):
                show.status("here")
                return
            if not blob.size:
                self._store.put_blob(BytesIO(b""), blob.media_type, expected=blob.digest, size=0)
            else:
                _repeated(lambda: self._fetch(image, blob, show), self._ended)
        show.status("fetched")

    @contextmanager
    def _alone(self, blob: Descriptor) -> Iterator[None]:
        lock_path = os.path.join(self._store.root, "tmp", f"fetch-{blob.digest[7:]}.lock")
        with Lock(lock_path, {"purpose": f"fetching {blob.digest}"}) as lock:
            yield
            if lock.is_current():
                os.unlink(lock_path)  # whoever waits for it finds the blob

    def _fetch(self, image: str, blob: Descriptor, show: _Show) -> None:
        proxy: Proxy | None = getattr(self._mine, "proxy", None)
        if proxy is None:
            self._mine.proxy = proxy = Proxy(self._skopeo, image)
            self._open.append(proxy)
        try:
            reader = proxy.blob(blob.digest, blob.size)
            try:
                self._store.put_blob(
                    _Counted(reader, show, self._ended), blob.media_type, expected=blob.digest, size=blob.size
                )
            finally:
                reader.close()
        except BaseException:
            proxy.close()
            self._mine.proxy = None
            raise


class _Counted:
    """A reader that tells how far it is, and ends when the pull has."""

    def __init__(self, source: BlobReader, show: _Show, ended: threading.Event) -> None:
        self._source, self._show, self._ended = source, show, ended

    def read(self, size: int, /) -> bytes:
        if self._ended.is_set():
            raise RegistryError("interrupted", "the pull was given up")
        data = self._source.read(size)
        self._show.more(len(data))
        return data


class _Show:
    """The events of one blob. data: blob, layer (0: the configuration), layers, bytes, size, status."""

    def __init__(self, emit: Emit, address: str, blob: Descriptor, place: int, places: int) -> None:
        self._emit, self._address, self._blob = emit, address, blob
        self._place, self._places = place, places
        self._bytes, self._next = 0, 0.0

    def more(self, count: int) -> None:
        self._bytes += count
        if time.monotonic() >= self._next:
            self._next = time.monotonic() + _TICK
            self._say("fetching", f"{_size(self._bytes)} of {_size(self._blob.size)}")

    def status(self, status: str) -> None:
        self._bytes = self._blob.size
        self._say(status, f"{_size(self._blob.size)} {'is here already' if status == 'here' else 'is here'}")

    def _say(self, status: str, text: str) -> None:
        what = f"layer {self._place}/{self._places}" if self._place else "configuration"
        message = f"{what} {self._blob.digest[7:19]}: {text}"
        data = {
            "blob": self._blob.digest, "layer": self._place, "layers": self._places, "bytes": self._bytes,
            "size": self._blob.size, "status": status, "output": message,
        }  # fmt: skip
        self._emit(Event(EventKind.PROGRESS, self._address, "pull", message, data))


def _repeated(work: Callable[[], Result], ended: threading.Event | None = None) -> Result:
    """work(), again where the way to the registry broke or it failed for the moment."""
    for attempt in range(_ATTEMPTS):
        try:
            return work()
        except RegistryError as error:
            if not error.transient or attempt == _ATTEMPTS - 1 or (ended and ended.is_set()):
                raise
        time.sleep(_PAUSE * 2**attempt)
    raise AssertionError("the last attempt returns or raises")


def _check(data: bytes, digest: str, what: str) -> None:
    if digest and sha256(data) != digest:
        raise RegistryError("damaged", f"{what}: asked for {digest}, got {sha256(data)}")


def _size(count: float) -> str:
    if count < 1000:
        return f"{count:.0f} B"
    for unit in ("kB", "MB", "GB"):
        count /= 1000
        if count < 1000 or unit == "GB":
            break
    return f"{count:.1f} {unit}"
