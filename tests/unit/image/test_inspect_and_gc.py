"""What an image is made of, what it ships in vain; and what is removed when nothing needs it."""

from __future__ import annotations

import io
import os
import threading
from pathlib import Path

import pytest

from envkit.errors import ConflictError, NotFoundError
from envkit.host.home import Home
from envkit.image.gc import collect
from envkit.image.inspect import inspect_image, inspect_layers
from envkit.image.memory import Memory
from envkit.image.store import Store
from envkit.image.tar import DIRECTORY, HARDLINK, SYMLINK, Entry
from envkit.image.tarwrite import archive

pytestmark = pytest.mark.root


def layer(*entries: Entry) -> io.BytesIO:
    return io.BytesIO(b"".join(archive((entry, [bytes(entry.size)]) for entry in entries)))


def directory(name: str, mode: int = 0o755) -> Entry:
    return Entry(name, DIRECTORY, mode=mode)


@pytest.fixture
def image(store: Store) -> str:
    """Three layers with every kind of change."""
    stack = [
        store.add_layer(
            layer(
                directory("keep"), Entry("keep/a", size=10), Entry("keep/b", size=100), directory("gone"),
                Entry("gone/x", size=1000), Entry("gone/y", size=1), directory("opaque"),
                Entry("opaque/o", size=10_000),
                Entry("l1", size=500), Entry("l2", HARDLINK, linkname="l1"), Entry("link", SYMLINK, linkname="a"),
            ),
            created_by="one", origin="envkit.yaml:3:9",
        )
    ]  # fmt: skip
    stack.append(
        store.add_layer(
            layer(
                directory("keep"), Entry("keep/b", size=200), Entry("keep/c", size=3), Entry(".wh.gone"),
                directory("opaque"), Entry("opaque/.wh..wh..opq"), Entry("opaque/n", size=4), Entry(".wh.l1"),
            ),
            stack, created_by="two", origin="envkit.yaml:4:9",
        )
    )  # fmt: skip
    stack.append(
        store.add_layer(layer(directory("keep", 0o700), Entry("keep/c", size=5), Entry("link", size=1)), stack)
    )
    store.add_image({"config": {"Cmd": ["x"]}}, stack, "three:1")
    return "three:1"


def test_inspect_counts_and_names_the_source(store: Store, image: str) -> None:
    found = inspect_image(store, image)
    assert found["name"] == "three:1"
    assert found["digest"] == store.image(image).digest
    assert found["config"]["config"] == {"Cmd": ["x"]}
    keys = ("created_by", "source", "added", "changed", "deleted", "wasted_bytes")
    assert [tuple(item[key] for key in keys) for item in found["layers"]] == [
        ("one", "envkit.yaml:3:9", 11, 0, 0, 100 + 1001 + 10_000),
        ("two", "envkit.yaml:4:9", 2, 1, 3, 3),
        ("envkit", "", 0, 3, 0, 0),
    ]
    assert [item["digest"] for item in found["layers"]] == [item.digest for item in store.image(image).layers]
    assert all("files" not in item for item in found["layers"])


def test_layers_say_which_layer_holds_and_which_hides_a_file(store: Store, image: str) -> None:
    one, two, three = (
        {item["path"]: item for item in found["files"]} for found in inspect_layers(store, image)
    )  # fmt: skip
    assert one["/keep/b"] == {"change": "added", "size": 100, "path": "/keep/b", "hidden_by": 2}
    assert one["/keep/a"] == {"change": "added", "size": 10, "path": "/keep/a"}
    assert one["/gone/x"]["hidden_by"] == one["/opaque/o"]["hidden_by"] == one["/l1"]["hidden_by"] == 2
    assert "hidden_by" not in one["/l2"]
    assert two["/gone"] == {"change": "deleted", "size": 0, "path": "/gone"}
    assert two["/opaque/o"]["change"] == two["/l1"]["change"] == "deleted"
    assert two["/keep/c"]["hidden_by"] == 3
    assert three["/keep"]["change"] == three["/link"]["change"] == "changed"


