"""Every instruction of a Dockerfile, on a real busybox root."""

from __future__ import annotations

import os

import pytest

from envkit.errors import ApplyError, UnsupportedError
from envkit.host.git import is_git
from tests.support.dockerfiles import Kitchen

pytestmark = pytest.mark.root


def test_configuration(kitchen: Kitchen) -> None:
    built = kitchen.build("""\
FROM busybox
ARG VERSION=1
MAINTAINER somebody
ENV A=1 B="two words" PATH=/x:$PATH
ENV C three  $A
LABEL a=$A "b c"='$A'
EXPOSE 80 53/udp 9000-9002
VOLUME /data "/more"
VOLUME ["/a b"]
USER app:app
WORKDIR /srv
WORKDIR sub/${VERSION}
STOPSIGNAL SIGQUIT
HEALTHCHECK --interval=1m30s --timeout=500ms --retries=4 CMD ["true"]
CMD echo $A
ENTRYPOINT ["/bin/echo", "$A"]
SHELL ["/bin/ash", "-ec"]
ONBUILD RUN echo built
""", labels={"own": "1"}, tags=["test/other:2"])  # fmt: skip
    config = built.config
    assert config["Env"] == ["PATH=/x:/usr/local/bin:/usr/bin:/bin", "A=1", "B=two words", "C=three  1"]
    assert config["Labels"] == {"a": "1", "b c": "$A", "own": "1"}
    assert set(config["ExposedPorts"]) == {"80/tcp", "53/udp", "9000/tcp", "9001/tcp", "9002/tcp"}
    assert set(config["Volumes"]) == {"/data", "/more", "/a b"}
    assert (config["User"], config["WorkingDir"], config["StopSignal"]) == ("app:app", "/srv/sub/1", "SIGQUIT")
    check = {"Test": ["CMD", "true"], "Interval": 90 * 10**9, "Timeout": 5 * 10**8, "Retries": 4}
    assert config["Healthcheck"] == check
    assert config["Entrypoint"] == ["/bin/echo", "$A"]
    assert config["Cmd"] == ["/bin/sh", "-c", "echo $A"]
    assert config["Shell"] == ["/bin/ash", "-ec"]
    assert config["OnBuild"] == ["RUN echo built"]
    assert built.files["/srv/sub/1"].kind == "directory"
    assert any("MAINTAINER" in text for text in built.warnings)
    assert kitchen.store.resolve("test/other:2") == built.digest == kitchen.store.resolve("test/image")
    child = kitchen.build("FROM test/image\nENTRYPOINT x\n", name="test/child")
    assert "OnBuild" not in child.config
    assert "Cmd" not in child.config
    assert child.config["Entrypoint"] == ["/bin/ash", "-ec", "x"]
    assert "RUN /bin/ash -ec echo built" in child.history


def test_arguments(kitchen: Kitchen) -> None:
    text = """\
ARG GLOBAL=g
ARG UNSEEN=u
FROM busybox AS one
ARG GLOBAL
ARG OWN=o
ARG NOTHING
ARG TARGETARCH
ENV SHADOWED=env
ARG SHADOWED=arg
RUN echo "$GLOBAL $OWN ${NOTHING-unset} ${UNSEEN-unset} $SHADOWED $HTTP_PROXY ${TARGETARCH:+arch}" > /out
FROM one
RUN echo "$OWN" > /inherited
FROM one AS last
ARG OWN=here
RUN echo "$OWN" > /again
"""
    assert kitchen.build(text, target="one").content("/out") == "g o unset unset env  arch\n"
    given = {"GLOBAL": "G", "NOTHING": "N", "HTTP_PROXY": "p", "EXTRA": "e"}
    built = kitchen.build(text, args=given)
    assert built.content("/out") == "G o N unset env p arch\n"
    assert built.content("/again") == "here\n"
    assert any("EXTRA" in text for text in built.warnings)
    assert not any("HTTP_PROXY" in entry for entry in built.config["Env"])
    same = kitchen.build(text, args={**given, "HTTP_PROXY": "another"})
    assert same.made == []
    assert kitchen.build(text, target="1").content("/inherited") == "o\n"


