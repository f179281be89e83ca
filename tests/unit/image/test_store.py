"""The store: lookups, names, blobs, trees, and what a crash leaves."""

from __future__ import annotations

import hashlib
import io
import json
import os
import stat
import struct
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from envkit.errors import ConflictError, ImageError, NotFoundError, UsageError
from envkit.host.home import Home
from envkit.host.idmap import IdMap
from envkit.host.proc import boot_id
from envkit.image.limits import Limits
from envkit.image.reference import InvalidReferenceError
from envkit.image.store import Store
from envkit.image.tar import DIRECTORY, HARDLINK, Entry
from envkit.image.tarwrite import archive
from tests.support.images import busybox_image, busybox_layer
from tests.support.trees import describe

pytestmark = pytest.mark.root


def layer(*entries: Entry) -> io.BytesIO:
    return io.BytesIO(b"".join(archive((entry, [bytes(entry.size)]) for entry in entries)))


def test_an_image_is_found_by_every_name(store: Store, reference: str) -> None:
    digest = store.image(reference).digest
    for name in ("tests/two:1", reference, digest, digest[7:], digest[:20], digest[7:19], f"tests/two@{digest}"):
        assert store.resolve(name) == digest, name
    image = store.image("tests/two:1")
    assert image.references == (reference,)
    assert image.config["config"]["Cmd"] == ["/bin/sh"]
    assert [item.created_by for item in image.layers] == ["base", "copy ."]
    assert [item.source for item in image.layers] == ["", "envkit.yaml:7:9"]
    assert all(path.startswith("/") and os.path.isdir(path) for path in image.trees)


@pytest.mark.parametrize("name", ["nothing", "tests/two:2", "sha256:" + "0" * 64, "../../etc", "", "A B", "0" * 12])
def test_what_is_not_there(store: Store, reference: str, name: str) -> None:
    assert store.resolve(name) is None
    with pytest.raises(NotFoundError) as caught:
        store.image(name)
    assert caught.value.hint


def test_an_empty_store_is_no_error_and_is_not_written(store: Store) -> None:
    assert store.list() == []
    assert store.resolve("busybox") is None
    assert not os.path.exists(store.root)


def test_the_digest_depends_on_the_content_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    digests = set()
    for name, origin in (("a", "x.yaml:1:1"), ("b", "y.yaml:99:9")):
        store = Store(Home(str(tmp_path / name)))
        made = store.add_layer(io.BytesIO(busybox_layer()), created_by="x", origin=origin)
        digests.add(store.add_image({"config": {"User": "1"}}, [made], f"name-{name}"))
    assert len(digests) == 1
    config = store.image(digests.pop()).config
    assert config["created"] == config["history"][0]["created"] == "1970-01-01T00:00:00Z"
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "86400")
    assert store.image(store.add_image({}, [made])).config["created"] == "1970-01-02T00:00:00Z"


def test_names_move_and_go(store: Store, reference: str) -> None:
    first = store.image(reference)
    second = store.add_image({"config": {"User": "2"}}, first.layers[:1], "tests/two:1")
    assert store.resolve("tests/two:1") == second
    assert store.image(first.digest).references == ()
    assert store.untag("tests/two:1") and not store.untag("tests/two:1")
    assert store.list() == []
    with pytest.raises(InvalidReferenceError):
        store.tag("No/Name", second)
    with pytest.raises(NotFoundError):
        store.tag("name", "sha256:" + "1" * 64)


def test_remove_takes_a_name_or_the_whole_image(store: Store, reference: str) -> None:
    digest = store.image(reference).digest
    store.tag("again", digest)
    assert store.remove("again", in_use=[digest]) == ("docker.io/library/again:latest",)
    with pytest.raises(ConflictError):
        store.remove("tests/two:1", in_use=[digest])
    store.tag("again", digest)
    with pytest.raises(ConflictError):
        store.remove(digest, in_use=[digest])
    assert sorted(store.remove(digest[7:20])) == ["docker.io/library/again:latest", reference]
    with pytest.raises(NotFoundError):
        store.remove("again")


