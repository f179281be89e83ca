"""envkit.image.{normalise,placing,users}: hostile roots included."""

from __future__ import annotations

import os

import pytest

from envkit.errors import NotFoundError
from envkit.image import normalise, users
from envkit.image.placing import LayerError, Placer, exists, survey
from envkit.image.recipe import EPOCH


@pytest.fixture
def root(tmp_path):
    path = tmp_path / "root"
    path.mkdir()
    return path


def put(root, path, content=b""):
    full = root / path
    full.parent.mkdir(parents=True, exist_ok=True)
    full.write_bytes(content)
    return full


def test_leftovers_go_and_the_rest_stays(root):
    gone = [
        "var/log/dpkg.log", "var/log/apt/term.log", "var/lib/apt/lists/x_Packages", "var/cache/apt/pkgcache.bin",
        "var/lib/dpkg/status-old", "etc/passwd-", "var/cache/ldconfig/aux-cache",
    ]  # fmt: skip
    kept = ["var/log/app.log", "var/lib/dpkg/status", "etc/passwd", "var/lib/apt/extended_states"]
    for path in (*gone, *kept):
        put(root, path)
    normalise.clean(str(root), *normalise.LEFTOVERS)
    assert not [path for path in gone if (root / path).exists()]
    assert all((root / path).exists() for path in kept)


def test_links_to_the_outside_are_not_followed(root, tmp_path):
    outside = put(tmp_path, "outside/apt/term.log", b"precious")
    put(tmp_path, "outside/machine-id", b"precious")
    (root / "var").mkdir()
    os.symlink(tmp_path / "outside", root / "var/log")
    os.symlink(tmp_path / "outside", root / "etc")
    normalise.clean(str(root), *normalise.LEFTOVERS, *normalise.KEYS, *normalise.MACHINE)
    normalise.forget_machine_id(str(root))
    normalise.drop_links(str(root), "etc/ssl/certs/*", "ssl-cert-snakeoil.pem")
    assert outside.read_bytes() == (tmp_path / "outside/machine-id").read_bytes() == b"precious"


def test_machine_id_is_emptied(root):
    path = put(root, "etc/machine-id", b"0123456789abcdef\n")
    normalise.forget_machine_id(str(root))
    assert path.read_bytes() == b""


@pytest.mark.parametrize(
    ("flags", "before", "after"), [(0, EPOCH + 5, EPOCH), (0, EPOCH - 5, EPOCH - 5), (3, EPOCH + 5, EPOCH + 5)]
)
def test_bytecode_names_the_time_that_its_source_gets(root, flags, before, after):
    header = b"\xa7\r\r\n" + flags.to_bytes(4, "little") + before.to_bytes(4, "little") + b"size"
    path = put(root, "a/__pycache__/m.pyc", header + b"code")
    normalise.settle_bytecode(str(root))
    assert int.from_bytes(path.read_bytes()[8:12], "little") == after
    assert path.read_bytes()[12:] == b"sizecode"


def test_certificate_links_go_with_their_certificate(root):
    put(root, "etc/ssl/certs/keep.pem")
    os.symlink("ssl-cert-snakeoil.pem", root / "etc/ssl/certs/2b1c.0")
    os.symlink("keep.pem", root / "etc/ssl/certs/77aa.0")
    normalise.drop_links(str(root), "etc/ssl/certs/*", "ssl-cert-snakeoil.pem")
    assert sorted(os.listdir(root / "etc/ssl/certs")) == ["77aa.0", "keep.pem"]


def test_what_is_placed_stays_inside(root, tmp_path):
    os.symlink(str(tmp_path / "outside"), root / "abs")
    os.symlink("../../../outside", root / "rel")
    (tmp_path / "outside").mkdir()
    with Placer(str(root)) as placer:
        with pytest.raises(LayerError):  # it leads to ROOT/…/outside, which does not exist
            placer.put("/abs/f", b"x", 0o644, 0, 0)
        with pytest.raises(LayerError):
            placer.put("/rel/f", b"x", 0o644, 0, 0)
        placer.put("/../../up", b"x", 0o644, 0, 0)
        placer.link("/abs", "elsewhere")
        placer.remove("/missing/file")
        for path in ("/", "/x/..", "/."):
            with pytest.raises(LayerError):
                placer.put(path, b"", 0o644, 0, 0)
    assert os.listdir(tmp_path / "outside") == []
    assert not (tmp_path / "up").exists()
    assert (root / "up").read_bytes() == b"x"
    assert os.readlink(root / "abs") == "elsewhere"


def test_new_directories_do_not_depend_on_the_umask(root):
    old = os.umask(0o077)
    try:
        with Placer(str(root)) as placer:
            placer.put("/a/b/c", b"", 0o666, 0, 0)
    finally:
        os.umask(old)
    assert (root / "a/b").stat().st_mode & 0o7777 == 0o755
    assert (root / "a/b/c").stat().st_mode & 0o7777 == 0o666


def test_a_survey_tells_what_is_there(root):
    (root / "usr/bin").mkdir(parents=True)
    os.symlink("usr/bin", root / "bin")
    put(root, "file")
    rows = {row[0]: row[1:] for row in survey(str(root), ["/bin/x/y", "/usr/local", "/file/z"])}
    assert rows["bin"][0] == "/usr/bin"
    assert rows["file"] == ["no directory"]
    assert "bin/x" not in rows
    assert rows[""][0] == "/"
    assert exists(str(root), "/bin")
    assert not exists(str(root), "/bin/nothing")


PASSWD = b"root:x:0:0::/root:/bin/sh\napp:x:7:8::/home/app:/bin/sh\nbad line\n"
GROUP = b"root:x:0:\nweb:x:8:\nextra:x:9:root,app\n"


@pytest.mark.parametrize(
    ("text", "identity"),
    [
        ("app", (7, 8, (9,), "/home/app")), ("7", (7, 8, (9,), "/home/app")), ("app:web", (7, 8, (), "/home/app")),
        ("app:77", (7, 77, (), "/home/app")), ("55", (55, 0, (), "/")), ("55:66", (55, 66, (), "/")),
        ("root", (0, 0, (9,), "/root")),
    ],
)  # fmt: skip
def test_users_by_name_and_number(root, text, identity):
    put(root, "etc/passwd", PASSWD)
    put(root, "etc/group", GROUP)
    assert users.find(str(root), text) == identity


@pytest.mark.parametrize("text", ["ghost", "app:ghosts"])
def test_unknown_users(root, text):
    put(root, "etc/passwd", PASSWD)
    with pytest.raises(NotFoundError, match="ghost"):
        users.find(str(root), text)
