"""envkit.image.build: every kind of layer, on a real busybox root."""

from __future__ import annotations

import io
import json
import os
import stat
import tarfile
import zipfile

import pytest

from envkit.errors import ApplyError, ConflictError
from envkit.host.home import Home
from envkit.image.lockfile import Lockfile
from tests.support.building import Building, layer, shell

pytestmark = pytest.mark.root


@pytest.fixture
def building(tmp_path):
    yield Building(Home(str(tmp_path / "home")), str(tmp_path / "project"))
    work = tmp_path / "home/cache/build/work"
    assert not work.exists() or not list(work.iterdir())


def write(building, path, content, mode=0o644):
    full = os.path.join(building.directory, path)
    os.makedirs(os.path.dirname(full), exist_ok=True)
    with open(full, "w") as file:
        file.write(content)
    os.chmod(full, mode)
    return full


def owner(member):
    return member.uid, member.gid, oct(member.mode)


def test_files_have_content_mode_and_owner(building):
    made = building.make(layer("files", files={
        "/etc/app.ini": {"content": "workers = 2\n", "owner": "app:nogroup", "mode": 0o640},
        "/opt/x/y": {"content": "y"},
    }))  # fmt: skip
    entries = made.entries()
    assert owner(entries["etc/app.ini"]) == (1000, 65534, "0o640")
    assert owner(entries["opt/x/y"]) == (0, 0, "0o644")
    assert owner(entries["opt/x"]) == (0, 0, "0o755")
    assert made.content("etc/app.ini") == b"workers = 2\n"
    assert {member.mtime for member in entries.values()} == {1577836800}


def test_files_follow_the_image_own_links_and_stay_inside(building):
    made = building.make(
        layer("link", links={"/sbin": "bin", "/escape": "/../../../../tmp", "/etc/link": "/etc/passwd"}),
        layer("files", files={
            "/sbin/tool": {"content": "t"}, "/escape/f": {"content": "f"}, "/etc/link": {"content": "l"},
        }),
    )  # fmt: skip
    entries = made.entries(2)
    assert {"bin/tool", "tmp/f", "etc/link"} <= entries.keys()
    assert "sbin" not in entries
    assert entries["etc/link"].isreg()
    assert entries["tmp"].mode == 0o1777, "a directory that exists keeps its mode"


def test_a_directory_in_the_way_is_an_error_with_its_place(building):
    with pytest.raises(ApplyError) as caught:
        building.make(layer("files", files={"/etc": {"content": ""}}))
    assert "layer 1" in str(caught.value)
    assert "envkit.yaml:7:5" in str(caught.value)
    assert "directory is in the way" in str(caught.value)


def test_an_unknown_owner_is_named(building):
    with pytest.raises(ApplyError, match=r"no such user.*'ghost'"):
        building.make(layer("files", files={"/x": {"content": "", "owner": "ghost"}}))


def test_copy_normalises_modes_and_obeys_ignore_files(building):
    write(building, "app/run.sh", "#!/bin/sh\n", 0o775)
    write(building, "app/data.txt", "d", 0o600)
    write(building, "app/skip.pyc", "x")
    write(building, "app/sub/no.tmp", "x")
    os.symlink("data.txt", os.path.join(building.directory, "app/link"))
    write(building, ".envkitignore", "**/*.pyc\n")
    made = building.make(layer(
        "copy", "1", sources=[os.path.join(building.directory, "app")], to="/srv/app", owner="app", exclude=["**/*.tmp"]
    ))  # fmt: skip
    entries = made.entries()
    assert owner(entries["srv/app/run.sh"]) == (1000, 1000, "0o755")
    assert owner(entries["srv/app/data.txt"]) == (1000, 1000, "0o644")
    assert owner(entries["srv/app"]) == (1000, 1000, "0o755")
    assert owner(entries["srv"]) == (0, 0, "0o755")
    assert entries["srv/app/link"].linkname == "data.txt"
    assert "srv/app/sub" in entries
    assert not {"srv/app/skip.pyc", "srv/app/sub/no.tmp"} & entries.keys()


@pytest.mark.parametrize(
    ("to", "placed"), [("/etc/nginx.conf", "etc/nginx.conf"), ("/etc/nginx/", "etc/nginx/a.conf")]
)
def test_copy_of_a_file(building, to, placed):
    source = write(building, "a.conf", "a")
    made = building.make(layer("copy", "1", sources=[source], to=to, mode=0o600))
    assert owner(made.entries()[placed]) == (0, 0, "0o600")


