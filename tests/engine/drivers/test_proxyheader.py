"""The driver that a connection has until its header of the PROXY protocol is complete."""

from __future__ import annotations

import contextlib
import socket
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import pytest

from reserve.engine.server import Peer
from reserve.engine.settings import EngineSettings
from reserve.errors import UsageError
from reserve.testing import FakeClock
from tests import tls
from tests.clients import receive, receive_all, until_closed
from tests.engine.conftest import Serve, echo
from tests.protocol.http1.delivery import deliveries
from tests.protocol.proxy.headers import (
    AUTHORITY,
    CLIENT,
    CLIENT6,
    LOCAL,
    SERVER6,
    TCP6,
    UNIX,
    UNSPEC,
    V1,
    addresses,
    tlv,
    v2,
    with_sum,
)
from tests.waiting import PATIENCE, eventually

FROM_HERE = {"proxy_protocol": "any", "trusted_proxies": "127.0.0.1"}
Seen = SimpleQueue[tuple[Any, Peer, Any]]


def telling(seen: Seen) -> Any:
    """An echo that says first for whom it takes its client."""

    def handle(sock: Any, address: Any, server: Any) -> Any:
        seen.put((address, server.peer(sock), sock))
        return echo(sock, address, server)

    return handle


def closed(client: socket.socket) -> bool:
    """The server closes without having sent anything."""
    return until_closed(client)[0] == b""


HEADERS = {
    "v1": (V1, (CLIENT, 50123)),
    "v2": (v2(), (CLIENT, 50123)),
    "v2 with a checksum": (with_sum(None, tlv(AUTHORITY, b"shop.example")), (CLIENT, 50123)),
    "v6": (v2(addresses(CLIENT6, SERVER6), family=TCP6), (CLIENT6, 50123)),
    "unix": (v2(b"/run/client".ljust(216, b"\0"), family=UNIX), ("", 0)),
    "unknown": (b"PROXY UNKNOWN\r\n", None),
    "unspec": (v2(b"", family=UNSPEC), None),
    "local": (v2(command=LOCAL), None),
}
each_header = pytest.mark.parametrize(("data", "expected"), HEADERS.values(), ids=HEADERS)


@each_header
def test_the_handler_gets_the_address_of_the_client(
    serve: Serve, data: bytes, expected: tuple[str, int] | None
) -> None:
    seen: Seen = SimpleQueue()
    running = serve(telling(seen), **FROM_HERE)
    client = running.connect()
    client.sendall(data + b"hello")
    assert receive(client, 5) == b"hello"
    address, peer, _ = seen.get(timeout=PATIENCE)
    assert address == (expected if expected is not None else client.getsockname())
    assert peer.proxy is not None
    assert peer.proxy_address == client.getsockname()
    assert (peer.address == client.getsockname()) == (expected is None)
    assert running.log.lines == []


def test_a_handler_reads_what_the_frontend_says(serve: Serve) -> None:
    seen: Seen = SimpleQueue()
    client = serve(telling(seen), **FROM_HERE).connect()
    client.sendall(with_sum(None, tlv(AUTHORITY, b"shop.example"), tlv(0xE7, b"own")) + b"x")
    assert receive(client, 1) == b"x"
    _, peer, _ = seen.get(timeout=PATIENCE)
    assert peer.proxy is not None
    assert (peer.proxy.version, peer.proxy.local, peer.proxy.authority) == (2, False, "shop.example")
    assert (peer.proxy.tlv(0xE7), peer.proxy.destination) == (b"own", ("198.51.100.1", 443))


def test_without_the_option_there_is_no_header(serve: Serve) -> None:
    seen: Seen = SimpleQueue()
    client = serve(telling(seen), trusted_proxies="127.0.0.1").connect()
    client.sendall(V1)
    assert receive(client, len(V1)) == V1
    address, peer, _ = seen.get(timeout=PATIENCE)
    assert address == client.getsockname()
    assert (peer.proxy, peer.proxy_address) == (None, None)


