"""What goes wrong between the store and a registry: nothing half done is left, and what has arrived is kept."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from envkit.digest import sha256
from envkit.errors import HostError, ImageError, NotFoundError
from envkit.events import Event
from envkit.host import mounts
from envkit.host.home import Home
from envkit.image import reach
from envkit.image.fetch import ensure
from envkit.image.pull import pull
from envkit.image.push import push
from envkit.image.registry_errors import RegistryError
from envkit.image.store import Store
from tests.support.registry import Registry, Wire, image, refused

pytestmark = pytest.mark.root


def big_layer(size: int, name: str = "big") -> bytes:
    import tarfile

    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        member = tarfile.TarInfo(name)
        member.size = size
        archive.addfile(member, io.BytesIO(os.urandom(size)))
    return buffer.getvalue()


def test_nothing_there(store: Store, plain: Registry) -> None:
    error = refused("not-found", store, f"{plain.host}/team/nothing:1")
    assert f"{plain.host}/team/nothing:1" in error.detail
    began = time.monotonic()
    refused("refused", store, "127.0.0.1:9/x:1")
    refused("unknown-host", store, "registry.invalid/x:1")
    assert time.monotonic() - began < 5
    with pytest.raises(NotFoundError, match="pull_policy is 'never'"):
        ensure(store, f"{plain.host}/team/nothing:1", policy="never")


def test_a_registry_that_never_answers(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reach, "SECONDS", 0.3)

    def slow(*_: object) -> None:
        time.sleep(1)
        raise TimeoutError

    monkeypatch.setattr("socket.create_connection", slow)
    began = time.monotonic()
    error = refused("unreachable", store, "203.0.113.1/x:1")
    assert "no answer within" in error.detail
    assert time.monotonic() - began < 0.9


def test_a_stopped_registry_and_one_that_comes_back(store: Store, other: Store, tmp_path: Path) -> None:
    registry = Registry(tmp_path / "registry")
    try:
        reference = f"{registry.host}/team/app:1"
        digest = image(store, reference)
        push(store, reference)
        registry.stop()
        reach.forget()
        refused("refused", other, reference)
        assert ensure(store, reference) == digest
        warned: list[Event] = []
        assert ensure(store, reference, policy="daily", emit=warned.append) == digest
        assert "the image that is here is used" in warned[-1].message
        with pytest.raises(RegistryError):
            ensure(store, reference, policy="always")
        registry.start()
        assert pull(other, reference) == digest
    finally:
        registry.stop()


def test_a_damaged_blob_is_found(store: Store, other: Store, tmp_path: Path) -> None:
    registry = Registry(tmp_path / "registry")
    try:
        reference = f"{registry.host}/team/app:1"
        image(store, reference)
        push(store, reference)
        layer = store.image(reference).layers[0]
        path = registry.blob(layer.digest)
        path.write_bytes(b"x" * path.stat().st_size)
        with pytest.raises((RegistryError, ImageError)) as caught:
            pull(other, reference)
        assert layer.digest[7:19] in caught.value.detail
        assert not os.path.exists(other.blob_path(layer.digest))
        assert other.resolve(reference) is None
    finally:
        registry.stop()


def test_a_wire_that_breaks_once(store: Store, other: Store, plain: Registry) -> None:
    digest = image(store, f"{plain.host}/team/broken:1", big_layer(3_000_000))
    push(store, f"{plain.host}/team/broken:1")
    wire = Wire(plain.host, cut_after=1_000_000)
    try:
        assert pull(other, f"{wire.host}/team/broken:1") == digest
        assert wire.brought > 3_500_000, "it was not cut"
    finally:
        wire.close()


def test_killed_in_the_middle_it_goes_on(store: Store, other: Store, plain: Registry) -> None:
    small, large = big_layer(200_000, "small"), big_layer(3_000_000)
    digest = image(store, f"{plain.host}/team/slow:1", small, large)
    push(store, f"{plain.host}/team/slow:1")
    wire = Wire(plain.host, rate=1_200_000)
    try:
        reference = f"{wire.host}/team/slow:1"
        command = [sys.executable, "-m", "envkit.cli.main", "image", "pull", reference]
        victim = subprocess.Popen(command, env={**os.environ, "ENVKIT_HOME": other.home.root}, start_new_session=True)
        wanted = other.blob_path(sha256(small))
        deadline = time.monotonic() + 20
        while not os.path.exists(wanted) and time.monotonic() < deadline:
            time.sleep(0.02)
        victim.send_signal(signal.SIGKILL)
        victim.wait(10)
        assert not os.path.exists(other.blob_path(sha256(large)))
        assert other.resolve(reference) is None
        events: list[Event] = []
        assert pull(other, reference, emit=events.append) == digest
        here = {event.data["blob"] for event in events if event.data.get("status") == "here"}
        assert sha256(small) in here
        assert sha256(large) not in here
    finally:
        wire.close()
    deadline = time.monotonic() + 10
    while _children_of_nobody(wire.host) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not _children_of_nobody(wire.host)


def _children_of_nobody(host: str) -> list[str]:
    """skopeos that were left behind."""
    done = subprocess.run(["pgrep", "-af", f"skopeo.*{host}"], capture_output=True, text=True, check=False, timeout=10)
    return done.stdout.splitlines()


def test_two_at_once_share_the_work(store: Store, other: Store, plain: Registry) -> None:
    digest = image(store, f"{plain.host}/team/both:1", big_layer(4_000_000))
    push(store, f"{plain.host}/team/both:1")
    wire = Wire(plain.host, rate=8_000_000)
    events: list[Event] = []
    found: list[str] = []

    def work() -> None:
        found.append(pull(Store(other.home), f"{wire.host}/team/both:1", emit=events.append))

    try:
        threads = [threading.Thread(target=work) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
    finally:
        wire.close()
    assert found == [digest, digest]
    fetched = [event.data["blob"] for event in events if event.data.get("status") == "fetched"]
    assert len(fetched) == len(set(fetched)) == 4


def test_a_full_disk(store: Store, plain: Registry, tmp_path: Path) -> None:
    reference = f"{plain.host}/team/full:1"
    image(store, reference, big_layer(3_000_000))
    push(store, reference)
    small = tmp_path / "small"
    small.mkdir()
    mounts.tmpfs(str(small), ["size=2m"])
    try:
        with pytest.raises(HostError) as caught:
            pull(Store(Home(str(small / "home"))), reference)
        assert "no space left" in caught.value.summary
        assert "envkit gc" in caught.value.hint
    finally:
        mounts.unmount(str(small))