def test_copy_of_several_sources_goes_below(building):
    sources = [write(building, "a", "a"), write(building, "b", "b")]
    assert {"d/a", "d/b"} <= building.make(layer("copy", "1", sources=sources, to="/d")).entries().keys()


def test_copy_of_what_is_missing(building):
    with pytest.raises(ApplyError, match=r"does not exist.*nowhere") as caught:
        building.make(layer("copy", sources=[os.path.join(building.directory, "nowhere")], to="/x"))
    assert "envkit.yaml:7:5" in str(caught.value)
    assert caught.value.hint


def test_copy_from_another_image_keeps_owners_and_attributes(building):
    other = building.make(
        shell("mkdir /out; echo 1 > /out/f; chown app:app /out/f; chmod 4750 /out/f; ln -s f /out/l"), name="test/other"
    )
    made = building.make(
        layer("copy", sources=["/out"], to="/in", from_={"image": "other"}), images={"other": other.digest}
    )
    entries = made.entries()
    assert owner(entries["in/f"]) == (1000, 1000, "0o4750")
    assert entries["in/l"].linkname == "f"
    with pytest.raises(ApplyError, match="other image has no such file"):
        building.make(layer("copy", sources=["/missing"], to="/in", from_={"reference": "busybox:test"}))


def test_copy_over_an_image_file_of_equal_content_still_holds_it(building):
    source = write(building, "same", "same\n")
    made = building.make(
        layer("files", files={"/same": {"content": "same\n"}}), layer("copy", "1", sources=[source], to="/same")
    )
    assert made.content("same", 2) == b"same\n", "an independent layer must be complete without the one below"


def test_user_is_made_as_useradd_would(building):
    made = building.make(
        layer("files", files={"/etc/shadow": {"content": "root:*:1::::::\n", "mode": 0o640}}),
        layer("user", name="web", uid=990, groups=["nogroup"], home="/var/web", shell="/bin/sh"),  # noqa: S604
        layer("user", name="other", group="app"),
        shell("id web; su web -c 'test $(id -u) = 990'; test $(stat -c %U /var/web) = web"),
    )
    assert b"web:x:990:990::/var/web:/bin/sh\n" in made.content("etc/passwd", 2)
    assert b"nogroup:x:65534:web\n" in made.content("etc/group", 2)
    assert b"web:!:18262:0:99999:7:::\n" in made.content("etc/shadow", 2)
    assert b"other:x:1001:1000::/nonexistent:/usr/sbin/nologin\n" in made.content("etc/passwd", 3)
    assert owner(made.entries(2)["etc/shadow"]) == (0, 0, "0o640")
    assert owner(made.entries(2)["var/web"]) == (990, 990, "0o755")


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ({"name": "app"}, "has this user already"),
        ({"name": "new", "uid": 1000}, "number is taken.*'app'"),
        ({"name": "new", "uid": 7, "gid": 1000}, "group's number is taken.*'app'"),
        ({"name": "new", "group": "app", "gid": 7}, "group has another number"),
        ({"name": "new", "groups": ["wheel"]}, "no such group.*wheel"),
    ],
)
def test_user_conflicts(building, args, message):
    with pytest.raises(ApplyError, match=message):
        building.make(layer("user", **args))


def test_remove_takes_patterns_within_one_directory(building):
    made = building.make(
        layer("files", files={f"/d/{name}": {"content": ""} for name in ("a.txt", "b.txt", "c", ".h", "e/f.txt")}),
        layer("remove", paths=["/d/*.txt", "/d/e", "/nothing"]),
        shell("test \"$(ls -A /d)\" = \".h\nc\""),
    )
    assert {"d/.wh.a.txt", "d/.wh.b.txt", "d/.wh.e"} <= made.entries(2).keys()
    assert [warning for warning in made.warnings if "/nothing" in warning]


def _tar(path, members):
    with tarfile.open(path, "w:gz") as archive:
        for name, kind, text, mode in members:
            info = tarfile.TarInfo(name)
            info.type, info.mode, info.uid, info.mtime = kind, mode, 4242, 10**9
            if kind == tarfile.REGTYPE:
                info.size = len(text)
            else:
                info.linkname = text
            archive.addfile(info, io.BytesIO(text.encode()))
    return path


