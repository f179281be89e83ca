"""Compose's command lines are read as Compose reads them."""

from __future__ import annotations

from typing import Any

import pytest

from envkit.cli.flags import parse
from envkit.errors import UsageError

ACCEPTED = [
    ("up -d --build web", {"detach": True, "build": True, "services": ["web"]}),
    ("up web -d db", {"detach": True, "services": ["web", "db"]}),
    ("up --detach=false", {"detach": False}),
    ("up --detach=true", {"detach": True}),
    ("up --no-deps --force-recreate --remove-orphans web", {"no_deps": True, "force_recreate": True}),
    ("up --scale web=3 --scale db=1", {"scale": ["web=3", "db=1"]}),
    ("up -V -t 5 --wait --wait-timeout 30", {"renew_anon_volumes": True, "timeout": 5.0, "wait_timeout": 30.0}),
    ("up --pull always --quiet-pull --quiet-build -y", {"pull": "always", "quiet_build": True, "yes": True}),
    ("up --exit-code-from web --no-log-prefix --no-color --timestamps --menu", {"exit_code_from": "web"}),
    ("up --attach web --no-attach db --attach-dependencies=false", {"attach": ["web"], "no_attach": ["db"]}),
    ("up --abort-on-container-exit --abort-on-container-failure", {"abort_on_container_failure": True}),
    ("create --build --no-recreate web", {"no_recreate": True, "services": ["web"]}),
    ("down -v --rmi local --remove-orphans -t 3 web", {"volumes": True, "rmi": "local", "services": ["web"]}),
    ("rm -fsv web", {"force": True, "stop": True, "volumes": True, "services": ["web"]}),
    ("ps -a --filter status=running --format json --orphans=false", {"all": True, "orphans": False}),
    ("ps --services --status running --status exited", {"names_only": True, "status": ["running", "exited"]}),
    ("logs -f web --tail 10 db", {"follow": True, "tail": "10", "services": ["web", "db"]}),
    ("logs --tail=all --no-log-prefix --index 2 web", {"tail": "all", "index": 2}),
    ("exec -it web sh -c 'ls --all=true'", {"tty": True, "command": ["sh", "-c", "ls --all=true"]}),
    ("exec -T -u 1000 -w /srv -e A=1 --privileged --index 2 web id", {"no_tty": True, "index": 2, "env": ["A=1"]}),
    ("exec --interactive=false web cat --number=false", {"interactive": False, "command": ["cat", "--number=false"]}),
    ("run --rm -P -e A web sh", {"rm": True, "service_ports": True, "env": ["A"], "command": ["sh"]}),
    ("run --no-TTY --use-aliases --cap-add NET_ADMIN web", {"no_tty": True, "cap_add": ["NET_ADMIN"]}),
    ("run --env-from-file a.env --name x -l a=b -v /a:/b web --help", {"command": ["--help"], "name": "x"}),
    ("restart -t 1 --no-deps web", {"no_deps": True, "timeout": 1.0}),
    ("start --wait --wait-timeout 5 web", {"wait": True, "wait_timeout": 5.0}),
    ("kill -s HUP --remove-orphans web", {"signal": "HUP", "remove_orphans": True}),
    ("cp -aL --index 2 web:/a b", {"archive": True, "follow_link": True, "index": 2}),
    ("cp --all - web:/a", {"all": True, "source": "-"}),
    ("ls -a -q --filter name=x --format json", {"filter": ["name=x"], "format": "json"}),
    ("stats --no-stream --format '{{.Name}}' -a web", {"no_stream": True, "all": True, "services": ["web"]}),
    ("port --protocol udp --index 2 web 53", {"protocol": "udp", "private_port": "53"}),
    ("scale web=3 db=2 --no-deps", {"scale": ["web=3", "db=2"], "no_deps": True}),
    ("events --json --since 10m --until 2026-01-01T00:00:00Z web", {"json": True, "services": ["web"]}),
    ("wait --down-project web", {"down_project": True}),
    ("attach --index 2 --no-stdin --sig-proxy=false --detach-keys ctrl-c web", {"sig_proxy": False}),
    ("volumes -q web --format json", {"quiet": True, "services": ["web"], "format": "json"}),
    ("version -f json --short", {"format": "json", "short": True}),
    ("--progress plain --ansi never --parallel 4 up", {"progress": "plain", "ansi": "never", "parallel": 4}),
    ("up --dry-run", {"dry_run": True}),
    ("--compatibility --all-resources ps", {"compatibility": True, "all_resources": True}),
]


@pytest.mark.parametrize(("line", "expected"), ACCEPTED, ids=[line for line, _ in ACCEPTED])
def test_a_line_of_compose_is_understood(line: str, expected: dict[str, Any]) -> None:
    import shlex

    _, options = parse(shlex.split(line))
    assert {name: getattr(options, name) for name in expected} == expected


@pytest.mark.parametrize(
    "line",
    [
        "up --pull sometimes", "down --rmi some", "ps --status asleep", "--progress loud up", "--ansi maybe up",
        "up --detach=perhaps", "scale", "exec", "attach", "port web", "cp a", "rm --nonsense",
    ],
)  # fmt: skip
def test_what_compose_refuses_is_refused(line: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse(line.split())
    assert "--help" in caught.value.hint
