"""Send an image of the store to a registry, byte for byte as it is here, so that it keeps its digest.

skopeo reads the store's own blobs; how far it has got is read from their positions (proc(5), `fdinfo`). Blobs that the
registry has already are not sent; a push that broke can be repeated.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from envkit.errors import NotFoundError
from envkit.events import Emit, Event, EventKind, ignore
from envkit.host.files import remove_tree
from envkit.image.manifest import Descriptor, decode_manifest
from envkit.image.reference import parse
from envkit.image.registry_errors import from_text
from envkit.image.skopeo import Skopeo, end
from envkit.image.store import Store

_TICK = 0.25  # seconds between two looks at how far it is
_WORDS = 60.0  # seconds for the program's last words


def push(
    store: Store, text: str, *, to: str = "", emit: Emit = ignore, address: str = "",
    environ: Mapping[str, str] | None = None,
) -> str:  # fmt: skip
    """The digest of the image, which the registry has afterwards under its name.

    text: a name of the store; to: the registry's name for it, where that is another. Raises NotFoundError when it is
    not in the store, RegistryError, UnsupportedError.
    """
    environ = os.environ if environ is None else environ
    target = parse(to or text)
    digest = store.resolve(text)
    if digest is None:
        raise NotFoundError("there is no such image in the store", text, "build, load or pull it first")
    with store.session(), Skopeo(target, environ) as skopeo, _directory(store, digest) as source:
        argv = skopeo.argv(
            "copy", "dest-tls-verify", "--preserve-digests", "--quiet", "dir:.",
            f"docker://{target.name}:{target.tag or 'latest'}",
        )  # fmt: skip
        process = skopeo.start(argv, cwd=source, stdout=subprocess.DEVNULL)
        try:
            for event in _watch(store, digest, process, address):
                emit(event)
            _, err = process.communicate(timeout=_WORDS)
        finally:
            end(process)
        if process.returncode:
            said = err.decode(errors="replace")
            raise from_text(said, target.familiar, command=argv, returncode=process.returncode)
    return digest


@contextmanager
def _directory(store: Store, digest: str) -> Iterator[str]:
    """The image in skopeo's `dir` form, which takes manifests of every kind as they are: links into the store. Source:
    containers-transports(5)."""
    manifest = decode_manifest(store.read_blob(digest), digest)
    made = store.temporary()
    os.mkdir(made, 0o700)
    try:
        os.symlink(store.blob_path(digest), f"{made}/manifest.json")
        for blob in {item.digest for item in (manifest.config, *manifest.layers)}:
            os.symlink(store.blob_path(blob), f"{made}/{blob[7:]}")
        with open(f"{made}/version", "w", encoding="ascii") as file:
            file.write("Directory Transport Version: 1.1\n")
        yield made
    finally:
        remove_tree(made)


def _watch(store: Store, digest: str, process: subprocess.Popen[bytes], address: str) -> Iterator[Event]:
    """An event whenever a blob has got further, until the program ends."""
    manifest = decode_manifest(store.read_blob(digest), digest)
    blobs = {store.blob_path(blob.digest): (place, blob) for place, blob in enumerate(manifest.layers, 1)}
    told: dict[str, int] = {}
    while process.poll() is None:
        for path, position in _positions(process.pid, blobs):
            if told.get(path, -1) < position:
                told[path] = position
                yield _event(address, blobs[path][1], blobs[path][0], len(manifest.layers), position)
        try:
            process.wait(_TICK)
        except subprocess.TimeoutExpired:
            continue


def _positions(pid: int, blobs: Mapping[str, object]) -> Iterator[tuple[str, int]]:
    """(path, bytes read) of those blobs that the process has open."""
    try:
        names = os.listdir(f"/proc/{pid}/fd")
    except OSError:
        return  # it has just ended
    for name in names:
        try:
            path = os.readlink(f"/proc/{pid}/fd/{name}")
            if path in blobs:
                with open(f"/proc/{pid}/fdinfo/{name}", encoding="ascii") as file:
                    yield path, int(file.readline().split()[1])
        except OSError:
            continue  # closed meanwhile


def _event(address: str, blob: Descriptor, place: int, places: int, position: int) -> Event:
    message = f"layer {place}/{places} {blob.digest[7:19]}: {100 * position // max(1, blob.size)} % is sent"
    data = {
        "blob": blob.digest, "layer": place, "layers": places, "bytes": position, "size": blob.size,
        "status": "sending", "output": message,
    }  # fmt: skip
    return Event(EventKind.PROGRESS, address, "push", message, data)