def test_archive_is_unpacked_with_strip_and_owner(building):
    path = _tar(os.path.join(building.directory, "a.tar.gz"), [
        ("top/", tarfile.DIRTYPE, "", 0o755), ("top/bin/tool", tarfile.REGTYPE, "tool", 0o755),
        ("top/link", tarfile.SYMTYPE, "bin/tool", 0o777), ("top/hard", tarfile.LNKTYPE, "top/bin/tool", 0o755),
    ])  # fmt: skip
    entries = building.make(layer("archive", "1", source=path, to="/opt/t", strip=1, owner="app")).entries()
    assert owner(entries["opt/t/bin/tool"]) == (1000, 1000, "0o755")
    assert entries["opt/t/link"].linkname == "bin/tool"
    assert {entries["opt/t/hard"].linkname, entries["opt/t/bin/tool"].linkname} == {"opt/t/bin/tool", ""}
    assert {member.mtime for member in entries.values()} == {1577836800}


def test_archive_may_be_a_zip(building):
    path = os.path.join(building.directory, "a.zip")
    with zipfile.ZipFile(path, "w") as archive:
        info = zipfile.ZipInfo("d/run")
        info.external_attr = (stat.S_IFREG | 0o755) << 16
        archive.writestr(info, "x")
        link = zipfile.ZipInfo("d/l")
        link.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(link, "run")
    entries = building.make(layer("archive", "1", source=path, to="/opt")).entries()
    assert owner(entries["opt/d/run"]) == (0, 0, "0o755")
    assert entries["opt/d/l"].linkname == "run"


@pytest.mark.parametrize(
    ("member", "message"),
    [
        (("../up", tarfile.REGTYPE, "x", 0o644), "leads out"), (("/abs", tarfile.REGTYPE, "x", 0o644), "leads out"),
        (("hard", tarfile.LNKTYPE, "../../etc/passwd", 0o644), "leads out"),
        (("dev", tarfile.CHRTYPE, "", 0o644), "cannot hold"),
        (("hard", tarfile.LNKTYPE, "none", 0o644), "does not exist"),
    ],
)  # fmt: skip
def test_archive_entries_that_lead_out(building, member, message):
    path = _tar(os.path.join(building.directory, "a.tar.gz"), [member])
    with pytest.raises(ApplyError, match=message):
        building.make(layer("archive", "1", source=path, to="/opt"))


def test_archive_with_another_content_than_its_digest(building):
    path = _tar(os.path.join(building.directory, "a.tar.gz"), [("f", tarfile.REGTYPE, "x", 0o644)])
    with pytest.raises(ConflictError, match="another content"):
        building.make(layer("archive", "1", source=path, to="/opt", sha256="0" * 64))


def test_run_captures_exactly_the_difference(building):
    made = building.make(
        layer("files", files={"/d/keep": {"content": "k"}, "/d/gone": {"content": "g"}, "/e/x": {"content": "x"}}),
        shell("rm /d/gone; echo new > /d/new; chown app /d/new; chmod 4755 /d/new; ln /d/new /d/hard; "
              "rm -r /e; mkdir /e; mkfifo /e/fifo; touch /d/keep; cat /d/keep; : > /tmp/junk"),
    )  # fmt: skip
    entries = made.entries(2)
    names = set(entries) - {".", "d", "e"}
    assert names == {"d/.wh.gone", "d/new", "d/hard", "e/.wh..wh..opq", "e/fifo"}
    assert owner(entries["d/new"])[::2] == (1000, "0o4755")
    assert entries["e/fifo"].isfifo()


def test_run_environment_user_workdir_and_mounts(building):
    source = write(building, "src/input", "given\n")
    made = building.make(
        shell("chown app /home"),
        shell(
            "test $A-$B = 1-3; test $(id -u) = 1000; test $PWD = /work/here; cat /src/input > /home/out; "
            "! touch /src/input; test $SOURCE_DATE_EPOCH = 1577836800",
            environment={"B": "3"}, user="app", workdir="/work/here",
            mounts=[{"source": os.path.dirname(source), "to": "/src"}],
        ),
        config={"environment": {"A": "1", "B": "2"}},
    )  # fmt: skip
    entries = made.entries(2)
    assert set(entries) == {".", "home", "home/out", "work", "work/here"}, "no mount point is left"
    assert made.content("home/out", 2) == b"given\n"
    assert made.config["config"]["Env"][-2:] == ["A=1", "B=2"]


def test_run_cache_is_kept_between_builds_and_out_of_the_layer(building):
    first = building.make(shell("echo one >> /var/cache/x/log; cp /var/cache/x/log /first", cache=["/var/cache/x"]))
    second = building.make(shell("echo two >> /var/cache/x/log; cp /var/cache/x/log /second", cache=["/var/cache/x"]))
    assert first.content("first") == b"one\n"
    assert second.content("second") == b"one\ntwo\n"
    assert set(second.entries()) == {".", "second"}


