"""``MemoryClient`` with plain handlers: what they may do, and what they cannot do in memory."""

from __future__ import annotations

from typing import Any

import pytest

from reserve import Park
from reserve.apps.echo import Echo
from reserve.errors import UsageError
from reserve.examples.chat import Chat
from reserve.testing import MemoryClient


def test_a_handler_that_parks() -> None:
    client = MemoryClient(Echo(), wsgi=False)
    assert [client.send(data) for data in (b"one", b"", b"two")] == [b"one", b"", b"two"]
    assert client.end() == b""
    assert client.closed


def test_a_handler_that_sends_first_and_reads_lines() -> None:
    def handle(sock: Any, address: tuple[str, int], server: Any) -> Park:
        lines = sock.makefile("rb")
        sock.sendall(b"hello %b\n" % address[0].encode())

        def resume() -> Park | None:
            line = lines.readline()
            if not line:
                return None
            sock.sendall(line.upper())
            return Park(resume, reader=lines)

        return Park(resume, reader=lines)

    client = MemoryClient(handle, wsgi=False)
    assert client.take() == b"hello 127.0.0.1\n"
    assert client.send(b"a\nb\n") == b"A\nB\n"
    with pytest.raises(AssertionError, match="the handler waits for its client to send"):
        client.send(b"no end")


def test_output_waits_for_a_client_that_does_not_read() -> None:
    client = MemoryClient(Echo(), wsgi=False)
    client.read(3)
    assert client.send(b"abcde") == b"abc"
    assert client.send(b"fg") == b""
    assert client.read(None) == b"defg"


def test_a_park_until_writable() -> None:
    def handle(sock: Any, address: tuple[str, int], server: Any) -> Park:
        def resume() -> None:
            sock.send(b"at last")

        sock.room = 0
        return Park(resume, until="writable")

    client = MemoryClient(handle, wsgi=False)
    assert client.take() == b""
    assert client.read(None) == b"at last"


def test_clients_of_one_server_reach_each_other() -> None:
    chat = Chat()
    ann = MemoryClient(chat, wsgi=False)
    bob = MemoryClient(chat, wsgi=False, server=ann.server)
    assert ann.send(b"ann\n").startswith(b"Welcome. What is your name?\r\nYou are ann; 1 here")
    bob.send(b"bob\n")
    assert ann.take() == b"* bob is here\r\n"
    bob.send(b"hello\n")
    assert ann.take() == b"<bob> hello\r\n"
    bob.close()
    assert ann.take() == b"* bob has left\r\n"
    assert len(chat.room) == 1
    with pytest.raises(UsageError, match="no longer"):
        ann.server.send(bob.socket, b"x")
    assert ann.server.peer(ann.socket).address == ("127.0.0.1", 50000)


def test_deadlines_pass_with_the_clock() -> None:
    reasons: list[str] = []

    def handle(sock: Any, address: tuple[str, int], server: Any) -> Park:
        def late() -> Park:
            server.send(sock, b"still there?")
            return Park(late, timeout=5, on_close=reasons.append)

        return Park(late, timeout=60, on_timeout=late, on_close=reasons.append)

    client = MemoryClient(handle, wsgi=False)
    assert client.advance(59) == b""
    assert client.advance(1) == b"still there?"
    client.advance(5)
    assert (client.closed, reasons) == (True, ["timeout"])


def test_the_stop_closes_a_parked_connection() -> None:
    reasons: list[str] = []

    def handle(sock: Any, address: tuple[str, int], server: Any) -> Park:
        return Park(lambda: None, on_close=reasons.append)

    client = MemoryClient(handle, wsgi=False)
    client.stop()
    assert (client.closed, reasons) == (True, ["stop"])


def test_a_handler_that_does_not_notice_the_end_fails_its_test() -> None:
    def handle(sock: Any, address: tuple[str, int], server: Any) -> Park:
        def resume() -> Park:
            sock.recv(10)
            return Park(resume)

        return Park(resume)

    with pytest.raises(AssertionError, match="after the end of the stream"):
        MemoryClient(handle, wsgi=False).end()


def test_the_test_gets_what_a_handler_raises() -> None:
    def handle(sock: Any, address: tuple[str, int], server: Any) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        MemoryClient(handle, wsgi=False)
