"""One connection object: what refers to it, and what does not."""

from __future__ import annotations

import gc
import socket
import weakref
from typing import Any

import pytest

from reserve.engine.connections.connection import Connection
from reserve.engine.drivers.handler import HandlerDriver, Park
from reserve.engine.server import Server
from reserve.errors import ClientDisconnected
from reserve.wait import wait_for
from tests.clients import receive_all
from tests.engine.conftest import Serve
from tests.engine.connections.conftest import Pair
from tests.waiting import eventually


def test_a_connection_is_in_no_reference_cycle(serve: Serve) -> None:
    drivers: list[weakref.ref[Any]] = []

    def handle(sock: socket.socket, address: Any, server: Server) -> Any:
        connection = server._find(sock)
        drivers.append(weakref.ref(connection))
        return Park(lambda: sock.recv(1) and None, on_close=lambda reason: None)

    running = serve(handle)
    gc.collect()
    gc.disable()
    try:
        for _ in range(100):
            client = running.connect()
            client.sendall(b"x")
            assert receive_all(client) == b""
            client.close()
        eventually(lambda: running.server.stats().connections == running.server.stats().busy == 0)
        eventually(lambda: sum(one() is not None for one in drivers) <= 2)  # the locals of the workers
        alive = [one for one in gc.get_objects() if isinstance(one, HandlerDriver)]
        assert len(alive) <= 2
    finally:
        gc.enable()


def test_a_connection_can_be_referenced_weakly() -> None:
    assert "__weakref__" in Connection.__slots__


def test_a_write_to_a_peer_that_has_closed_raises(pair: Pair) -> None:
    connection, client = pair
    client.close()
    with pytest.raises(ClientDisconnected, match="went away"):
        connection.write(b"x")


def test_a_connection_sees_unread_bytes_and_a_closed_peer(pair: Pair) -> None:
    connection, client = pair
    assert (connection.peer_closed(), connection.has_unread()) == (False, False)
    client.send(b"x")
    assert (connection.peer_closed(), connection.has_unread()) == (False, True)
    assert connection.recv(10) == b"x"
    client.shutdown(socket.SHUT_WR)
    assert (connection.peer_closed(), connection.has_unread()) == (True, False)
    assert wait_for(connection.fd, 0)
    assert wait_for(connection.fd, 0, write=True)