def test_inspect_of_nothing(store: Store) -> None:
    with pytest.raises(NotFoundError):
        inspect_image(store, "nothing")


# -- gc


def blobs(store: Store) -> int:
    return len(os.listdir(f"{store.root}/blobs/sha256"))


def trees(store: Store) -> int:
    return len([name for name in os.listdir(f"{store.root}/trees") if not name.endswith(".boot")])


def test_nothing_is_removed_that_has_a_name(store: Store, image: str) -> None:
    assert collect(store).removed == ()
    assert store.ensure_trees(store.image(image))
    assert (blobs(store), trees(store)) == (5, 3)


def test_what_has_lost_its_name_goes_unless_it_runs(store: Store, image: str) -> None:
    digest = store.image(image).digest
    store.untag(image)
    assert collect(store, in_use=[digest]).removed == ()
    assert collect(store, in_use=lambda: iter([digest])).removed == ()
    dry = collect(store, dry_run=True)
    assert (blobs(store), trees(store)) == (5, 3)
    done = collect(store)
    assert done == dry and done.bytes > 0
    assert (blobs(store), trees(store)) == (0, 0)
    assert os.listdir(f"{store.root}/trees") == []
    assert collect(store).removed == ()


def test_shared_layers_stay(store: Store, image: str) -> None:
    layers = store.image(image).layers
    store.add_image({}, layers[:2], "two")
    store.untag(image)
    collect(store)
    assert store.ensure_trees(store.image("two"))
    assert (blobs(store), trees(store)) == (4, 2)


def test_remembered_layers_keep_their_blobs(store: Store, image: str) -> None:
    layers = store.image(image).layers
    Memory(store.home, store).remember("sha256:" + "1" * 64, layers[1])
    store.untag(image)
    collect(store)
    assert (blobs(store), trees(store)) == (1, 0)
    found = Memory(store.home, store).find("sha256:" + "1" * 64)
    assert found and store.rebase_layer(found.layer, ())
    collect(store, unused_images=True)
    assert (blobs(store), trees(store)) == (0, 0)


def test_unused_images_go_on_request(store: Store, image: str) -> None:
    running = store.image(image).digest
    store.add_image({"config": {"User": "1"}}, store.image(image).layers[:1], "idle:1")
    report = collect(store, in_use=[running], unused_images=True)
    assert "image docker.io/library/idle:1" in report.removed
    assert [found.digest for found in store.list()] == [running]
    collect(store, unused_images=True)
    assert store.list() == [] and blobs(store) == 0


def test_leftovers_of_killed_processes_go(store: Store, image: str) -> None:
    Path(store.root, "tmp/123.abc").mkdir()
    Path(store.root, "tmp/123.abc/file").write_bytes(bytes(10_000))
    report = collect(store)
    assert report.removed == ("leftover 123.abc",) and report.bytes >= 10_000
    assert os.listdir(f"{store.root}/tmp") == []


def test_damage_does_not_stop_it(store: Store, image: str) -> None:
    os.unlink(store.blob_path(store.image(image).config_digest))
    assert collect(store).removed


def test_it_waits_for_nobody(store: Store, image: str) -> None:
    with store.session(), pytest.raises(ConflictError):
        collect(store)
    entered, leave = threading.Event(), threading.Event()

    def work() -> None:
        with store.session():
            entered.set()
            leave.wait(10)

    thread = threading.Thread(target=work)
    thread.start()
    entered.wait(10)
    with pytest.raises(ConflictError):
        collect(store)
    leave.set()
    thread.join()
    collect(store)


def test_an_empty_home(tmp_path: Path) -> None:
    assert collect(Store(Home(str(tmp_path / "none")))) == ((), 0)
    assert not (tmp_path / "none").exists()
