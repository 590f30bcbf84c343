"""Applications for the first version of reserve, which read and write blocking files of the socket."""

from __future__ import annotations

import contextlib
import re
import socket
import struct

from tests.real.conftest import Serve


def test_an_application_whose_server_sends_first(serve: Serve) -> None:
    with serve("app", "seed_greeting", "good", "morning", "--threads", "4") as server:
        assert server.addresses == ["{}:{}".format(*server.address)]
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


def test_an_application_whose_client_sends_first(serve: Serve) -> None:
    with serve("app", "seed_counter", "--threads", "1") as server, contextlib.ExitStack() as stack:
        # Clients that send nothing need no thread, so the only thread is free for the client that sends.
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


def test_a_client_that_disconnects_does_not_disturb_other_clients(serve: Serve) -> None:
    with serve("app", "seed_greeting", "--threads", "1", log=None) as server:
        for _ in range(3):
            with server.connect() as client:
                client.sendall(b"half a li")
        with server.connect() as client, client.makefile("rb") as lines:
            client.sendall(b"quit\r\n")
            assert lines.read() == b"welcome, 127.0.0.1\r\ngoodbye\r\n"
    # The log has lines for the clients that disconnected while the handler was writing, or their number; no traceback.
    error = "(BrokenPipe|ConnectionReset)Error"
    disconnected = rf".* INFO: (.*127\.0\.0\.1.*: {error}: .*|and \d+ more like it .*: {error})"
    assert [line for line in server.log if not re.fullmatch(disconnected, line)] == []
