"""The image store: a content-addressed OCI image layout, and every layer unpacked for overlayfs.

    images/
        oci-layout, index.json      an OCI image layout (image-spec image-layout.md): foreign tools can read it
        blobs/sha256/HEX            manifests, configurations, layers; written once, fsynced, never changed
        trees/HEX/                  the layer whose ChainID is HEX, unpacked on the layers below it
        trees/HEX.boot              the boot in which the tree was made, until it is known to be on the disk
        tmp/                        what is being written; anybody's leftovers, removed by gc
        lock                        shared by who writes or uses images, exclusive for gc
        index.lock, trees.lock      the index, or a tree, is being replaced

A tree appears whole, by rename. It is not fsynced file by file: until `settle` has run, a tree from an earlier boot is
taken as lost in a power cut and made again from its blob. Looking up an image reads three small files and imports
neither tar nor compression.
"""

from __future__ import annotations

import fcntl
import os

from envkit.digest import is_digest
from envkit.errors import ConflictError, ImageError, NotFoundError
from envkit.host import files, leftovers
from envkit.host.steps import step
from envkit.image import media
from envkit.image.index import Index
from envkit.image.limits import Limits
from envkit.image.manifest import Descriptor, Manifest, decode_config, decode_manifest, layer_infos
from envkit.lean import contextmanager, hashlib
from envkit.values import value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from typing import Any

    from envkit.host.home import Home
    from envkit.host.idmap import IdMap
    from envkit.image.index import IndexEntry
    from envkit.image.manifest import LayerInfo
    from envkit.image.tar import Source

_CHUNK = 1 << 20


@value
class StoredImage:
    """An image of the store.

    digest: of the manifest. references: full text forms. config: the whole OCI image configuration; what a process is
    started with lies below its key `config` (Cmd, Entrypoint, Env, …). layers and trees: bottom first; trees are
    absolute directories, which exist once `Store.ensure_trees` has been called for the image.
    """

    digest: str
    references: tuple[str, ...]
    config: dict[str, Any]
    layers: tuple[LayerInfo, ...]
    trees: tuple[str, ...]
    config_digest: str = ""

    @property
    def size(self) -> int:
        """Bytes of its layers' blobs."""
        return sum(layer.size for layer in self.layers)


