"""Docker's own builder makes the same files and the same configuration."""

from __future__ import annotations

import io
import os
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from envkit.events import ignore
from envkit.host.home import Home
from envkit.image.archive import load, save
from envkit.image.store import Store
from tests.support.building import in_engine
from tests.support.dockerd import Dockerd
from tests.support.dockerfiles import Built, Kitchen
from tests.support.images import busybox_image

pytestmark = [pytest.mark.root, pytest.mark.dockerd]

DOCKERFILES = {
    "files": """\
FROM busybox
WORKDIR /w/sub
COPY a.txt b.txt ./
COPY d /d
COPY *.txt /glob/
ADD t.tar /un/
ADD a.txt /x/y/z
COPY --chown=app:app tool /opt/tool
COPY --chown=55 tool /opt/number
RUN echo run > made; chmod 600 made; ln -s made link; mkdir -p dir/deep
RUN rm made; touch /tmp/left
USER app
RUN echo "$HOME $(id -u) $(pwd)" > /tmp/who
""",
    "settings": """\
ARG BASE=busybox
FROM $BASE AS first
ARG A=1
ENV B=${A}2 C="x y"
LABEL a=b c="d e" f=$B
EXPOSE 80 81/udp
VOLUME /v
HEALTHCHECK --interval=3s --retries=2 CMD test -e /x
CMD echo $B
FROM first
ENV D=$B
ENTRYPOINT ["/bin/echo"]
STOPSIGNAL SIGINT
WORKDIR /srv
WORKDIR below
USER 1000:1000
""",
    "stages": """\
FROM busybox AS tools
WORKDIR /o
RUN echo 1 > one && echo 2 > two && chmod 4711 two
FROM busybox AS unused
RUN true
FROM busybox
SHELL ["/bin/ash", "-ec"]
COPY --from=tools /o/one /o/
COPY --from=0 /o /all
CMD ls
""",
}  # fmt: skip


@pytest.fixture(scope="module")
def docker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dockerd]:
    daemon = Dockerd(tmp_path_factory.mktemp("docker-agrees") / "d")
    store = Store(Home(str(tmp_path_factory.mktemp("base") / "home")))
    archive = str(daemon.folder / "busybox.tar")
    in_engine(store_home(store), lambda: (busybox_image(store, "busybox"), save(store, ["busybox"], archive, "docker")))
    daemon.docker("load", "--input", archive)
    yield daemon
    daemon.stop()


def store_home(store: Store) -> Home:
    return Home(os.path.dirname(store.root))


@pytest.fixture
def context(kitchen: Kitchen) -> Kitchen:
    for name in ("a.txt", "b.txt", "d/one", "d/deep/two"):
        kitchen.write(name, name)
    kitchen.write("tool", "#!/bin/sh\n", 0o750)
    os.symlink("one", os.path.join(kitchen.directory, "d/link"))
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        member = tarfile.TarInfo("in/side")
        member.size, member.mode, member.uid, member.gid = 1, 0o640, 3, 4
        archive.addfile(member, io.BytesIO(b"x"))
    kitchen.write("t.tar", buffer.getvalue())
    return kitchen


@pytest.mark.parametrize("name", DOCKERFILES)
def test_the_classic_builder_agrees(name: str, context: Kitchen, docker: Dockerd, tmp_path: Path) -> None:
    ours = context.build(DOCKERFILES[name])
    environ = {**docker.environ, "DOCKER_BUILDKIT": "0"}
    command = ["docker", "build", "--network=none", "--tag", "theirs", context.directory]
    done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    archive = str(tmp_path / "theirs.tar")
    docker.docker("save", "--output", archive, "theirs")
    theirs = _loaded(context, archive)
    assert _files(ours) == _files(theirs)
    assert _settings(ours.config) == _settings(theirs.config)


def _loaded(kitchen: Kitchen, archive: str) -> Built:
    def action() -> Built:
        names = load(kitchen.store, archive, ignore)
        return kitchen.built(kitchen.store.image(names[0]).digest)

    made: Built = in_engine(kitchen.home, action)
    return made


def _files(built: Built) -> dict[str, Any]:
    """Path -> kind, mode, owner, content. Docker makes empty files for what it mounts into every container."""
    mounted = {"/etc/hosts", "/etc/hostname", "/etc/resolv.conf", "/etc/mtab", "/.dockerenv"}
    parents = {"/", "/.", "/etc", "/dev", "/proc", "/sys", "/tmp", "/dev/pts", "/dev/shm", "/dev/console"}
    for file in built.files.values():
        file.mode &= 0o7777
    return {name: repr(file) for name, file in built.files.items() if name not in mounted | parents}


def _settings(config: dict[str, Any]) -> dict[str, Any]:
    ignored = {"Hostname", "Domainname", "Image", "AttachStdin", "AttachStdout", "AttachStderr", "Tty", "OpenStdin",
               "StdinOnce", "OnBuild", "ArgsEscaped"}  # fmt: skip
    return {key: value for key, value in config.items() if key not in ignored and value not in (None, [], {}, "")}
