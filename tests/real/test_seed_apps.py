"""Applications written as the very first reserve asked for them: blocking files made of the socket."""

from __future__ import annotations

import contextlib
import re
import socket
import struct

from tests.real.conftest import Serve


def test_the_server_speaks_first(serve: Serve) -> None:
    with serve("app", "seed_greeting", "good", "morning", "--threads", "4") as server:
        assert server.places == ["{}:{}".format(*server.address)]
        with contextlib.ExitStack() as stack:
            clients = []
            for _ in range(4):
                client = stack.enter_context(server.connect())
                clients.append((client, stack.enter_context(client.makefile("rb"))))
            for _, lines in clients:
                assert lines.readline() == b"good morning, 127.0.0.1\r\n"
            for number, (client, _) in enumerate(clients):
                client.sendall(b"number %d\r\nand more\r\n" % number)
            for number, (client, lines) in enumerate(clients):
                assert [lines.readline(), lines.readline()] == [
                    b"you said number %d\r\n" % number,
                    b"you said and more\r\n",
                ]
                client.sendall(b"quit\r\n")
                assert lines.read() == b"goodbye\r\n"


def test_the_client_speaks_first(serve: Serve) -> None:
    with serve("app", "seed_counter", "--threads", "1") as server, contextlib.ExitStack() as stack:
        # Silent clients need no thread, so one thread serves the one that speaks.
        for _ in range(5):
            stack.enter_context(server.connect())
        for size in (0, 3, 200_000):
            with server.connect() as client, client.makefile("rb") as reader:
                client.sendall(struct.pack("!I", size) + b"\x02" * size)
                assert struct.unpack("!II", reader.read(8)) == (size, 2 * size)
                client.sendall(struct.pack("!I", 2) + b"\x05\x06")
                assert struct.unpack("!II", reader.read(8)) == (2, 11)
                client.shutdown(socket.SHUT_WR)
                assert reader.read() == b""


def test_a_client_that_breaks_off_disturbs_nobody(serve: Serve) -> None:
    with serve("app", "seed_greeting", "--threads", "1", says=None) as server:
        for _ in range(3):
            with server.connect() as client:
                client.sendall(b"half a li")
        with server.connect() as client, client.makefile("rb") as lines:
            client.sendall(b"quit\r\n")
            assert lines.read() == b"welcome, 127.0.0.1\r\ngoodbye\r\n"
    # A line for those whose end it noticed while it wrote, or a count of them, and no traceback.
    error = "(BrokenPipe|ConnectionReset)Error"
    noticed = rf".* INFO: (.*127\.0\.0\.1.*: {error}: .*|and \d+ more like it .*: {error})"
    assert [line for line in server.said if not re.fullmatch(noticed, line)] == []
