"""ADD of archives and URLs, and Git contexts."""

from __future__ import annotations

import hashlib
import io
import tarfile
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from envkit.errors import ApplyError, NotFoundError
from envkit.events import ignore
from envkit.image.dockerfile import contexts
from envkit.image.lockfile import Lockfile
from envkit.image.step import Context
from tests.support.dockerfiles import Kitchen
from tests.support.repository import commit, git, served

pytestmark = pytest.mark.root


def tar(compression: str = "", **members: str) -> bytes:
    buffer = io.BytesIO()
    mode = f"w:{compression}" if compression else "w"
    with tarfile.open(fileobj=buffer, mode=mode) as archive:  # type: ignore[call-overload]
        for name, text in members.items():
            member = tarfile.TarInfo(name)
            member.size, member.mode, member.uid, member.gid = len(text), 0o600, 12, 34
            archive.addfile(member, io.BytesIO(text.encode()))
    return buffer.getvalue()


@pytest.mark.parametrize("compression", ["", "gz", "bz2", "xz"])
def test_add_unpacks_archives(kitchen: Kitchen, compression: str) -> None:
    kitchen.write("x.any", tar(compression, inside=compression))
    built = kitchen.build(
        "FROM busybox\nADD x.any /un/\nADD --unpack=false x.any /kept/\nADD --chown=5:6 x.any /owned/"
    )
    assert built.content("/un/inside") == compression
    assert (built.files["/un/inside"].owner, built.files["/un/inside"].mode) == ((12, 34), 0o600)
    assert built.files["/owned/inside"].owner == (5, 6)
    assert "/kept/x.any" in built.names


def test_add_copies_what_is_no_archive(kitchen: Kitchen) -> None:
    import gzip

    kitchen.write("plain.gz", gzip.compress(b"no archive"))
    kitchen.write("text", "t" * 600)
    assert {"/x/plain.gz", "/x/text"} <= kitchen.build("FROM busybox\nADD plain.gz text /x/\n").names


@pytest.mark.parametrize("name", ["../out", "a/../../out"])
def test_a_hostile_archive_is_refused(kitchen: Kitchen, name: str) -> None:
    kitchen.write("x.tar", tar(**{name: "x"}))
    with pytest.raises(ApplyError, match="leads out"):
        kitchen.build("FROM busybox\nADD x.tar /un/\n")


@pytest.fixture
def web() -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"fetched")

        def log_message(self, *_: object) -> None:
            return

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_add_fetches(kitchen: Kitchen, web: str) -> None:
    digest = hashlib.sha256(b"fetched").hexdigest()
    text = f"FROM busybox\nADD {web}/dir/name.bin /f/\nADD --checksum=sha256:{digest} --chmod=644 {web}/x /f/y\n"
    built = kitchen.build(text)
    assert built.content("/f/name.bin") == built.content("/f/y") == "fetched"
    assert (built.files["/f/name.bin"].mode, built.files["/f/y"].mode) == (0o600, 0o644)
    assert kitchen.build(text).digest == built.digest
    with pytest.raises(ApplyError, match="another checksum"):
        kitchen.build(f"FROM busybox\nADD --checksum=sha256:{'0' * 64} {web}/x /y\n")


@pytest.fixture
def repository(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """(its URL, its directory)."""
    place = tmp_path / "served" / "x.git"
    (place / "sub").mkdir(parents=True)
    (place / "sub" / "f").write_text("one")
    (place / "top").write_text("top")
    commit(str(place))
    with served(place) as url:
        yield url, place


def test_add_of_a_git_repository(kitchen: Kitchen, repository: tuple[str, Path]) -> None:
    url, place = repository
    text = f"FROM busybox\nADD {url} /all\nADD --keep-git-dir {url}#main /kept/\n"
    text += f"ADD --chown=5:6 {url}#main:sub /part\n"
    built = kitchen.build(text)
    assert built.content("/all/top") == "top" and built.content("/part/f") == built.content("/all/sub/f") == "one"
    assert built.files["/part/f"].owner == (5, 6)
    assert "/kept/.git/HEAD" in built.names and "/all/.git" not in built.names
    assert kitchen.build(text).digest == built.digest
    (place / "sub" / "f").write_text("two")
    git(str(place), "commit", "--quiet", "-a", "-m", "y")
    assert kitchen.build(text).content("/part/f") == "two", "its branch is looked up each time"


def test_a_git_context(kitchen: Kitchen) -> None:
    kitchen.write("sub/Dockerfile", "FROM scratch\nCOPY f /f\n")
    kitchen.write("sub/f", "one")
    commit(kitchen.directory)
    source, text, _ = contexts.read(_context(kitchen), {"context": f"file://{kitchen.directory}#main:sub"})
    assert text.startswith("FROM scratch")
    assert (Path(source.root) / "f").read_text() == "one"
    with pytest.raises(NotFoundError, match="cannot be fetched"):
        contexts.read(_context(kitchen), {"context": f"file://{kitchen.directory}#absent"})
    with pytest.raises(NotFoundError, match="no such directory"):
        contexts.read(_context(kitchen), {"context": f"file://{kitchen.directory}#main:absent"})


def _context(kitchen: Kitchen) -> Context:
    return Context("image.x", kitchen.store, kitchen.home, kitchen.directory, {}, ignore, Lockfile())
