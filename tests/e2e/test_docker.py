"""`--backend docker` on a real engine, as a user has it: Compose's environments, trouble, the terminal's commands."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from tests.contract.rig import give_image
from tests.support.certificates import authority, certificate, client
from tests.support.docker_site import Site
from tests.support.dockerd import Dockerd
from tests.support.project import Project
from tests.support.proxy import Proxy
from tests.support.registry import Registry

pytestmark = [pytest.mark.root, pytest.mark.dockerd, pytest.mark.long]
PORT = 18937
LOOP = """["/bin/sh", "-c", "echo $$NAME; trap 'exit 0' TERM; while :; do sleep 0.05; done"]"""


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dockerd]:
    folder = tmp_path_factory.mktemp("docker")
    keys = folder / "keys"
    authority(keys)
    certificate(keys, "server", "serverAuth")
    certificate(keys, "client", "clientAuth")
    made = Dockerd(
        folder / "engine", "--host", f"tcp://127.0.0.1:{PORT}", "--tlsverify", "--tlscacert", f"{keys}/ca.pem",
        "--tlscert", f"{keys}/server.pem", "--tlskey", f"{keys}/server-key.pem",
    )  # fmt: skip
    try:
        give_image(str(made.socket), str(folder / "images"))
        yield made
    finally:
        made.stop()


@pytest.fixture
def site(engine: Dockerd, tmp_path: Path) -> Iterator[Callable[[Mapping[str, str]], Site]]:
    made: list[Site] = []

    def make(files: Mapping[str, str]) -> Site:
        made.append(Site(Project(tmp_path, files), engine))
        return made[-1]

    yield make
    for item in made:
        item.run("down", "--volumes", "--yes", "--timeout", "0").assert_success()
        assert item.containers() == {}
        assert engine.docker("volume", "ls", "-q") == ""


TAKEN = {
    "compose.yaml": f"""
        name: taken
        services:
          db:
            image: busybox:test
            command: {LOOP}
            environment: {{NAME: db, LEVEL: "1"}}
            volumes: ["data:/data", "./site:/site:ro"]
            restart: unless-stopped
            mem_limit: 64m
            labels: {{team: x}}
            healthcheck: {{test: ["CMD", "true"], interval: 2s}}
          web:
            image: busybox:test
            command: {LOOP}
            environment: {{NAME: web}}
            depends_on: [db]
            ports: ["127.0.0.1:18931:80"]
            networks: {{default: {{aliases: [www]}}, back: {{}}}}
            tmpfs: [/run]
            read_only: true
            cap_drop: [ALL]
            security_opt: ["no-new-privileges:true"]
            ulimits: {{nofile: {{soft: 512, hard: 1024}}}}
            user: "1000:1000"
            hostname: host
            secrets: [pw]
        networks: {{back: {{internal: true}}}}
        volumes: {{data: {{}}}}
        secrets: {{pw: {{file: ./pw.txt}}}}
    """,
    "pw.txt": "correct horse",
    "site/index.html": "hello",
}


def test_composes_environment_is_taken_over_changed_and_handed_back(site: Callable[..., Site]) -> None:
    taken = site(TAKEN)
    taken.compose("up", "-d")
    before = taken.containers()
    taken.run("plan", "--expect-no-changes").assert_success()
    taken.run("apply").assert_success().assert_text("No changes.")
    assert taken.containers() == before
    text = Path(taken.project.directory, "compose.yaml").read_text()
    taken.project.write({"compose.yaml": text.replace('LEVEL: "1"', 'LEVEL: "2"')})
    taken.run("plan").assert_text("environment.LEVEL").assert_no_text("service.web")
    taken.run("apply").assert_success()
    after = taken.containers()
    assert after["taken-web-1"] == before["taken-web-1"]
    assert after["taken-db-1"] != before["taken-db-1"]
    taken.compose("up", "-d")
    assert taken.containers() == after
    taken.run("plan", "--expect-no-changes").assert_success()


def test_containers_become_a_file_that_describes_them(engine: Dockerd, tmp_path: Path) -> None:
    """What `import` writes is valid, has no secret, and on the same engine runs what ran."""
    there = Site(Project(tmp_path, {}), engine)
    run = ["run", "--detach", "--network", "none"]
    engine.docker(*run, "--name", "one", "--env", "API_TOKEN=only-here", "--env", "LEVEL=a$b", "--memory", "64m",
                  "--restart", "unless-stopped", "--volume", "kept:/data", "busybox:test", "sleep", "100")  # fmt: skip
    engine.docker(*run, "--name", "two", "--user", "7", "--read-only", "busybox:test", "sleep", "100")
    try:
        shown = there.run("import", "--dry-run", "one").assert_success()
        shown.assert_text("image: busybox:test").assert_no_text("only-here").assert_no_text("two:")
        there.run("import", "three").assert_failure("no such container").assert_text("one, two")
        there.run("import", "--backend", "embedded").assert_code(125).assert_text("--backend docker")
        there.run("import").assert_success().assert_text("API_TOKEN").assert_no_text("only-here")
    finally:
        engine.docker("rm", "--force", "one", "two")
    directory = Path(there.project.directory)
    assert (directory / "secrets/one.env").read_text() == "API_TOKEN=only-here\n"
    assert (directory / "secrets/one.env").stat().st_mode & 0o777 == 0o600
    assert "secrets/" in (directory / ".gitignore").read_text().split()
    there.run("validate").assert_success()
    try:
        there.run("apply").assert_success()
        inside = there.run("exec", "-T", "one", "sh", "-c", "echo $LEVEL $API_TOKEN").assert_success()
        assert inside.stdout == "a$b only-here\n"
    finally:
        there.run("down", "--volumes", "--yes", "--timeout", "0").assert_success()
        engine.docker("volume", "rm", "--force", "kept")


def test_what_envkit_made_is_handed_over(site: Callable[..., Site]) -> None:
    taken = site(TAKEN)
    taken.run("apply").assert_success()
    before = taken.containers()
    assert taken.run("exec", "-T", "web", "cat", "/run/secrets/pw").stdout == "correct horse"
    taken.compose("up", "-d")
    assert taken.containers() == before
    assert "taken" in taken.compose("ls")
    assert "db" in taken.compose("logs", "db")


ONE = {
    "compose.yaml": f"""
        name: one
        services:
          a: {{image: busybox:test, command: {LOOP}, environment: {{NAME: hello}}, network_mode: none}}
    """
}


def test_the_commands_of_the_day(site: Callable[..., Site]) -> None:
    one = site(ONE)
    one.run("apply").assert_success()
    one.run("logs", "a").assert_success().assert_text("hello")
    one.run("exec", "-T", "a", "sh", "-c", "cat; echo oops >&2; exit 3", stdin="typed").assert_code(3).assert_text(
        "typed", "oops"
    )
    one.run("run", "--rm", "-T", "a", "sh", "-c", "echo once; exit 4").assert_code(4).assert_text("once")
    one.run("cp", "compose.yaml", "a:/tmp/").assert_success()
    one.run("cp", "a:/tmp/compose.yaml", "back.yaml").assert_success()
    one.run("diff", "a").assert_success().assert_text("/tmp/compose.yaml")
    sent, back = (Path(one.project.directory, name).read_text() for name in ("compose.yaml", "back.yaml"))
    assert sent == back
    one.run("top").assert_success().assert_text("/bin/sh -c")
    one.run("stop", "-t", "0").assert_success()
    one.run("plan").assert_text("state")
    one.run("start").assert_success()
    one.run("plan", "--expect-no-changes").assert_success()
    one.run("events", "--no-follow").assert_success().assert_text("start", "die")
    one.run("stats", "--no-stream").assert_success().assert_text("\na  ")
    one.run("ls").assert_success().assert_text("one")


MANY = {
    "compose.yaml": "name: many\nservices:\n" + "".join(
        f"  s{number}: {{image: busybox:test, command: {LOOP}, environment: {{NAME: x}}, network_mode: none}}\n"
        for number in range(4)
    )
}  # fmt: skip


def test_a_connection_cut_in_mid_apply(site: Callable[..., Site], tmp_path: Path) -> None:
    many = site(MANY)
    with Proxy(str(tmp_path / "p.sock"), str(many.engine.socket), b"/start HTTP/1.1", 2) as proxy:
        begun = time.monotonic()
        failed = many.run("apply", host=f"unix://{proxy.path}")
        assert proxy.was_cut
        assert time.monotonic() - begun < 60
    failed.assert_failure("connection to the engine")
    many.run("apply").assert_success()
    many.run("plan", "--expect-no-changes").assert_success()


def test_an_engine_that_restarts_in_mid_apply(tmp_path: Path) -> None:
    engine = Dockerd(tmp_path / "e")
    try:
        give_image(str(engine.socket), str(tmp_path / "images"))
        many = Site(Project(tmp_path, MANY), engine)
        variables = many.project.environ({"DOCKER_HOST": f"unix://{engine.socket}", "ENVKIT_BACKEND": "docker"})
        apply = subprocess.Popen(
            [sys.executable, "-m", "envkit.cli.main", "apply"], cwd=many.project.directory, env=variables,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
        deadline = time.monotonic() + 60
        while not many.containers() and apply.poll() is None and time.monotonic() < deadline:
            time.sleep(0.02)
        engine.restart()
        output, _ = apply.communicate(timeout=100)
        assert "Traceback" not in output
        many.run("apply").assert_success()
        many.run("plan", "--expect-no-changes").assert_success()
        many.run("down", "--yes", "--timeout", "0").assert_success()
        assert many.containers() == {}
    finally:
        engine.stop()


def test_there_is_no_engine(site: Callable[..., Site], tmp_path: Path) -> None:
    one = site(ONE)
    one.run("plan", host=f"unix://{tmp_path}/nothing.sock").assert_failure("There is no engine", "no such socket")
    one.run("plan", host="tcp://127.0.0.1:1").assert_failure("There is no engine", "nobody listens there")
    one.run("plan", host="tcp://127.0.0.1").assert_failure("has no port")


def test_tls(site: Callable[..., Site], tmp_path: Path) -> None:
    one = site(ONE)
    keys = one.engine.folder.parent / "keys"
    good = {"DOCKER_TLS_VERIFY": "1", "DOCKER_CERT_PATH": str(client(tmp_path / "good", keys))}
    far = f"tcp://127.0.0.1:{PORT}"
    one.run("apply", host=far, also=good).assert_success()
    one.run("logs", "a", host=far, also=good).assert_success().assert_text("hello")
    asked = one.run("exec", "-T", "a", "sh", "-c", "cat; echo end", host=far, also=good, stdin="typed")
    asked.assert_success().assert_text("typedend")
    one.run("plan", host=far).assert_failure("speaks TLS only")
    authority(tmp_path / "other")
    certificate(tmp_path / "other", "client", "clientAuth")
    wrong = client(tmp_path / "wrong", tmp_path / "other")
    one.run("plan", host=far, also={**good, "DOCKER_CERT_PATH": str(wrong)}).assert_failure("is not trusted")
    (wrong / "ca.pem").write_bytes((keys / "ca.pem").read_bytes())
    one.run("plan", host=far, also={**good, "DOCKER_CERT_PATH": str(wrong)}).assert_failure("do not agree on TLS")


def test_ssh_and_contexts(site: Callable[..., Site], tmp_path: Path) -> None:
    """The program `ssh` is one of the test's, which runs what it is told on this machine."""
    one = site(ONE)
    fake = tmp_path / "bin" / "ssh"
    fake.parent.mkdir()
    fake.write_text('#!/bin/sh\nwhile [ "$1" != -- ]; do shift; done\nshift 2\nexec "$@"\n')
    fake.chmod(0o755)
    paths = {"PATH": f"{fake.parent}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}
    far = f"ssh://somebody@far{one.engine.socket}"
    one.run("apply", host=far, also=paths).assert_success()
    one.run("logs", "a", host=far, also=paths).assert_success().assert_text("hello")
    one.run("exec", "-T", "a", "cat", host=far, also=paths, stdin="typed").assert_success().assert_text("typed")
    config = {"DOCKER_CONFIG": str(tmp_path / "client"), "DOCKER_HOST": ""}
    words = ["context", "create", "here", "--docker", f"host=unix://{one.engine.socket}"]
    subprocess.run(["docker", *words], env={**one.engine.environ, **config}, check=True, capture_output=True)
    one.run("plan", "--expect-no-changes", "--context", "here", also=config).assert_success()
    one.run("plan", "--context", "gone", also=config).assert_failure("A docker context does not exist")


def test_registries_are_asked_as_the_pull_policy_says(site: Callable[..., Site], tmp_path: Path) -> None:
    registry = Registry(tmp_path / "registry")
    name = f"{registry.host}/app:1"

    def publish(version: str) -> None:
        docker = there.engine.docker
        made = docker("create", "--env", f"VERSION={version}", "busybox:test", "/bin/sleep", "1000").strip()
        docker("commit", made, name)
        docker("rm", made)
        docker("push", "-q", name)
        docker("rmi", name)

    def version() -> str:
        return there.run("exec", "-T", "web", "sh", "-c", "echo $VERSION").assert_success().stdout.strip()

    there = site({"compose.yaml": f"""
        name: pulls
        services: {{web: {{image: "{name}", pull_policy: always, init: true}}}}
        """})
    try:
        publish("one")
        there.run("pull").assert_success()
        assert name in there.engine.docker("image", "ls", "--format", "{{.Repository}}:{{.Tag}}")
        there.run("apply").assert_success()
        there.run("plan", "--expect-no-changes").assert_success()
        identity = there.engine.docker("inspect", "--format", "{{.Id}}", name).strip()
        publish("two")
        there.engine.docker("tag", identity, name)
        there.run("plan").assert_success().assert_text("image_digest", "service.web")
        there.run("apply").assert_success()
        assert version() == "two"
        there.run("plan", "--expect-no-changes").assert_success()
        there.project.write({"compose.yaml": f"""
            name: pulls
            services: {{web: {{image: "{name}", pull_policy: weekly, init: true}}}}
            """})
        publish("three")
        there.engine.docker("tag", there.engine.docker("inspect", "-f", "{{.Image}}", "pulls-web-1").strip(), name)
        there.run("plan", "--expect-no-changes").assert_success()  # it was asked just now
    finally:
        there.run("down", "--timeout", "0").assert_success()
        registry.stop()


def test_a_dockerfile_is_left_to_the_engines_own_builder(site: Callable[..., Site]) -> None:
    dockerfile = """
        FROM busybox:test AS base
        ARG VERSION
        COPY . /site/
        RUN echo $VERSION > /version && cat /etc/hosts > /hosts
        FROM base AS more
        RUN echo more > /more
        """
    text = """
        name: built
        services:
          web:
            build: {context: app, target: base, args: {VERSION: "%s"}, labels: {team: x},
                    extra_hosts: ["mirror.example=10.1.2.3"], network: none}
            init: true
            command: ["/bin/sleep", "1000"]
        """
    files = {"app/Dockerfile": dockerfile, "app/kept": "k", "app/left": "l", "app/.dockerignore": "left\nDockerfile\n"}
    there = site({"compose.yaml": text % "one", **files})
    flags = ("--builder", "engine")
    made = there.run(*flags, "apply").assert_success()
    assert "Step 1/" in made.stderr
    shown = there.run("exec", "-T", "web", "sh", "-c", "cat /version /hosts; ls /site; ls /more").stdout
    assert shown.startswith("one\n")
    assert "10.1.2.3" in shown
    assert shown.endswith("kept\n")
    assert there.engine.docker("inspect", "-f", "{{index .Config.Labels \"team\"}}", "built-web").strip() == "x"
    there.run(*flags, "plan", "--expect-no-changes").assert_success()
    there.run("plan", "--expect-no-changes").assert_success()  # whoever built it
    there.project.write({"compose.yaml": text % "two"})
    there.run("apply", also={"ENVKIT_BUILDER": "engine"}).assert_success().assert_text("service.web replaced")
    assert there.run("exec", "-T", "web", "cat", "/version").stdout == "two\n"
    there.project.write({"app/Dockerfile": "FROM busybox:test AS base\nRUN echo about to fail && false\n"})
    there.run(*flags, "apply").assert_failure("An image cannot be built", "about to fail")
    there.project.write({"app/Dockerfile": "FROM busybox:test AS base\nRUN --mount=type=cache,target=/c true\n"})
    there.run(*flags, "plan").assert_failure("`RUN --mount` needs BuildKit", "--builder engine")
    refused = there.run("--backend", "embedded", *flags, "plan").assert_code(125)
    refused.assert_text("the embedded backend has no such builder")


def test_containers_run_before_a_service_does(site: Callable[..., Site]) -> None:
    there = site({"compose.yaml": """
        name: before
        services:
          web:
            image: busybox:test
            init: true
            command: ["/bin/sleep", "1000"]
            volumes: ["data:/data"]
            deploy: {replicas: 2}
            pre_start:
              - command: ["/bin/sh", "-c", "echo once >> /data/log; echo said"]
              - command: ["/bin/sh", "-c", "echo each >> /data/log"]
                per_replica: true
        volumes: {data: {}}
        """})
    there.run("apply").assert_success().assert_text("said")
    read = ("exec", "-T", "web", "cat", "/data/log")
    assert sorted(there.run(*read).stdout.split()) == ["each", "each", "once"]
    there.run("plan", "--expect-no-changes").assert_success()
    there.run("apply", "--scale", "web=3").assert_success()
    assert sorted(there.run(*read).stdout.split()) == ["each", "each", "each", "once"]
    assert len(there.containers()) == 3
    there.project.write({"compose.yaml": """
        name: before
        services:
          web: {image: "busybox:test", command: [sleep, "9"], pre_start: [{command: ["/bin/sh", "-c", "exit 17"]}]}
        """})
    there.run("apply").assert_failure("pre_start[0] ended with exit code 17")
