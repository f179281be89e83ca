"""A successor takes over names and published ports, on a machine of its own, without containers."""

from __future__ import annotations

import subprocess

import pytest

from envkit.backend.embedded import attach, publish
from envkit.host.home import Home
from tests.support.machine import HOST, machine
from tests.support.networks import World, other_address, tcp

pytestmark = pytest.mark.root


@pytest.fixture
def world(tmp_path):
    with machine(str(tmp_path)) as host:
        found = World(host, Home(str(tmp_path / "home")))
        yield found
        found.close()

_NAMED = """
import socket, threading
s = socket.socket(socket.AF_INET, socket.SOCK_{kind})
s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
s.bind(("0.0.0.0", 80))
{listen}
print("ready", flush=True)

def answer(c):
    while c.recv(9): c.sendall({name!r}.encode())

while True:
    if {stream}:
        c, a = s.accept()
        threading.Thread(target=answer, args=[c]).start()
    else:
        d, a = s.recvfrom(100); s.sendto({name!r}.encode(), a)
"""
_CLIENT = """
import socket, sys
s = socket.socket(socket.AF_INET, socket.SOCK_{kind}); s.settimeout(5); s.connect(({host!r}, 8080))
for line in sys.stdin:
    s.send(b"?"); print(s.recv(100).decode(), flush=True)
"""


@pytest.mark.parametrize("protocol", ["tcp", "udp"])
def test_a_successor_takes_over_names_and_ports(world, protocol):
    """Whoever asks anew is led to it; a connection stays where it is, while datagrams have none and follow."""
    kind = "STREAM" if protocol == "tcp" else "DGRAM"
    world.network()
    port = tcp(8080, protocol=protocol)
    old = world.attach("web", published=[port])
    other = world.attach("other")
    world.publish(old)
    new = world.attach("web", published=[port], live=False)
    for member, name in ((old, "old"), (new, "new")):
        code = _NAMED.format(kind=kind, listen="s.listen(9)" if protocol == "tcp" else "", stream=protocol == "tcp",
                             name=name)  # fmt: skip
        server = world.host.start(member.netns, ["python3", "-c", code], stdout=subprocess.PIPE)
        assert server.stdout.readline() == b"ready\n"
        world.servers.append(server)

    def client():
        code = _CLIENT.format(kind=kind, host=HOST)
        found = world.host.start(
            world.host.outside, ["python3", "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        world.servers.append(found)
        return found

    def ask(process):
        process.stdin.write(b"\n")
        process.stdin.flush()
        return process.stdout.readline().decode().strip()

    before = client()
    assert ask(before) == "old"
    assert world.hosts(other)["web"] == [other_address(old)]
    publish.take_over(world.home, "shop", {new.id: old.id})
    assert world.hosts(other)["web"] == [other_address(new)]
    assert ask(client()) == "new"
    assert ask(before) == ("old" if protocol == "tcp" else "new")
    publish.take_over(world.home, "shop", {new.id: old.id})  # harmless
    assert ask(client()) == "new"
    attach.detach_many(world.home, "shop", [old.id])
    assert ask(client()) == "new"
    publish.take_over(world.home, "shop", {new.id: old.id})
    assert world.hosts(other)["web"] == [other_address(new)]
