"""Start-first replacement under load on a published port: not one request fails."""

from __future__ import annotations

import os
import sys

import pytest

from tests.support import isolation, load
from tests.support.instances import staged
from tests.support.isolation import isolated

pytestmark = pytest.mark.root

USUAL = 1500
REQUESTS = int(os.environ.get("ENVKIT_LOAD_REQUESTS", USUAL))
"""Of each of the two tests: 10000 take a minute on two cores that are busy otherwise."""
PORT = 18612
REPLACEMENTS = 3
if REQUESTS > USUAL:
    isolation.LIMIT = 1200


def desired(stage, version, graceful):
    return stage.environment({"web": {
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
