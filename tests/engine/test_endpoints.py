"""The listeners and the application that a server is given."""

from __future__ import annotations

import contextlib
import os
import socket
from typing import Any

import pytest

import reserve
from reserve.engine.server import Server
from reserve.errors import UsageError
from reserve.sockets.listeners import listen
from tests.clients import receive
from tests.engine.conftest import MakePoller, echo


def test_a_server_without_listeners_or_without_an_application_is_refused() -> None:
    with pytest.raises(UsageError, match="at least one"):
        Server([], echo)
    with contextlib.closing(listen("127.0.0.1:0")[0]) as listener, pytest.raises(UsageError, match="not callable"):
        Server(listener, "echo")  # type: ignore[arg-type]


@pytest.mark.parametrize("address", ["127.0.0.1:0", ("127.0.0.1", 0)])
def test_an_address_in_place_of_a_listener_gets_the_call_that_opens_it(address: Any) -> None:
    with pytest.raises(UsageError) as caught:
        Server(address, echo)
    call = str(caught.value).partition("; write ")[2]
    (listener,) = eval(call, {"reserve": reserve})
    with Server(listener, echo) as server:
        assert server.addresses == [listener.getsockname()]


def test_a_class_with_make_driver_that_is_not_an_application_is_told_what_to_derive_it_from() -> None:
    class Alike:
        def make_driver(self, connection: object) -> None:
            raise AssertionError

        def __call__(self, *arguments: object) -> None:
            raise AssertionError

    message = "not derived from reserve.engine.connections.application.Application"
    with contextlib.closing(listen("127.0.0.1:0")[0]) as listener, pytest.raises(UsageError, match=message):
        Server(listener, Alike())


@pytest.mark.parametrize("as_number", [False, True])
def test_listeners_stay_usable_with_own_false(make_poller: MakePoller, as_number: bool) -> None:
    with contextlib.closing(listen("127.0.0.1:0")[0]) as listener:
        for _ in range(2):
            with (
                Server(listener.fileno() if as_number else listener, echo, own=False, poller=make_poller()) as server,
                socket.create_connection(server.addresses[0]) as client,
            ):
                client.sendall(b"x")
                assert receive(client, 1) == b"x"


def test_a_stop_does_not_close_the_file_that_has_the_number_of_a_listener_now() -> None:
    listeners = [*listen("127.0.0.1:0"), *listen("127.0.0.1:0")]
    server = Server(listeners, echo)
    gone, other = (listener.fileno() for listener in listeners)
    with socket.socket() as theirs:
        os.dup2(theirs.fileno(), gone)  # another part of the program has closed the listener
        server.stop()
        assert os.path.sameopenfile(gone, theirs.fileno())
    os.close(gone)
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(other)
    assert [listener.fileno() for listener in listeners] == [-1, -1]