def test_run_forms(kitchen: Kitchen) -> None:
    built = kitchen.build("""\
FROM busybox
WORKDIR /w
RUN echo "shell $0" > shell && \\
    pwd > where
RUN ["/bin/sh", "-c", "echo exec > exec"]
RUN <<EOF
echo "doc $HOME" > doc
umask > mask
EOF
RUN <<EOF
#!/bin/ash
echo "${0##*/}" > script
EOF
RUN cat <<A > two && cat <<'B' >> two
one $HOME
A
two $HOME
B
USER app
RUN id -u > /tmp/user; echo "$HOME" > /tmp/home
RUN test -e /tmp/user && rm /tmp/user
SHELL ["/bin/busybox", "ash", "-xc"]
RUN echo $- > /tmp/shell
""")  # fmt: skip
    assert built.content("/w/shell") == "shell /bin/sh\n"
    assert built.content("/w/where") == "/w\n"
    assert built.content("/w/exec") == "exec\n"
    assert built.content("/w/doc") == "doc /root\n"
    assert built.content("/w/mask") == "0022\n"
    assert built.content("/w/script") == "EOF\n"
    assert built.content("/w/two") == "one /root\ntwo $HOME\n"
    assert built.content("/tmp/home") == "/home\n"
    assert built.files["/tmp/home"].owner == (1000, 1000)
    assert "/tmp/user" not in built.files
    assert "x" in built.content("/tmp/shell")
    assert not {name for name in built.files if name.startswith(("/dev/", "/proc/", "/run/", "/sys/"))}


def test_run_mounts(kitchen: Kitchen) -> None:
    kitchen.write("in/a.txt", "a")
    kitchen.write("in/left.out", "x")
    kitchen.write(".dockerignore", "**/*.out\n")
    text = """\
FROM busybox AS other
RUN echo stage > /file
FROM busybox
RUN --mount=type=cache,target=/c,id=test-mounts,uid=1000,mode=0700 echo x >> /c/n; cat /c/n > /n; ls -dln /c > /mode
RUN --mount=target=/m,source=in ls /m > /seen; touch /m/x 2>/dev/null || echo ro >> /seen
RUN --mount=target=/m,source=in,rw echo new > /m/b && ls /m > /written
RUN --mount=from=other,source=/file,target=/f cat /f > /copied
RUN --mount=type=tmpfs,target=/t,size=1m mount | grep ' /t ' > /tmpfs
RUN --mount=type=secret,id=token,target=/s,mode=0440,gid=1000 ls -ln /s > /secret; cat /s | wc -c >> /secret
RUN --mount=type=secret,id=token,env=TOKEN test "$TOKEN" = tiny && echo "${OTHER-none}" > /env
RUN --mount=type=secret,id=absent test ! -e /run/secrets/absent
"""
    asked = {"secrets": [{"source": "hidden", "target": "token"}]}
    built = kitchen.build(text, contents={"hidden": b"tiny"}, **asked)
    assert built.content("/n") == "x\n"
    assert built.content("/mode").startswith("drwx------") and " 1000 " in built.content("/mode")
    assert built.content("/seen") == "a.txt\nro\n"
    assert built.content("/written") == "a.txt\nb\n"
    assert not os.path.exists(os.path.join(kitchen.directory, "in/b"))
    assert built.content("/copied") == "stage\n"
    assert "size=1024k" in built.content("/tmpfs")
    assert built.content("/secret").startswith("-r--r-----") and built.content("/secret").endswith("4\n")
    assert built.content("/env") == "none\n"
    assert not {name for name in built.files if name.startswith(("/c", "/m/", "/t/", "/s/", "/run"))} - {"/copied"}
    kitchen.write("in/a.txt", "changed")
    again = kitchen.build(text, contents={"hidden": b"another"}, **asked)
    assert again.made[0] == 3  # the first that reads it; a secret's content is no reason
    with pytest.raises(ApplyError, match="secret that the build does not give"):
        kitchen.build("FROM busybox\nRUN --mount=type=secret,id=x,required=true true\n")
    with pytest.raises(ApplyError, match="SSH agent"):
        kitchen.build("FROM busybox\nRUN --mount=type=ssh,required=true true\n")


