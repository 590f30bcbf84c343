"""The verbs that end a connection, on a real socket."""

from __future__ import annotations

import socket
from typing import Any, cast

import pytest

from reserve.engine.connections.closing import close_socket, reset
from reserve.engine.connections.connection import Connection


def test_a_reset_tells_the_peer_that_the_response_is_incomplete() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        client = socket.create_connection(listener.getsockname())
        connection = Connection(cast(Any, None), listener.accept()[0], "")
    with client:
        connection.write(b"half")
        reset(connection)
        fd = connection.sock.detach()
        socket.close(fd)
        with pytest.raises(ConnectionResetError):
            b"".join(iter(lambda: client.recv(10), b""))


def test_closing_twice_closes_no_other_descriptor() -> None:
    one, two = socket.socketpair()
    connection = Connection(cast(Any, None), one, "")
    fd = connection.fd
    close_socket(connection)
    others = socket.socketpair()
    assert fd in {one.fileno() for one in others}
    close_socket(connection)
    others[0].send(b"x")
    assert others[1].recv(1) == b"x"
    for sock in (*others, two):
        sock.close()