def test_a_blob_is_what_it_should_be_or_is_not_kept(store: Store) -> None:
    digest = "sha256:" + hashlib.sha256(b"data").hexdigest()
    for expected, size in ((digest, 5), ("sha256:" + "0" * 64, 4), ("sha256:" + "0" * 64, -1)):
        with pytest.raises(ImageError):
            store.put_blob(io.BytesIO(b"data"), expected=expected, size=size)
    assert os.listdir(f"{store.root}/tmp") == os.listdir(f"{store.root}/blobs/sha256") == []
    for _ in range(2):
        assert store.put_blob(io.BytesIO(b"data"), expected=digest, size=4).digest == digest
    assert store.read_blob(digest) == b"data"
    with pytest.raises(ValueError, match="not a digest"):
        store.blob_path("sha256:../../etc/passwd")


def test_many_writers_at_once(store: Store) -> None:
    errors: list[BaseException] = []

    def work(number: int) -> None:
        try:
            made = store.add_layer(layer(Entry("d", DIRECTORY, mode=0o755), Entry("d/f", size=100_000)))
            store.add_image({"config": {}}, [made], f"image{number}")
        except BaseException as error:  # noqa: BLE001  shown by the main thread
            errors.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert len(store.names()) == 8
    assert len(os.listdir(f"{store.root}/blobs/sha256")) == 3
    assert os.listdir(f"{store.root}/tmp") == []


# -- trees


def test_directories_that_a_layer_leaves_out_are_those_below(store: Store) -> None:
    base = store.add_layer(
        layer(Entry(".", DIRECTORY, mode=0o711, uid=5), Entry("t", DIRECTORY, mode=0o1777, gid=9, mtime=10**9))
    )
    above = store.add_layer(layer(Entry("t/f"), Entry("new/f")), [base])
    tree = describe(store.tree(above))
    assert tree["."]["mode"] == oct(stat.S_IFDIR | 0o711) and tree["."]["owner"] == (5, 0)
    assert tree["t"] == {"mode": oct(stat.S_IFDIR | 0o1777), "owner": (0, 9), "mtime": 10**9, "xattrs": {}}
    assert tree["new"]["mode"] == oct(stat.S_IFDIR | 0o755)
    alone = store.rebase_layer(above, [])
    assert alone.digest == above.digest and alone.chain_id != above.chain_id
    assert describe(store.tree(alone))["t"]["mode"] == oct(stat.S_IFDIR | 0o755)


def test_what_is_below_a_deleted_directory_is_not_inherited(store: Store) -> None:
    base = store.add_layer(layer(Entry("a", DIRECTORY, mode=0o700), Entry("a/b", DIRECTORY, mode=0o700)))
    gone = store.add_layer(layer(Entry(".wh.a")), [base])
    opaque = store.add_layer(layer(Entry("a", DIRECTORY, mode=0o750), Entry("a/.wh..wh..opq")), [base])
    assert describe(store.tree(store.add_layer(layer(Entry("a/x")), [base, gone])))["a"]["mode"] == oct(0o40755)
    tree = describe(store.tree(store.add_layer(layer(Entry("a/b/x")), [base, opaque])))
    assert (tree["a"]["mode"], tree["a/b"]["mode"]) == (oct(0o40750), oct(0o40755))


def test_whiteouts_and_what_the_same_layer_has(store: Store) -> None:
    base = store.add_layer(layer(Entry("d", DIRECTORY), Entry("d/old"), Entry("f")))
    made = store.add_layer(
        layer(
            Entry(".wh.d"), Entry("d", DIRECTORY, mode=0o755), Entry("d/new"), Entry("f"), Entry(".wh.f"),
            Entry(".wh.g"),
        ),
        [base],
    )  # fmt: skip
    tree = store.tree(made)
    assert os.getxattr(f"{tree}/d", "trusted.overlay.opaque") == b"y"
    assert os.path.isfile(f"{tree}/f")
    assert os.lstat(f"{tree}/g").st_rdev == 0 and stat.S_ISCHR(os.lstat(f"{tree}/g").st_mode)


def test_the_bookkeeping_of_aufs_is_left_out(store: Store) -> None:
    made = store.add_layer(
        layer(
            Entry(".wh..wh.aufs"), Entry(".wh..wh.plnk", DIRECTORY), Entry(".wh..wh.plnk/1.2", size=4), Entry("f"),
            Entry(".wh.gone", HARDLINK, linkname=".wh..wh.aufs"),
        )
    )  # fmt: skip
    assert sorted(os.listdir(store.tree(made))) == ["f", "gone"]


