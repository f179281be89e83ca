"""An installation's networks on a machine of its own (tests.support.machine), with members that are no containers."""

from __future__ import annotations

import os
import subprocess
from contextlib import contextmanager

from envkit.backend.embedded import attach, network, network_state, publish
from envkit.backend.embedded.attach import Request
from envkit.backend.embedded.network_observe import Observation
from envkit.host import links
from envkit.host.home import Home
from tests.support.machine import machine, stop


class World:
    """An installation on a machine: makes networks and instances, and leaves nothing."""

    def __init__(self, host, home):
        self.host, self.home, self.servers = host, home, []
        self.count = 0
        self.made = []

    def network(self, key="default", environment="shop", **spec):
        made = network.create(self.home, environment, key, {"name": f"{environment}_{key}", **spec}, f"f{sorted(spec)}")
        self.made.append((environment, key))
        return made

    def request(self, service, networks=("default",), environment="shop", replica=1, published=(), **options):
        self.count += 1
        identity = f"{self.count:012x}"
        directory = os.path.join(self.home.instances(environment), f"{service}.{replica}.{self.count}")
        wanted = networks if isinstance(networks, dict) else {key: {} for key in networks}
        return Request(identity, service, replica, f"{environment}-{service}-{replica}", directory, wanted,
                       hostname=options.pop("hostname", identity), ports=published, **options)  # fmt: skip

    def attach(self, *args, environment="shop", **options):
        request = self.request(*args, environment=environment, **options)
        return attach.attach_many(self.home, environment, [request])[request.id]

    def serve(self, member, port=80, kind="tcp", address="0.0.0.0"):
        server = self.host.serve(member.netns if member else None, address, port, kind)
        self.servers.append(server)
        return server

    def publish(self, *members, environment="shop"):
        publish.set_published(self.home, environment, {member.id: True for member in members})

    def ask(self, member, address, port=80, kind="tcp", timeout=1.0):
        return self.host.ask(member.netns if member else None, address, port, kind, timeout)

    def hosts(self, member):
        with open(os.path.join(member.directory, "hosts")) as file:
            rows = [line.split() for line in file]
        return {name: [row[0] for row in rows if name in row[1:]] for row in rows for name in row[1:]}

    def close(self):
        stop(*self.servers)
        for environment in network_state.environments(self.home):
            state = network_state.load(self.home, environment)
            attach.detach_many(self.home, environment, list(state.members))
        for environment in network_state.environments(self.home):
            state = network_state.load(self.home, environment)
            network.remove(self.home, environment, [*state.networks, *state.external])


def tcp(published, target=80, host_ip="", protocol="tcp"):
    return {"target": target, "published": published, "protocol": protocol, "host_ip": host_ip}


def other_address(member):
    return next(iter(member.endpoints.values())).ipv4


def seen(world, member, path):
    return tuple(side[path] for side in Observation(world.home, "shop").instance(member.id))


@contextmanager
def alone(directory):
    """A World on a machine of its own; afterwards nothing of it is left there."""
    with machine(str(directory)) as host:
        found = World(host, Home(str(directory / "home")))
        before = {link.name for link in links.links()}
        yield found
        found.close()
        assert {link.name for link in links.links()} == before
        rules = subprocess.run(["nft", "list", "ruleset"], capture_output=True, text=True, check=True).stdout
        assert "envkit" not in rules
        assert os.listdir(found.home.run + "/netns") == [] if os.path.isdir(found.home.run + "/netns") else True
        assert network_state.environments(found.home) == []