def test_run_limits(kitchen: Kitchen) -> None:
    built = kitchen.build(
        "FROM busybox\nRUN ulimit -n > /n; df -k /dev/shm | tail -1 > /shm; grep mirror /etc/hosts > /hosts\n"
        "RUN --network=none ls /sys/class/net > /net\n",
        ulimits={"nofile": {"soft": 77, "hard": 99}}, shm_size=8 << 20, extra_hosts={"mirror": ["10.9.8.7"]},
        network="none",
    )  # fmt: skip
    assert built.content("/n") == "77\n"
    assert " 8192 " in built.content("/shm")
    assert built.content("/hosts").split() == ["10.9.8.7", "mirror"]
    assert built.content("/net") == "lo\n"
    host = kitchen.build("FROM busybox\nRUN --network=host ls /sys/class/net | wc -l > /net\n")
    assert int(host.content("/net")) >= 1


def test_copy(kitchen: Kitchen) -> None:
    for path in ("a.txt", "b.txt", "d/one", "d/deep/two", "d/skip.md", "ignored/x"):
        kitchen.write(path, path)
    kitchen.write("tool", "#!/bin/sh\n", 0o750)
    os.symlink("one", os.path.join(kitchen.directory, "d/link"))
    kitchen.write(".dockerignore", "ignored\n")
    built = kitchen.build("""\
FROM busybox
WORKDIR /w
COPY a.txt one
COPY a.txt b.txt into/
COPY [a-b].txt /glob/
COPY d /d
COPY d/ /d2/
COPY --exclude=*.md --exclude=deep d /some/
COPY --chown=app --chmod=0640 a.txt /owned/by/app
COPY --chown=7 --chmod=u=rwX,go= d /numbers
COPY --parents d/deep/two d/./one /kept/
COPY --link a.txt /linked/x
COPY ["a.txt", "/with space"]
COPY tool /tool
COPY . /all
COPY <<EOF <<"RAW" /docs/
hello ${PATH%%:*}
EOF
$PATH
RAW
COPY a.txt .
""")  # fmt: skip
    files = built.files
    assert built.content("/w/one") == built.content("/w/into/a.txt") == built.content("/w/a.txt") == "a.txt"
    assert {"/glob/a.txt", "/glob/b.txt", "/d/deep/two", "/d2/deep/two", "/some/one"} <= built.names
    assert not {"/some/skip.md", "/some/deep/two", "/all/ignored/x", "/d/d"} & set(files)
    assert (files["/d/link"].kind, files["/d/link"].content) == ("link", "one")
    assert (files["/owned/by/app"].owner, files["/owned/by/app"].mode) == ((1000, 1000), 0o640)
    assert files["/owned/by"].owner == (1000, 1000)
    assert (files["/numbers/one"].owner, files["/numbers/one"].mode) == ((7, 7), 0o600)
    assert files["/numbers/deep"].mode == 0o700
    assert {"/kept/d/deep/two", "/kept/one"} <= built.names
    assert built.content("/linked/x") == built.content("/with space") == "a.txt"
    assert (files["/tool"].mode, files["/tool"].owner) == (0o750, (0, 0))
    assert built.content("/docs/EOF") == "hello /usr/local/bin\n"
    assert built.content("/docs/RAW") == "$PATH\n"


def test_nothing_outside_of_the_context_is_copied(kitchen: Kitchen) -> None:
    os.symlink("/etc/shadow", kitchen.write("x", "") + ".link")
    os.symlink("../../../../etc", kitchen.write("y", "") + ".link")
    for source in ("x.link", "y.link/shadow", "../../../../etc/shadow", "/etc/shadow"):
        with pytest.raises(ApplyError, match="does not exist"):
            kitchen.build(f"FROM busybox\nCOPY {source} /stolen\n")
    built = kitchen.build("FROM busybox\nCOPY y.lin*/shadow *.absent /stolen/\n")
    assert not built.names
    assert any("matches no file" in text for text in built.warnings)
    kept = kitchen.build("FROM busybox\nCOPY . /all\n").files
    assert (kept["/all/x.link"].kind, kept["/all/x.link"].content) == ("link", "/etc/shadow")


def test_a_link_of_the_image_leads_nowhere_else(kitchen: Kitchen) -> None:
    kitchen.write("f", "x")
    built = kitchen.build("FROM busybox\nRUN mkdir /real && ln -s /real /away\nCOPY f /away/\nCOPY f /away/d/\n")
    assert {"/real/f", "/real/d/f"} <= built.names