def test_a_default_acl_is_not_inherited_while_unpacking(store: Store) -> None:
    acl = struct.pack("<I" + "HHI" * 4, 2, 1, 7, 2**32 - 1, 2, 7, 5, 4, 5, 2**32 - 1, 16, 7, 2**32 - 1)
    acl += struct.pack("<HHI", 32, 0, 2**32 - 1)
    entries = [Entry("d", DIRECTORY, mode=0o755, xattrs={"system.posix_acl_default": acl}), Entry("d/f", mode=0o640)]
    tree = store.tree(store.add_layer(layer(*entries)))
    assert os.listxattr(f"{tree}/d") == ["system.posix_acl_default"]
    assert os.listxattr(f"{tree}/d/f") == [] and os.stat(f"{tree}/d/f").st_mode & 0o777 == 0o640


def test_an_opaque_root_hides_everything_below(store: Store) -> None:
    base = store.add_layer(layer(Entry("a"), Entry("d", DIRECTORY), Entry("d/x")))
    made = store.add_layer(layer(Entry(".wh..wh..opq"), Entry("d", DIRECTORY), Entry("d/y")), [base])
    tree = store.tree(made)
    assert stat.S_ISCHR(os.lstat(f"{tree}/a").st_mode)
    assert os.getxattr(f"{tree}/d", "trusted.overlay.opaque") == b"y"


def test_missing_trees_are_made_again(store: Store, reference: str) -> None:
    image = store.image(reference)
    before = [describe(path) for path in image.trees]
    for path in image.trees:
        os.rename(path, path + ".gone")
    with pytest.raises(NotFoundError):
        store.tree(image.layers[0])
    assert store.ensure_trees(image) == image.trees
    assert [describe(path) for path in image.trees] == before


def test_a_tree_of_an_earlier_boot_is_made_again_unless_settled(store: Store, reference: str) -> None:
    image = store.image(reference)
    path = image.trees[0]
    os.unlink(f"{path}/bin/busybox")  # what a power cut may have taken
    Path(f"{path}.boot").write_text("an earlier boot")
    store.ensure_trees(image)
    assert os.path.exists(f"{path}/bin/busybox")
    assert Path(f"{path}.boot").read_text() == boot_id()
    store.settle()
    assert not os.path.exists(f"{path}.boot")
    assert store.ensure_trees(image) == image.trees
    store.settle()


def test_a_damaged_blob_is_not_unpacked(store: Store, reference: str) -> None:
    image = store.image(reference)
    blob = Path(store.blob_path(image.layers[1].digest))
    blob.write_bytes(blob.read_bytes().replace(b"root", b"evil"))
    os.rename(image.trees[1], image.trees[1] + ".gone")
    with pytest.raises(ImageError):
        store.ensure_trees(image)
    assert not os.path.exists(image.trees[1])


KILLED = """
import sys
from envkit.host.home import Home
from envkit.host.idmap import IdMap
from envkit.image.store import Store
from tests.support.images import busybox_image
busybox_image(Store(Home(sys.argv[1])), "busybox:1")
"""


def steps(home: str, tmp_path: Path) -> list[str]:
    environ = {**os.environ, "ENVKIT_STEPS": str(tmp_path / "steps"), "PYTHONPATH": os.getcwd()}
    subprocess.run([sys.executable, "-c", KILLED, home], env=environ, check=True, timeout=30)
    return (tmp_path / "steps").read_text().split()


def test_killed_at_every_step_the_next_one_succeeds(tmp_path: Path) -> None:
    reached = steps(str(tmp_path / "whole"), tmp_path)
    counts: dict[str, int] = {}
    assert "store.tree" in reached and "store.put_blob" in reached
    for number, name in enumerate(reached):
        counts[name] = counts.get(name, 0) + 1
        home = str(tmp_path / f"h{number}")
        environ = {**os.environ, "ENVKIT_FAIL_AT": f"{name}:{counts[name]}", "PYTHONPATH": os.getcwd()}
        done = subprocess.run([sys.executable, "-c", KILLED, home], env=environ, check=False, timeout=30)
        assert done.returncode == -9, name
        store = Store(Home(home))
        assert all(image.config for image in store.list())
        busybox_image(store, "busybox:1")
        image = store.image("busybox:1")
        assert os.access(f"{store.ensure_trees(image)[0]}/bin/busybox", os.X_OK)


