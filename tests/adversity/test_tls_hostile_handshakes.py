"""Bytes that no TLS client sends in its handshake: closed, logged once, and the next client is served."""

from __future__ import annotations

import contextlib
import random
import socket
import struct
from collections.abc import Iterable

import pytest

from tests import tls
from tests.adversity.holding import Watched
from tests.adversity.tlssite import tls_site, until_closed
from tests.apps.http.responses import request, split
from tests.clients import close_with_reset
from tests.tlsrecords import ALERT, APPLICATION_DATA, FATAL_ALERT, HANDSHAKE, record
from tests.waiting import eventually


def send(site: Watched, raw: bytes) -> bytes:
    """Send these bytes on a connection of their own; what comes until the server closes it."""
    with site.connect_plain() as client:
        with contextlib.suppress(ConnectionError):
            client.sendall(raw)
        return until_closed(client)


def hello(version: str = "1.3") -> bytes:
    return tls.MemoryTLSClient(tls.client_context(version)).flight()


def old_hello(minor: int) -> bytes:
    """The ClientHello of a client with TLS 1.0 or 1.1 at most: two suites, a server name, nothing else."""
    name = b"localhost"
    names = struct.pack(">BH", 0, len(name)) + name
    extension = struct.pack(">HHH", 0, len(names) + 2, len(names)) + names
    suites = bytes.fromhex("c013c00a00ff")
    body = (
        struct.pack(">BB", 3, minor)
        + bytes(range(32))
        + b"\x00"
        + struct.pack(">H", len(suites))
        + suites
        + b"\x01\x00"
        + struct.pack(">H", len(extension))
        + extension
    )
    return record(HANDSHAKE, b"\x01" + struct.pack(">I", len(body))[1:] + body, 0x0301)