@pytest.mark.parametrize("data", [V1, v2()], ids=["v1", "v2"])
def test_a_header_in_pieces_of_any_size(serve: Serve, data: bytes) -> None:
    running = serve(echo, **FROM_HERE)
    for number, pieces in enumerate(deliveries(data + b"hello")):
        client = running.connect()
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for piece in pieces:
            client.sendall(piece)
        assert receive(client, 5) == b"hello", pieces
        client.close()
        eventually(lambda expected=number: running.server.stats().accepted == expected + 1)


def test_the_server_waits_for_the_next_piece_in_the_poller(serve: Serve) -> None:
    running = serve(echo, **FROM_HERE)
    client = running.connect()
    for at in range(len(V1)):
        client.sendall(V1[at : at + 1])
        eventually(lambda: running.server.stats().parked == 1)
    assert running.server.stats().handled == 0 or at == len(V1) - 1
    client.sendall(b"x")
    assert receive(client, 1) == b"x"


def test_a_second_header_is_data(serve: Serve) -> None:
    client = serve(echo, **FROM_HERE).connect()
    client.sendall(V1 + V1)
    assert receive(client, len(V1)) == V1


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", "no header of the PROXY protocol; it began with b'GET / HTTP/1.1"),
        (b"\x16\x03\x01\x02\x00", "no header of the PROXY protocol"),
        (V1.replace(b"443", b"99999"), "an address or a port that is none"),
        (v2(family=0x77), "the address family 0x77"),
        (v2(None, length=65535), "65551 bytes"),
    ],
)
def test_what_is_no_header_closes_the_connection(serve: Serve, data: bytes, text: str) -> None:
    running = serve(echo, **FROM_HERE)
    client = running.connect()
    client.sendall(data)
    assert closed(client)
    line = running.log.wait("the connection is closed")
    assert text in line
    assert line.startswith("127.0.0.1:")
    other = running.connect()
    other.sendall(V1 + b"x")
    assert receive(other, 1) == b"x"
    assert running.log.errors == []


def test_versions_that_are_not_accepted(serve: Serve) -> None:
    for versions, good, bad in (("v1", V1, v2()), ("v2", v2(), V1)):
        running = serve(echo, proxy_protocol=versions, trusted_proxies="127.0.0.1")
        client, other = running.connect(), running.connect()
        client.sendall(good + b"x")
        assert receive(client, 1) == b"x"
        other.sendall(bad)
        assert closed(other)
        assert f"--proxy-protocol is {versions}" in running.log.wait("the connection is closed")


@pytest.mark.parametrize("data", [b"", V1 + b"x", b"x"], ids=["nothing", "a header", "none"])
def test_a_connection_from_elsewhere_is_closed(serve: Serve, data: bytes) -> None:
    seen: Seen = SimpleQueue()
    running = serve(telling(seen), proxy_protocol="any", trusted_proxies="192.0.2.0/24,unix,::1")
    for _ in range(20):
        client = running.connect()
        with contextlib.suppress(OSError):
            client.sendall(data)
        assert closed(client)
    assert running.log.wait("not in --trusted-proxies").startswith("127.0.0.1:")
    assert seen.empty()
    assert len(running.log.lines) <= 3, "the lines are not limited"


def test_frontends_on_unix_sockets(serve: Serve, short_path: Path) -> None:
    seen: Seen = SimpleQueue()
    for number, (trusted, served) in enumerate((("unix", True), ("127.0.0.1,0.0.0.0/0", False))):
        running = serve(telling(seen), f"unix:{short_path}/{number}", proxy_protocol="any", trusted_proxies=trusted)
        client = running.connect()
        with contextlib.suppress(OSError):
            client.sendall(V1 + b"x")
        if served:
            assert receive(client, 1) == b"x"
            address, peer, _ = seen.get(timeout=PATIENCE)
            assert address == (CLIENT, 50123)
            assert peer.proxy_address == ""
            assert peer.pid is not None or not hasattr(socket, "SO_PEERCRED")
        else:
            assert closed(client)