def test_a_lookup_imports_no_archive_code() -> None:
    code = (
        "import sys; from envkit.image.store import Store; from envkit.host.home import Home;"
        "s = Store(Home('/nonexistent')); s.list(); print(sorted(sys.modules))"
    )
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=30).stdout
    for name in ("tarfile", "zlib", "gzip", "subprocess", "shutil", "tempfile", "pathlib", "envkit.image.unpack"):
        assert f"'{name}'" not in loaded, name


def test_a_rootless_store_speaks_in_user_attributes(tmp_path: Path) -> None:
    store = Store(Home(str(tmp_path)), IdMap("mapped", ((0, 1000, 1), (1, 100000, 65535))))
    base = store.add_layer(layer(Entry("d", DIRECTORY, mode=0o755), Entry("d/f"), Entry("x", uid=65536)))
    made = store.add_layer(layer(Entry("d", DIRECTORY), Entry("d/.wh..wh..opq"), Entry(".wh.x")), [base])
    tree = store.tree(made)
    assert os.listxattr(f"{tree}/d") == ["user.overlay.opaque"]
    assert os.lstat(f"{tree}/x").st_rdev == 0
    assert os.lstat(f"{store.tree(base)}/x").st_uid == os.getuid()


# -- damage in the store


def test_a_damaged_index_is_named(store: Store, reference: str) -> None:
    index = Path(store.root, "index.json")
    for content in ("{", "[]", '{"manifests": [5]}', '{"manifests": [{"digest": "x"}]}'):
        index.write_text(content)
        with pytest.raises(ImageError, match=r"index\.json"):
            store.list()


def damaged(store: Store, reference: str, change: Any) -> str:
    """An image whose configuration is changed."""
    image = store.image(reference)
    config = json.loads(json.dumps(image.config))
    change(config)
    data = json.dumps(config).encode()
    blob = store.put_bytes(data, "application/vnd.oci.image.config.v1+json")
    manifest = json.loads(store.read_blob(image.digest))
    manifest["config"] = blob.encode()
    return store.put_bytes(json.dumps(manifest).encode(), "application/vnd.oci.image.manifest.v1+json").digest


@pytest.mark.parametrize(
    "change",
    [
        lambda config: config.pop("rootfs"), lambda config: config.update(rootfs=[]),
        lambda config: config.update(history=5), lambda config: config.update(history=[1]),
        lambda config: config["rootfs"]["diff_ids"].pop(), lambda config: config.update(config=[1]),
        lambda config: config["rootfs"].update(diff_ids=["../../x"] * 2),
        lambda config: config["config"].update(Env="A=1"), lambda config: config["config"].update(Cmd=[1]),
        lambda config: config["config"].update(User=5), lambda config: config["config"].update(Volumes=["/x"]),
        lambda config: config["config"].update(Entrypoint=["a\0b"]),
    ],
)  # fmt: skip
def test_a_malformed_configuration_is_refused(store: Store, reference: str, change: Any) -> None:
    with pytest.raises(ImageError):
        store.image(damaged(store, reference, change))


def test_limits_come_from_the_environment() -> None:
    assert Limits.from_environ({}) == Limits()
    found = Limits.from_environ({"ENVKIT_IMAGE_LIMITS": "ratio=2000, bytes=3G"})
    assert (found.ratio, found.bytes, found.entries) == (2000, 3 << 30, Limits().entries)
    for text in ("ratio", "ratio=", "ratio=-1", "size=5", "ratio=1,", "ratio=G", "bytes=1.5G", "ratio=²"):
        with pytest.raises(UsageError):
            Limits.from_environ({"ENVKIT_IMAGE_LIMITS": text})


def test_limits_are_the_stores(tmp_path: Path) -> None:
    store = Store(Home(str(tmp_path)), limits=Limits(bytes=1000))
    with pytest.raises(ImageError, match="more than 1000 bytes"):
        store.add_layer(layer(Entry("f", size=1001)))