class Store:
    """The store of one installation. Safe for any number of processes and threads at once."""

    def __init__(self, home: Home, ids: IdMap | None = None, limits: Limits | None = None) -> None:
        self.home = home
        self.root = home.images
        self.limits = limits or Limits.from_environ()
        self._ids = ids
        self._index = Index(self.root)

    # -- names

    def resolve(self, reference: str) -> str | None:
        """The manifest digest that a reference, a digest or a digest's first 12+ digits mean; None when absent."""
        if is_digest(reference):
            return reference if os.path.exists(self.blob_path(reference)) else self._by_origin(reference)
        entries = self._index.read()
        if found := entries.get(reference) or entries.get(_ordinary(reference)):
            return found.digest
        name = _full(reference)
        if found := entries.get(name):
            return found.digest
        if "@" in name:
            return self.resolve(name.rpartition("@")[2])
        return _by_prefix(reference, [entry.digest for entry in entries.values()])

    def _by_origin(self, digest: str) -> str | None:
        """The image that was taken out of the index of that digest."""
        return next((entry.digest for entry in self._index.read().values() if entry.origin == digest), None)

    def image(self, reference: str) -> StoredImage:
        """The image that a reference or digest means. Raises NotFoundError with a hint."""
        digest = self.resolve(reference)
        if digest is None:
            raise NotFoundError(
                "there is no such image in the store", reference,
                "see `envkit image ls`; bring it by `envkit image load FILE`, `envkit pull` or an `images:` section",
            )  # fmt: skip
        return self._image(digest)

    def _image(self, digest: str) -> StoredImage:
        entries = self._index.read()
        own = {name: entry for name, entry in entries.items() if entry.digest == digest}
        manifest = decode_manifest(self.read_blob(digest), digest)
        config = decode_config(self.read_blob(manifest.config.digest), manifest.config.digest)
        sources = next((entry.sources for entry in own.values() if entry.sources), ())
        layers = layer_infos(manifest, config, digest, sources)
        trees = tuple(self.tree_path(layer) for layer in layers)
        return StoredImage(digest, tuple(sorted(own.keys() - {digest})), config, layers, trees, manifest.config.digest)

    def names(self) -> dict[str, str]:
        """Every reference and what it means; an image kept without a name stands under its digest."""
        return {name: entry.digest for name, entry in self._index.read().items()}

    def list(self) -> list[StoredImage]:
        """Every image, by reference; those without one come last."""
        digests = dict.fromkeys(entry.digest for _, entry in sorted(self._index.read().items()))
        return [self._image(digest) for digest in digests]

    def tag(
        self, reference: str, digest: str, sources: Sequence[str] = (), facts: Mapping[str, str] | None = None
    ) -> None:
        """Let reference mean the stored manifest digest. Raises NotFoundError, InvalidReferenceError.

        A digest as its own reference keeps an image that has no name. facts: annotations of the index's entry.
        """
        from envkit.image.reference import normalise

        name = reference if reference == digest else normalise(reference)
        path = self.blob_path(digest)
        if not os.path.exists(path):
            raise NotFoundError("there is no such manifest in the store", digest)
        media_type = decode_manifest(self.read_blob(digest), digest).media_type
        self.prepare()
        self._index.put(name, Descriptor(media_type, digest, os.path.getsize(path)), sources, facts)

    def entry(self, reference: str) -> IndexEntry | None:
        """What the index keeps of a reference; None when it is unknown."""
        entries = self._index.read()
        return entries.get(reference) or entries.get(_full(reference))

    def untag(self, reference: str) -> bool:
        """Forget a reference; its content stays until gc. Returns whether it was there."""
        from envkit.image.reference import normalise

        return self._index.delete(reference if is_digest(reference) else normalise(reference))

    # -- blobs

    def blob_path(self, digest: str) -> str:
        """Where the blob is, or would be. Raises ValueError for a malformed digest."""
        if not is_digest(digest):
            raise ValueError(f"not a digest: {digest!r}")
        return os.path.join(self.root, "blobs/sha256", digest[7:])

    def read_blob(self, digest: str) -> bytes:
        """A small blob's content. Raises NotFoundError."""
        try:
            with open(self.blob_path(digest), "rb") as file:
                return file.read()
        except FileNotFoundError:
            raise NotFoundError("a blob is missing from the store", digest, "load or build the image again") from None

    def put_blob(
        self, source: Source, media_type: str = "application/octet-stream", *, expected: str = "", size: int = -1
    ) -> Descriptor:
        """Store everything that source gives; afterwards the blob is there, durable, whoever wrote it.

        expected, size: what it must be, else ImageError and nothing is stored.
        """
        self.prepare()
        temporary = self.temporary()
        digest, length = hashlib.sha256(), 0
        try:
            with open(temporary, "xb", buffering=0) as file:
                while data := source.read(_CHUNK):
                    digest.update(data)
                    length += len(data)
                    view = memoryview(data)
                    while view:
                        view = view[file.write(view) :]
                found = "sha256:" + digest.hexdigest()
                if (expected and found != expected) or size not in (-1, length):
                    raise ImageError(
                        "a blob is not what its descriptor says",
                        f"expected {expected or found} of {size} bytes, got {found} of {length}",
                        "the archive or the transfer is damaged; get it again",
                    )
                path = self.blob_path(found)
                if not os.path.exists(path):
                    os.fchmod(file.fileno(), 0o644)
                    os.fsync(file.fileno())
                    step("store.put_blob")
                    os.rename(temporary, path)
                    files.fsync_directory(os.path.dirname(path))
        finally:
            _unlink(temporary)
        return Descriptor(media_type, found, length)

    def put_bytes(self, data: bytes, media_type: str) -> Descriptor:
        """put_blob of data in memory."""
        from io import BytesIO

        return self.put_blob(BytesIO(data), media_type)

    # -- layers and images

    def add_layer(
        self, source: Source, below: Sequence[LayerInfo] = (), *, created_by: str = "", origin: str = ""
    ) -> LayerInfo:
        """Store a layer from its tar, compressed or not, and unpack it on the layers below (bottom first).

        origin: the place in the YAML. Raises ImageError when the archive is malformed or hostile; nothing is left then
        but an unreferenced blob.
        """
        from envkit.image.layers import add_layer

        return add_layer(self, source, below, created_by, origin)

    def rebase_layer(self, layer: LayerInfo, below: Sequence[LayerInfo]) -> LayerInfo:
        """The same stored layer on other layers, unpacked there."""
        from envkit.image.layers import rebase_layer

        return rebase_layer(self, layer, below)

    def add_image(self, config: Mapping[str, Any], layers: Sequence[LayerInfo], reference: str = "") -> str:
        """Store an image made of stored layers; returns its manifest digest.

        config: the OCI image configuration without `rootfs`, which is written here, and `history`, which is made of
        the layers' created_by unless given. `created` is 1970 or SOURCE_DATE_EPOCH unless given, so the digest depends
        on the content alone; the layers' sources are kept beside the image, not in it. reference: tag it so.
        """
        from envkit.image.layers import encode_config

        described = self.put_bytes(encode_config(config, layers), media.OCI_CONFIG)
        manifest = Manifest(described, tuple(Descriptor(item.media_type, item.digest, item.size) for item in layers))
        digest = self.put_bytes(manifest.encode(), media.OCI_MANIFEST).digest
        if reference:
            self.tag(reference, digest, [layer.source for layer in layers])
        return digest

    def tree(self, layer: LayerInfo) -> str:
        """The directory of the unpacked layer. Raises NotFoundError when it is not unpacked (see ensure_trees)."""
        path = self.tree_path(layer)
        if not self.is_tree(path):
            raise NotFoundError("a layer is not unpacked", layer.diff_id)
        return path

    def trees(self, layers: Sequence[LayerInfo]) -> tuple[str, ...]:
        """The directories of a whole stack of layers, bottom first, unpacked now where they are missing."""
        found = tuple(self.tree_path(layer) for layer in layers)
        if not all(self.is_tree(path) for path in found):
            from envkit.image.layers import make_tree

            for place, layer in enumerate(layers):
                make_tree(self, layer, layers[:place])
        return found

    def ensure_trees(self, image: StoredImage) -> tuple[str, ...]:
        """Afterwards every tree of image exists; returns them. 2 us per layer when they already do."""
        return self.trees(image.layers)

    def tree_path(self, layer: LayerInfo) -> str:
        return os.path.join(self.root, "trees", layer.chain_id[7:])

    def is_tree(self, path: str) -> bool:
        """Whether the tree is there and trustworthy."""
        if not os.path.isdir(path):
            return False
        try:
            with open(path + ".boot", encoding="ascii") as file:
                boot = file.read()
        except FileNotFoundError:
            return True
        from envkit.host.proc import boot_id

        return boot == boot_id()

    # -- life

    @contextmanager
    def session(self, exclusive: bool = False) -> Iterator[None]:
        """Keep gc away while content is added or looked up for use; exclusive: be gc, and fail if somebody works.

        Whoever stores blobs and layers and tags them later holds a session meanwhile. Raises ConflictError.
        """
        self.prepare()
        descriptor = os.open(os.path.join(self.root, "lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB if exclusive else fcntl.LOCK_SH)
            leftovers.sweep((self.root, f"{self.root}/tmp", f"{self.root}/trees", f"{self.home.cache}/build/layers"))
            yield
        except BlockingIOError as error:
            raise ConflictError(
                "images are being loaded, built or used", self.root, "try again when that has finished"
            ) from error
        finally:
            os.close(descriptor)

    def remove(self, reference: str, *, in_use: Iterable[str] = ()) -> tuple[str, ...]:
        """Forget a name, or with a digest every name of the image; returns the names. Content goes with the next gc.

        in_use: manifest digests that something runs. Raises NotFoundError, and ConflictError when the image's last name
        would go while it is in use.
        """
        image = self.image(reference)
        names = [name for name in image.references if name == _full(reference)] or [*image.references, image.digest]
        if image.digest in set(in_use) and not set(image.references) - set(names):
            raise ConflictError("an image is in use", f"{reference} ({image.digest[7:19]})", "stop what runs it first")
        return tuple(name for name in names if self.untag(name))

    def settle(self) -> None:
        """Wait until every tree is on the disk, so that a power cut cannot take it. May take as long as sync(1)."""
        from envkit.image.layers import settle

        settle(self.root)

    @property
    def ids(self) -> IdMap:
        """How owners and overlayfs' attributes are written here."""
        if self._ids is None:
            from envkit.host.idmap import IdMap

            self._ids = IdMap.current()
        return self._ids

    def prepare(self) -> None:
        """Make the store's directories, unless they are there."""
        if os.path.exists(os.path.join(self.root, "oci-layout")):
            return
        for name in ("blobs/sha256", "trees", "tmp"):
            files.make_directory(os.path.join(self.root, name), 0o755)
        os.chmod(self.root, 0o700)  # trees hold setuid programs, which are no business of other users
        files.write_atomic(os.path.join(self.root, "oci-layout"), b'{"imageLayoutVersion":"1.0.0"}\n')

    def temporary(self) -> str:
        return os.path.join(self.root, "tmp", f"{os.getpid()}.{os.urandom(6).hex()}")


def _ordinary(reference: str) -> str:
    """The full form of a short name on Docker's registry, without the grammar's regular expressions; it counts only
    where it is a name in the store."""
    first, slash, _ = reference.partition("/")
    if slash and ("." in first or ":" in first or first == "localhost"):
        return ""
    tag = "" if ":" in reference else ":latest"
    return f"docker.io/{'' if slash else 'library/'}{reference}{tag}"


def _full(reference: str) -> str:
    """The full text form; "" when the text is no reference."""
    from envkit.image.reference import InvalidReferenceError, normalise

    try:
        return normalise(reference)
    except InvalidReferenceError:
        return ""


def _by_prefix(text: str, digests: Sequence[str]) -> str | None:
    digits = text.removeprefix("sha256:")
    if len(digits) < 12 or not all(char in "0123456789abcdef" for char in digits):
        return None
    found = {digest for digest in digests if digest[7:].startswith(digits)}
    return found.pop() if len(found) == 1 else None


def _unlink(path: str) -> None:
    try:
        os.unlink(path)
    except FileNotFoundError:
        return