def test_copy_from_a_stage_an_image_and_a_context(kitchen: Kitchen, tmp_path) -> None:
    more = tmp_path / "more"
    more.mkdir()
    (more / "m").write_text("more")
    built = kitchen.build("""\
FROM busybox AS tools
RUN mkdir /t && echo 1 > /t/f && chown -R app:app /t && chmod 4755 /t/f && ln -s f /t/l
FROM scratch
COPY --from=tools /t /t
COPY --from=0 --chown=0:0 /t/f /root-owned
COPY --from=busybox /etc/passwd /etc/
COPY --from=more m /
COPY --from=parent /bin/busybox /bb
""", additional_contexts={"more": str(more), "parent": "docker-image://busybox"})  # fmt: skip
    assert (built.files["/t/f"].owner, built.files["/t/f"].mode) == ((1000, 1000), 0o4755)
    assert built.files["/t"].owner == (1000, 1000)
    assert built.files["/t/l"].content == "f"
    assert built.files["/root-owned"].owner == (0, 0)
    assert built.content("/m") == "more"
    assert "app" in built.content("/etc/passwd")
    assert built.files["/bb"].mode & 0o111


def test_a_context_can_be_the_base(kitchen: Kitchen) -> None:
    base = kitchen.build("FROM busybox\nENV FROM=context\n", name="test/base")
    built = kitchen.build("FROM base\nRUN true\n", additional_contexts={"base": "image:key"},
                          images={"key": base.digest})  # fmt: skip
    assert "FROM=context" in built.config["Env"]


@pytest.mark.parametrize(
    "text, summary, place",
    [
        ("FROM busybox\nRUN echo out; exit 7\n", "a command failed", "Dockerfile:2:1: exit code 7"),
        ("FROM busybox\nCOPY nothing /x\n", "does not exist", "Dockerfile:2:6: nothing"),
        ("FROM busybox\nCOPY out.log /x\n", "left out by the ignore file", "Dockerfile:2:6: out.log"),
        ("FROM busybox\nCOPY --chown=nobody2 a /x\n", "no such user", "Dockerfile:2"),
        ("FROM busybox\nUSER ghost\nRUN true\n", "no such user", "Dockerfile:3"),
        ("FROM localhost:1/there\n", "", "Dockerfile:1:6"),
        ("FROM busybox\nADD git://127.0.0.1:1/x.git /x\n", "cannot be fetched", "Dockerfile:2"),
        ("FROM busybox\nEXPOSE http\n", "cannot be carried out", "Dockerfile:2:1: 'http' is no port"),
        ("FROM busybox\nLABEL a=\"${A:?no value}\"\n", "cannot be carried out", "A: no value"),
        ("FROM busybox\nRUN --security=insecure true\n", "cannot be carried out", "not allowed"),
        ("FROM --platform=linux/s390x busybox\n", "another platform", "Dockerfile:1"),
    ],
)  # fmt: skip
def test_errors_name_their_place(kitchen: Kitchen, text: str, summary: str, place: str) -> None:
    kitchen.write("a", "a")
    kitchen.write("out.log", "a")
    kitchen.write(".dockerignore", "*.log\n")
    with pytest.raises(ApplyError) as caught:
        kitchen.build(text)
    assert summary in caught.value.summary
    assert place in caught.value.detail
    assert "^" in caught.value.detail


def test_a_failing_command_shows_its_last_lines(kitchen: Kitchen) -> None:
    with pytest.raises(ApplyError) as caught:
        kitchen.build("FROM busybox\nRUN for i in $(seq 30); do echo line $i; done; false\n")
    assert caught.value.log == tuple(f"line {number}" for number in range(11, 31))


def test_what_cannot_be_built_says_why(kitchen: Kitchen) -> None:
    kitchen.write("Dockerfile", "FROM busybox\n")
    with pytest.raises(UnsupportedError, match="another platform"):
        kitchen.build(platforms=["linux/s390x"])
    with pytest.raises(ApplyError, match="cannot start from a directory"):
        kitchen.build("FROM more\n", additional_contexts={"more": kitchen.directory})


def test_a_broken_dockerfile(kitchen: Kitchen) -> None:
    with pytest.raises(ApplyError) as caught:
        kitchen.build("FROM busybox\nRUM x\nCOPY y\n")
    assert "Dockerfile:2:1" in caught.value.detail and "Dockerfile:3:1" in caught.value.detail
    assert is_git("https://e.org/x.git#main:sub") and is_git("git@e.org:x") and not is_git("./x")
