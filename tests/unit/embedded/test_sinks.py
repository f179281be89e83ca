"""Where lines are sent: formats, addresses, and the journal's protocol."""

from __future__ import annotations

import os
import re
import socket
import threading
import time

import pytest

from envkit.backend.embedded import sinks
from envkit.backend.embedded.forward import NOTE, Forwarder
from envkit.backend.embedded.logfile import Line
from envkit.backend.embedded.record import Record
from envkit.errors import EnvkitError
from envkit.host.home import Home

MOMENT = 1_700_000_000_123_456_789
LINE = Line(MOMENT, "2023-11-14T22:13:20.123456789Z", "stdout", b"hello")


def record(tmp_path, driver="syslog", **options):
    spec = {"logging": {"driver": driver, "options": options}, "labels": {"org.team": "shop", "other": "x"}}
    directory = tmp_path / "web.1"
    directory.mkdir(exist_ok=True)
    return Record(Home(str(tmp_path)), str(directory), "shop", "web", 1, "0123456789abcdef", "shop-web-1", spec, "f",
                  image="nginx:1", image_digest="sha256:" + "ab" * 32)  # fmt: skip


@pytest.mark.parametrize(
    ("form", "stream", "text"),
    [
        ("", "stdout", r"<30>Nov 1[45] \d\d:13:20 tag\[\d+\]: hello"),
        ("", "stderr", r"<27>Nov 1[45] \d\d:13:20 tag\[\d+\]: hello"),
        ("rfc3164", "stdout", r"<30>Nov 1[45] \d\d:13:20 \S+ tag\[\d+\]: hello"),
        ("rfc5424", "stdout", r"<30>1 2023-11-14T22:13:20Z \S+ tag \d+ tag - hello"),
        ("rfc5424micro", "stdout", r"<30>1 2023-11-14T22:13:20\.123456Z \S+ tag \d+ tag - hello"),
    ],
)
def test_formats(form, stream, text):
    made = sinks.Syslog({"syslog-format": form}, "tag").message(LINE._replace(stream=stream)).decode()
    assert re.fullmatch(text, made), made


@pytest.mark.parametrize(
    ("text", "parsed"),
    [
        ("unix:///dev/log", ("unix", "/dev/log", 0)), ("unixgram:///x", ("unixgram", "/x", 0)),
        ("udp://here:1", ("udp", "here", 1)), ("tcp://here", ("tcp", "here", 514)),
        ("udp://[::1]:99", ("udp", "::1", 99)), ("udp://[::1]", ("udp", "::1", 514)),
    ],
)  # fmt: skip
def test_addresses(text, parsed):
    assert sinks.parse_address(text) == parsed


@pytest.mark.parametrize(
    "text", ["", "here:1", "http://here", "udp://", "unix://relative", "tcp+tls://here:1", "udp://h:0"]
)
def test_addresses_that_are_none(text):
    with pytest.raises(EnvkitError, match="syslog address"):
        sinks.parse_address(text)


def test_facilities():
    assert (sinks.facility("local7"), sinks.facility("kern"), sinks.facility("5")) == (23, 0, 5)
    with pytest.raises(EnvkitError, match="facility"):
        sinks.facility("lokal")


def test_tags(tmp_path):
    text = "{{.Name}} {{ .ID }} {{.FullID}} {{.ImageName}} {{.ImageID}} {{.Odd}}"
    assert sinks.tag_of(record(tmp_path), text) == (
        "shop-web-1 0123456789ab 0123456789abcdef nginx:1 abababababab {{.Odd}}"
    )


def test_the_journal_gets_fields(tmp_path):
    path = str(tmp_path / "journal")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as server:
        server.bind(path)
        sink = sinks.Journal(record(tmp_path, "journald"), {"labels": "org.team", "tag": "{{.Name}}"}, path)
        sink.send(LINE._replace(stream="stderr"))
        found = dict(row.split(b"=", 1) for row in server.recv(4096).splitlines())
        assert found[b"MESSAGE"] == b"hello" and found[b"PRIORITY"] == b"3" and found[b"ORG_TEAM"] == b"shop"
        assert found[b"CONTAINER_NAME"] == found[b"SYSLOG_IDENTIFIER"] == b"shop-web-1"
        sink.send(LINE._replace(text=b"x" * 1_000_000))  # too long for a datagram: it comes as a file
        _, descriptors, _, _ = socket.recv_fds(server, 10, 1)
        with os.fdopen(descriptors[0], "rb") as file:
            file.seek(0)
            assert b"MESSAGE=" + b"x" * 1_000_000 + b"\n" in file.read()
        sink.close()


def _until(met):
    deadline = time.monotonic() + 5
    while not met():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_forwarder_goes_on_where_another_ended(tmp_path):
    path = str(tmp_path / "syslog")
    made = record(tmp_path, **{"syslog-address": f"unixgram://{path}", "tag": "t"})
    log = tmp_path / "web.1" / "log"
    log.write_text("2023-11-14T22:13:20.000000001Z stdout F one\n")
    said: list[str] = []
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as server:
        server.settimeout(5)
        forwarder = Forwarder(made, said.append)
        _until(lambda: said)  # nobody listens yet: it says so once, and waits
        server.bind(path)
        assert server.recv(100).endswith(b": one")
        _until((tmp_path / "web.1" / NOTE).exists)
        forwarder.close()
        _until(lambda: not [item for item in threading.enumerate() if item.name == "envkit-forward"])
        with log.open("a") as file:
            file.write("2023-11-14T22:13:20.000000002Z stdout P tw\n2023-11-14T22:13:20.000000003Z stdout F o\n")
        second = Forwarder(made, said.append)
        assert server.recv(100).endswith(b": two")
        with log.open("a") as file:
            file.write("2023-11-14T22:13:20.000000004Z stderr F three\n")
        assert server.recv(100).endswith(b": three")
        second.close()
        _until(lambda: not [item for item in threading.enumerate() if item.name == "envkit-forward"])
    assert len(said) == 1
