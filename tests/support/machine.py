"""A machine of one's own for network tests: a network namespace as "the host", and another one as "the outside".

    outside 203.0.113.1 ── wan0 203.0.113.2 (the host's uplink, MTU 1400, default route)
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from envkit.host import namespace, syscalls
from envkit.host.netlink import Batch, Peer
from envkit.host.sysctl import write_sysctl

OUTSIDE, HOST = "203.0.113.1", "203.0.113.2"
OUTSIDE6, HOST6 = "2001:db8::1", "2001:db8::2"


class Machine:
    def __init__(self, directory: str) -> None:
        self.outside = os.path.join(directory, "outside.netns")

    def python(self, netns: str | None, code: str, *, check: bool = True) -> str:
        """Run code in the namespace at a path (None: the host) and return what it printed."""
        with self._in(netns):
            done = subprocess.run(["python3", "-c", code], capture_output=True, text=True, timeout=20, check=False)
        if check and done.returncode:
            raise AssertionError(done.stderr)
        return done.stdout.strip()

    def start(self, netns: str | None, argv: Sequence[str], **options: object) -> subprocess.Popen[bytes]:
        with self._in(netns):
            return subprocess.Popen(argv, **options)  # type: ignore[call-overload,no-any-return]

    def serve(self, netns: str | None, address: str, port: int, kind: str = "tcp") -> subprocess.Popen[bytes]:
        """A server that tells each client the client's address. Stop it with stop()."""
        family = "AF_INET6" if ":" in address else "AF_INET"
        code = f"""
import socket
s = socket.socket(socket.{family}, socket.SOCK_{'STREAM' if kind == 'tcp' else 'DGRAM'})
s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
s.bind(({address!r}, {port}))
{'s.listen(20)' if kind == 'tcp' else ''}
print("ready", flush=True)
while True:
    if {kind == 'tcp'}:
        c, a = s.accept(); c.sendall(a[0].encode()); c.close()
    else:
        d, a = s.recvfrom(100); s.sendto(a[0].encode(), a)
"""
        server = self.start(netns, ["python3", "-c", code], stdout=subprocess.PIPE)
        assert server.stdout is not None
        assert server.stdout.readline() == b"ready\n"
        return server

    def ask(self, netns: str | None, address: str, port: int, kind: str = "tcp", timeout: float = 1.0) -> str:
        """What the server at address answers: the client's address as it saw it; "refused" or "timeout"."""
        family = "AF_INET6" if ":" in address else "AF_INET"
        return self.python(netns, f"""
import socket
s = socket.socket(socket.{family}, socket.SOCK_{'STREAM' if kind == 'tcp' else 'DGRAM'})
s.settimeout({timeout})
try:
    s.connect(({address!r}, {port})); s.send(b'x') if {kind == 'udp'} else None
    print(s.recv(100).decode())
except (ConnectionRefusedError, ConnectionResetError): print('refused')
except TimeoutError: print('timeout')
except OSError as error: print(error.strerror)
""")

    @contextmanager
    def _in(self, netns: str | None) -> Iterator[None]:
        if netns is None:
            yield
            return
        with namespace.in_netns(netns):
            yield


def stop(*servers: subprocess.Popen[bytes]) -> None:
    for server in servers:
        server.kill()
        server.communicate()


@contextmanager
def machine(directory: str) -> Iterator[Machine]:
    """The calling thread becomes a process on the machine."""
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    found = Machine(directory)
    try:
        syscalls.unshare(syscalls.CLONE_NEWNET)
        namespace.new_netns(found.outside)
        descriptor = os.open(found.outside, os.O_RDONLY | os.O_CLOEXEC)
        batch = Batch()
        batch.add_veth("wan0", Peer(descriptor, "wan1"), mtu=1400)
        batch.set_up("lo")
        batch.send()
        os.close(descriptor)
        batch.add_address("wan0", f"{HOST}/24")
        batch.add_address("wan0", f"{HOST6}/64")
        batch.add_route("", gateway=OUTSIDE)
        batch.add_route("", gateway=OUTSIDE6)
        batch.send()
        with namespace.in_netns(found.outside):
            batch.set_up("lo")
            batch.set_up("wan1")
            batch.add_address("wan1", f"{OUTSIDE}/24")
            batch.add_address("wan1", f"{OUTSIDE6}/64")
            batch.send()
        write_sysctl("net.ipv4.ip_forward", "0")
        yield found
    finally:
        syscalls.setns(home, syscalls.CLONE_NEWNET)
        os.close(home)
        namespace.remove_netns(found.outside)