SSLV2 = b"\x80\x2e\x01\x00\x02\x00\x15\x00\x00\x00\x10\x07\x00\xc0\x03\x00\x80\x01\x00\x80\x06\x00\x40" + bytes(25)
HOSTILE: dict[str, bytes] = {
    "TLS 1.0": old_hello(1),
    "TLS 1.1": old_hello(2),
    "SSL 2": SSLV2,
    "an alert instead of a ClientHello": FATAL_ALERT,
    "a warning instead of it": record(ALERT, b"\x01\x00"),
    "content instead of it": record(APPLICATION_DATA, b"x" * 100),
    "a Finished instead of it": record(HANDSHAKE, b"\x14\x00\x00\x0c" + bytes(12)),
    "an oversized record": struct.pack(">BHH", HANDSHAKE, 0x0301, 16384 + 257) + bytes(16384 + 257),
    "the largest length": b"\x16\x03\x01\xff\xff" + bytes(70000),
    "many empty records": record(HANDSHAKE, b"") * 1000,
    "a message of 16 MB": record(HANDSHAKE, b"\x01\xff\xff\xff" + bytes(16000)) * 8,
    "an unknown type": record(99, b"x" * 50),
    "zeros": bytes(1000),
    "the type of a handshake again and again": b"\x16" * 1000,
    "a hello and then garbage": hello() + random.Random(1).randbytes(2000),
    "a hello and then an alert": hello() + FATAL_ALERT,
    "two hellos": hello() + hello(),
    "a hello and then content": hello() + record(APPLICATION_DATA, b"x" * 100),
    "a hello and then plain HTTP": hello() + request(),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_what_is_no_handshake_is_closed_and_logged_once(name: str) -> None:
    with tls_site() as site:
        for _ in range(5):
            send(site, HOSTILE[name])
        site.clock.advance(3)  # lingering ends
        eventually(lambda: site.server.stats().connections == 0)
        assert site.server.stats().handled == 0
        assert (site.server.stats().tls_handshakes, site.server.stats().tls_failed) == (0, 5)
        site.assert_serves()
        site.assert_nothing_left()
    assert 1 <= len(site.log) <= 2, site.log  # the first, and the number of those like it
    assert "the TLS handshake failed" in site.log[0] or "no TLS on a port of TLS" in site.log[0]


@pytest.mark.parametrize(("name", "alert"), [("TLS 1.0", 70), ("TLS 1.1", 70), ("a hello and then content", None)])
def test_the_client_gets_an_alert(name: str, alert: int | None) -> None:
    with tls_site() as site:
        received = send(site, HOSTILE[name])
        if alert is None:
            assert received[0] == HANDSHAKE
        else:
            assert (received[0], received[5:7]) == (ALERT, bytes([2, alert]))  # protocol_version (RFC 8446 section 6.2)
        site.clock.advance(3)


def assert_survives(openings: Iterable[bytes]) -> None:
    """Each is all that a client sends: none of them is served, and nothing is left of them."""
    with tls_site() as site:
        for raw in openings:
            with site.connect_plain() as client:
                client.sendall(raw)
                client.shutdown(socket.SHUT_WR)
                until_closed(client)
        eventually(lambda: site.server.stats().connections == 0)
        assert site.server.stats().handled == 0
        site.assert_serves()
        site.assert_nothing_left()
    assert not [line for line in site.log if "Traceback" in line]


def test_random_bytes() -> None:
    source = random.Random(20260101)

    def opening() -> bytes:
        raw = bytearray(source.randbytes(source.randint(1, 600)))
        if source.random() < 0.7:
            raw[0] = 22
        if source.random() < 0.5:
            raw[1:3] = b"\x03\x01"
        return bytes(raw)

    assert_survives(opening() for _ in range(150))


@tls.each_version
def test_a_hello_with_one_byte_changed(version: str) -> None:
    source = random.Random(20260102)

    def opening() -> bytes:
        raw = bytearray(hello(version))
        raw[source.randrange(len(raw))] ^= 1 << source.randrange(8)
        return bytes(raw)

    assert_survives(opening() for _ in range(150))


@tls.each_version
@pytest.mark.parametrize("reset", [False, True], ids=["fin", "rst"])
def test_an_end_at_each_byte_of_the_handshake(version: str, reset: bool) -> None:
    """Of the ClientHello, and of everything that the client sends after the ServerHello."""
    with tls_site() as site:
        context = tls.client_context(version)
        ended = 0
        for number in (1, 2):
            size = 1
            while True:
                with site.connect_plain() as client:
                    memory_client = tls.MemoryTLSClient(context)
                    flight = memory_client.flight() if number == 1 else memory_client.second_flight(client)
                    client.sendall(flight[:size])
                    if reset:
                        close_with_reset(client)
                    else:
                        client.shutdown(socket.SHUT_WR)
                        until_closed(client)
                ended += 1
                if size >= len(flight):
                    break
                size += 1
        eventually(lambda: site.server.stats().connections == 0)
        now = site.server.stats()
        assert now.accepted == ended
        assert now.handled == 0
        assert now.tls_handshakes <= 1  # the last one was whole
        assert now.tls_handshakes + now.tls_failed <= ended
        if not reset:  # a reset may come before the first look at the connection
            assert (now.tls_handshakes, now.tls_failed) == (1, ended - 1)
        site.assert_serves()
        site.assert_nothing_left()
    kinds = {line.partition(": ")[2] for line in site.log if not line.startswith("and ")}
    assert len(site.log) <= 2 * len(kinds)  # for each kind the first, and the number of the others
    assert len(kinds) <= 4, kinds
    assert not [line for line in site.log if "Traceback" in line]


@pytest.mark.parametrize("raw", [request(), b"GET", b"POST /x HTTP/1.1\r\nContent-Length: 5\r\n\r\nhello"])
def test_a_client_with_plain_http_gets_a_400(raw: bytes) -> None:
    with tls_site() as site:
        received = b""
        for _ in range(3):
            with site.connect_plain() as client:
                client.sendall(raw)
                client.shutdown(socket.SHUT_WR)
                received = until_closed(client)
        (response,) = split(received)
        assert (response.status, response.whole) == (400, True)
        assert response.fields["connection"] == "close"
        assert b"https://" in response.body
        eventually(lambda: site.server.stats().connections == 0)
        assert (site.server.stats().handled, site.server.stats().tls_failed) == (0, 3)
        site.assert_serves()
        site.assert_nothing_left()
    assert 1 <= len(site.log) <= 2
    assert "no TLS on a port of TLS" in site.log[0]