def test_a_check_of_the_port_is_no_error(serve: Serve) -> None:
    running = serve(echo, **FROM_HERE)
    running.connect().close()
    eventually(lambda: running.server.stats().accepted == 1 and running.server.stats().connections == 0)
    assert running.log.lines == []


@pytest.mark.parametrize(("sent", "logged"), [(b"", False), (V1[:-1], True), (v2()[:-1], True), (v2()[:13], True)])
def test_a_header_has_a_deadline(serve: Serve, sent: bytes, logged: bool) -> None:
    clock = FakeClock()
    running = serve(echo, clock=clock, **FROM_HERE)
    client = running.connect()
    client.sendall(sent)
    eventually(lambda: running.server.stats().parked == 1)
    clock.advance(4.9)
    client.settimeout(0)
    with pytest.raises(BlockingIOError):
        client.recv(1)
    client.settimeout(PATIENCE)
    clock.advance(0.2)
    assert closed(client)
    if logged:
        running.log.wait("was not complete within 5 s (--handshake-timeout)")
    assert len(running.log.lines) == logged


def test_half_a_header_does_not_hold_up_a_stop(serve: Serve) -> None:
    running = serve(echo, **FROM_HERE)
    client = running.connect()
    client.sendall(V1[:20])
    eventually(lambda: running.server.stats().parked == 1)
    running.server.stop(PATIENCE)
    assert closed(client)
    assert running.server.aborted == 0


# ---- under TLS ----


@tls.each_version
@pytest.mark.parametrize("data", [V1, v2()], ids=["v1", "v2"])
def test_the_header_comes_before_the_handshake(serve: Serve, data: bytes, version: str) -> None:
    seen: Seen = SimpleQueue()
    running = serve(telling(seen), ssl_adapter=tls.adapter(), **FROM_HERE)
    with running.connect() as plain:
        plain.sendall(data)
        with tls.wrap_client(plain, context=tls.client_context(version)) as client:
            client.sendall(b"hello")
            assert receive(client, 5) == b"hello"
            address, peer, _ = seen.get(timeout=PATIENCE)
            assert address == (CLIENT, 50123)
            assert peer.proxy_address == client.getsockname()


def test_a_header_and_a_hello_in_one_packet_in_any_pieces(serve: Serve) -> None:
    running = serve(echo, ssl_adapter=tls.adapter(), **FROM_HERE)
    hello = tls.MemoryTLSClient().flight()
    for cut in range(1, len(V1) + 10, 5):
        client = running.connect()
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        client.sendall((V1 + hello)[:cut])
        client.sendall((V1 + hello)[cut:])
        assert receive(client, 1) == b"\x16"
        client.close()


def test_a_line_about_a_handshake_names_the_client(serve: Serve) -> None:
    running = serve(echo, ssl_adapter=tls.adapter(), **FROM_HERE)
    client = running.connect()
    client.sendall(V1 + b"GET / HTTP/1.0\r\n\r\n")
    receive_all(client)
    assert running.log.wait("no TLS on a port of TLS").startswith(f"{CLIENT}:50123: ")


def test_start_tls_after_a_header(serve: Serve) -> None:
    def handle(sock: Any, address: Any, server: Any) -> Any:
        secure = server.start_tls(sock)
        secure.sendall(f"{address[0]} {server.peer(secure).proxy.version}".encode())

    running = serve(handle, ssl_adapter=tls.adapter(), upgrades=True, **FROM_HERE)
    with running.connect() as plain:
        plain.sendall(V1)
        with tls.wrap_client(plain) as client:
            assert receive_all(client) == f"{CLIENT} 1".encode()


# ---- the options ----


def test_the_option_needs_proxies() -> None:
    with pytest.raises(UsageError, match="no frontend is trusted"):
        EngineSettings(proxy_protocol="v2")
    with pytest.raises(UsageError, match="trusted_proxies"):
        EngineSettings(trusted_proxies="localhost")
    with pytest.raises(UsageError, match="proxy_protocol"):
        EngineSettings(proxy_protocol="v3", trusted_proxies="unix")  # type: ignore[arg-type]
    assert Peer("", None, None, None).proxy is None
