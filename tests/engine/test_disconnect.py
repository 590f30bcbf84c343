"""Disconnecting a socket that another thread may be using: its descriptor stays open."""

from __future__ import annotations

import socket
import threading

import pytest

from reserve.engine.connections.closing import _disconnect as disconnect
from tests.waiting import PATIENCE


@pytest.mark.parametrize("family", ["AF_INET", "AF_INET6"])
def test_disconnect_wakes_a_waiting_thread_and_leaves_the_descriptor_open(family: str) -> None:
    host = "127.0.0.1" if family == "AF_INET" else "::1"
    try:
        listener = socket.create_server((host, 0), family=getattr(socket, family))
    except OSError as error:
        pytest.skip(f"no such address here: {error}")
    with listener, socket.create_connection(listener.getsockname()[:2]) as client:
        ours, _ = listener.accept()
        with ours:
            found: list[BaseException | bytes] = []

            def wait() -> None:
                try:
                    found.append(ours.recv(1))
                except OSError as error:
                    found.append(error)

            waiting = threading.Thread(target=wait)
            waiting.start()
            fd = ours.fileno()
            done = disconnect(fd)
            if not done:
                ours.shutdown(socket.SHUT_RD)
            waiting.join(PATIENCE)
            assert not waiting.is_alive()
            assert ours.fileno() == fd
            if done:
                with pytest.raises(ConnectionResetError):
                    client.recv(1)


def test_disconnect_does_nothing_to_a_closed_descriptor_or_a_unix_socket() -> None:
    assert not disconnect(-1)
    if hasattr(socket, "AF_UNIX"):
        one, two = socket.socketpair(socket.AF_UNIX)
        with one, two:
            assert not disconnect(one.fileno())
            two.send(b"x")
            assert one.recv(1) == b"x"
