"""Start-first replacement under load on a published port: not one request fails."""

from __future__ import annotations

import json
import os
import sys
import threading

import pytest

from envkit.backend.embedded import record as records
from tests.support import isolation, load
from tests.support.instances import run, staged
from tests.support.isolation import isolated
from tests.support.stage import LOOP, service

pytestmark = [pytest.mark.root, pytest.mark.long]

USUAL = 1500
REQUESTS = int(os.environ.get("ENVKIT_LOAD_REQUESTS", USUAL))
"""Of each of the two tests: 10000 take a minute on two cores that are busy otherwise."""
PORT = 18612
REPLACEMENTS = 3
if REQUESTS > USUAL:
    isolation.LIMIT = 1200


def desired(stage, version, graceful):
    client = {"command": LOOP, "mounts": load.mounts(), "networks": {"default": {}}}
    return stage.environment({"client": client, "web": {
        "command": load.command(version, graceful=graceful), "mounts": load.mounts(), "networks": {"default": {}},
        "update": {"order": "start-first", "monitor": 0.2}, "stop_grace_period": 10.0,
        "ports": [{"target": 80, "published": str(PORT), "protocol": "tcp", "host_ip": ""}],
    }}, networks={"default": {}})  # fmt: skip


@isolated
@pytest.mark.parametrize("graceful", [True, False], ids=["stops gracefully", "dies of SIGTERM"])
def test_no_request_fails(tmp_path, graceful):
    """Clients that connect anew for every request and clients that keep their connection: for as long as the server
    lets them where it says goodbye when it is told to stop, for 50 requests where it just dies."""
    with staged(tmp_path) as stage:

        def apply(version):
            outcome = stage.apply(desired(stage, version, graceful))
            assert not outcome.failed, [str(error) + "\n".join(error.log) for error in outcome.errors]

        apply("0")
        load.await_server(PORT)
        clients = [load.Client(PORT, 1), load.Client(PORT, 1), load.Client(PORT, 0 if graceful else 50)]
        for client in clients:
            client.start()
        number = 0
        while number < REPLACEMENTS or sum(client.count for client in clients) < REQUESTS:
            number += 1
            apply(str(number))
        for client in clients:
            client.finish()
        total = sum(client.count for client in clients)
        failed = sum(len(client.failures) for client in clients)
        sys.stdout.write(f"\n{total} requests, {number} replacements, {failed} failed\n")
        for kind, client in zip(("new connections", "new connections", "kept connections"), clients, strict=True):
            sys.stdout.write(f"{kind}: {client.count} requests on {client.connections}: {client.answers}\n")
            assert client.failures == []
            assert len(client.answers) >= REPLACEMENTS
        stage.down(desired(stage, "x", graceful), timeout=1)


@isolated
def test_no_request_by_name_fails(tmp_path):
    """A container that looks the service up again for every request."""
    with staged(tmp_path) as stage:

        def apply(version):
            outcome = stage.apply(desired(stage, version, False))
            assert not outcome.failed, [str(error) + "\n".join(error.log) for error in outcome.errors]

        apply("0")
        load.await_server(PORT)
        client = records.find(stage.home, stage.name, service("client", {}).address)
        said: list[str] = []
        ask = load.python(load.BY_NAME, str(REPLACEMENTS))
        asking = threading.Thread(target=lambda: said.append(run(client, *ask, timeout=50)[1]))
        asking.start()
        for number in range(REPLACEMENTS):
            apply(str(number + 1))
        asking.join(20)
        answers, failures = json.loads(said[0])
        sys.stdout.write(f"\n{sum(answers.values())} requests by name, {REPLACEMENTS} replacements: {answers}\n")
        assert failures == []
        assert len(answers) > REPLACEMENTS - 1
        stage.down(desired(stage, "x", False), timeout=1)
