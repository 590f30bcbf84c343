"""The other end of a connection: its address for applications and its name in the log."""

from __future__ import annotations

import os
import socket
from typing import Any, cast

import pytest

from reserve.engine.connections.connection import Connection
from reserve.engine.connections.peers import address_of, describe, name_of, name_of_client, peer_of
from reserve.protocol.proxy.header import ProxyHeader
from reserve.testing import MemorySocket
from tests.engine.world import set_driver


@pytest.mark.parametrize(
    ("address", "name"),
    [(("192.0.2.1", 5), "192.0.2.1:5"), (("2001:db8::1", 5), "[2001:db8::1]:5"), (("", 0), "unix")],
)
def test_a_client_is_named_by_its_address(address: tuple[str, int], name: str) -> None:
    assert name_of(address) == name


@pytest.mark.parametrize(
    ("raw", "address"),
    [
        (("192.0.2.1", 5), ("192.0.2.1", 5)),
        (("2001:db8::1", 5, 0, 0), ("2001:db8::1", 5)),
        (("::ffff:192.0.2.1", 5, 0, 0), ("192.0.2.1", 5)),
        (("::ffff:0:1", 5, 0, 0), ("::ffff:0:1", 5)),
        ("", ("", 0)),
        ("/run/client", ("", 0)),
    ],
)
def test_an_application_sees_a_host_and_a_port(raw: Any, address: tuple[str, int]) -> None:
    assert address_of(raw) == address


@pytest.mark.parametrize(
    ("request_line", "line"), [("GET /path", "GET /path from [2001:db8::1]:5"), ("", "[2001:db8::1]:5")]
)
def test_a_log_line_names_the_request_and_the_client(request_line: str, line: str) -> None:
    connection = Connection(cast(Any, None), cast(Any, MemorySocket()), ("2001:db8::1", 5, 0, 0))
    set_driver(connection, describe=lambda: request_line)
    assert describe(connection) == line


def test_a_log_line_names_the_client_behind_a_frontend() -> None:
    connection = Connection(cast(Any, None), cast(Any, MemorySocket()), ("192.0.2.1", 5))
    set_driver(connection, describe=lambda: "GET /path", client=lambda: "203.0.113.9")
    assert name_of_client(connection) == "203.0.113.9 through 192.0.2.1:5"
    assert describe(connection) == "GET /path from 203.0.113.9 through 192.0.2.1:5"


def test_what_a_frontend_says_is_part_of_the_peer() -> None:
    one, two = socket.socketpair()
    with one, two:
        connection = Connection(cast(Any, None), one, "")
        assert (peer_of(connection).proxy, peer_of(connection).proxy_address) == (None, None)
        connection.proxy = ProxyHeader(1, local=False, source=("203.0.113.9", 7))
        connection.peer = connection.proxy.source
        peer = peer_of(connection)
        assert (peer.address, peer.proxy, peer.proxy_address) == (("203.0.113.9", 7), connection.proxy, "")
        assert len(peer) == 4


@pytest.mark.skipif(not hasattr(socket, "SO_PEERCRED"), reason="Linux")
def test_the_peer_of_a_unix_socket_is_known_by_its_process() -> None:
    one, two = socket.socketpair()
    with one, two:
        assert peer_of(Connection(cast(Any, None), one, "")) == ("", os.getpid(), os.getuid(), os.getgid())


def test_the_peer_of_a_tcp_socket_is_known_by_its_address_alone() -> None:
    with socket.socket(socket.AF_INET) as sock:
        assert peer_of(Connection(cast(Any, None), sock, ("192.0.2.1", 5))) == (("192.0.2.1", 5), None, None, None)