def test_run_secret_is_a_file_and_never_in_the_layer(building, tmp_path):
    secret = b"hunter2-very-secret"
    made = building.make(
        shell("test $(wc -c < /run/secrets/token) = 19; stat -c %a /run/secrets/token | grep -q 400",
              secrets=["token"]),
        secret={"token": secret}.__getitem__,
    )  # fmt: skip
    assert set(made.entries()) <= {"."}
    for directory, _, names in os.walk(tmp_path):
        for name in names:
            path = os.path.join(directory, name)
            if stat.S_ISREG(os.lstat(path).st_mode):
                with open(path, "rb") as file:
                    assert secret not in file.read(), path


def test_a_failing_run_names_its_place_and_the_last_twenty_lines(building):
    with pytest.raises(ApplyError) as caught:
        building.make(shell("for i in $(seq 1 50); do echo line $i; done; exit 7"))
    error = caught.value
    assert "layer 1 (run for i in" in str(error)
    assert "envkit.yaml:7:5 layers[0]" in str(error)
    assert "exit code 7" in str(error)
    assert error.log == tuple(f"line {number}" for number in range(31, 51))
    assert error.address == "image.test/image"


def test_a_command_that_does_not_exist(building):
    with pytest.raises(ApplyError) as caught:
        building.make(layer("run", argv=["/no/such/program"], network="none"))
    assert any("/no/such/program" in line for line in caught.value.log)


def test_an_image_without_apt_pip_npm_says_what_to_do(building):
    for kind, args in (("apt", {"packages": ["nginx"]}), ("pip", {"packages": ["x"]}), ("npm", {"packages": ["x"]})):
        with pytest.raises(ApplyError) as caught:
            building.make(layer(kind, **args))
        assert caught.value.hint
        assert "the image has no" in caught.value.summary


NPM = """#!/bin/sh
case "$1" in
install) mkdir -p /usr/local/lib/node_modules/ts; echo "$@" > /usr/local/lib/node_modules/ts/asked ;;
ls) echo '{"dependencies": {"ts": {"version": "5.4.5", "dependencies": {"dep": {"version": "1.0.0"}}}}}' ;;
ci) mkdir node_modules; echo "$@" > node_modules/asked; cat package-lock.json > node_modules/seen ;;
esac
test -s "$NPM_CONFIG_USERCONFIG"
"""


def test_npm_installs_a_list_as_of_a_moment_that_is_locked(building, tmp_path):
    tool = layer("files", files={"/usr/bin/npm": {"content": NPM, "mode": 0o755}})
    lock = tmp_path / "envkit.lock"
    made = building.make(tool, layer("npm", packages=["ts@5"]), lock=Lockfile.read(str(lock)))
    (entry,) = json.loads(lock.read_text())["npm"].values()
    assert entry["asked"] == ["ts@5"]
    assert entry["packages"] == {"ts": "5.4.5", "ts/dep": "1.0.0"}
    asked = made.content("usr/local/lib/node_modules/ts/asked", 2).decode()
    assert f"--before={entry['before']}" in asked
    frozen = Lockfile.read(str(lock), frozen=True)
    assert building.make(tool, layer("npm", packages=["ts@5"]), lock=frozen, name="again").built == []
    with pytest.raises(ConflictError, match="frozen"):
        building.make(tool, layer("npm", packages=["other"]), lock=frozen)


def test_npm_carries_out_the_project_own_lock(building):
    write(building, "web/package.json", "{}")
    write(building, "web/package-lock.json", '{"lockfileVersion": 3}')
    write(building, "web/src.js", "not copied")
    tool = layer("files", files={"/usr/bin/npm": {"content": NPM, "mode": 0o755}})
    context = os.path.join(building.directory, "web")
    made = building.make(tool, layer("npm", "1", context=context, to="/srv/web"))
    assert made.content("srv/web/node_modules/asked", 2) == b"ci --omit=dev\n"
    assert made.content("srv/web/node_modules/seen", 2) == b'{"lockfileVersion": 3}'
    assert "srv/web/src.js" not in made.entries(2)
    os.unlink(os.path.join(context, "package-lock.json"))
    with pytest.raises(ApplyError, match=r"no package-lock\.json"):
        building.make(tool, layer("npm", "2", context=context, to="/srv/web"))
