"""``TLSSocket.makefile``: the files are those of ``socket.socket``, with each adapter."""

from __future__ import annotations

import io
import os
import socket
from typing import Any

import pytest

from tests.clients import receive
from tests.ssl.pair import Pair, Thread, fill


def test_a_file_reads_bytes(pair: Pair) -> None:
    pair.client.sendall(b"one\ntwo\nthree")
    with Thread(pair.client.unwrap), pair.server.makefile("rb") as file:
        assert isinstance(file, io.BufferedReader)
        assert file.readline() == b"one\n"
        assert file.read() == b"two\nthree"
        assert (file.raw.mode, file.raw.name) == ("rb", pair.server.fileno())
        pair.server.shutdown(socket.SHUT_WR)


def test_a_file_writes_bytes(pair: Pair) -> None:
    data = os.urandom(1_000_000)
    with Thread(lambda: _write(pair, "wb", data)):
        assert receive(pair.client, len(data)) == data


def _write(pair: Pair, mode: str, data: Any) -> None:
    with pair.server.makefile(mode) as file:
        file.write(data)


@pytest.mark.parametrize("mode", ["rwb", "rw", "wr"])
def test_a_file_reads_and_writes(pair: Pair, mode: str) -> None:
    text = "b" not in mode
    with pair.server.makefile(mode, encoding="utf-8" if text else None) as file:
        pair.client.sendall("grüß\n".encode())
        assert file.readline() == ("grüß\n" if text else "grüß\n".encode())
        file.write("Gott\n" if text else b"Gott\n")
        file.flush()
        assert receive(pair.client, 5) == b"Gott\n"


def test_a_file_of_text(pair: Pair) -> None:
    with pair.server.makefile("w", encoding="latin-1", newline="\r\n") as file:
        assert file.mode == "w"
        file.write("ü\n")
    assert receive(pair.client, 3) == b"\xfc\r\n"
    pair.client.sendall(b"\xfc\r\n")
    with pair.server.makefile(encoding="latin-1", errors="strict") as file:
        assert file.mode == "r"
        assert file.readline() == "ü\n"


def test_a_file_without_a_buffer(pair: Pair) -> None:
    with pair.server.makefile("rwb", 0) as file:
        assert (file.readable(), file.writable(), file.seekable()) == (True, True, False)
        assert file.fileno() == pair.server.fileno()
        assert file.write(b"out") == 3
        pair.client.sendall(b"in")
        assert file.read(2) == b"in"
        pair.server.settimeout(0)
        assert file.read(1) is None
        fill(pair.server)
        pair.server.settimeout(0)
        assert file.write(b"f" * 16384) is None
    for call in (lambda: file.read(1), lambda: file.write(b"x"), file.fileno, file.readable, file.writable):
        with pytest.raises(ValueError, match=r"closed (file|socket)"):
            call()


def test_modes_that_socket_makefile_refuses(pair: Pair) -> None:
    for mode in ("a", "r+", "x"):
        with pytest.raises(ValueError, match="invalid mode"):
            pair.server.makefile(mode)
    with pytest.raises(ValueError, match="must be binary"):
        pair.server.makefile("r", 0)
    with pair.server.makefile("rb", 0) as file, pytest.raises(io.UnsupportedOperation):
        file.write(b"x")
    with pair.server.makefile("wb", 0) as file, pytest.raises(io.UnsupportedOperation):
        file.read(1)


def test_a_file_cannot_be_read_after_a_timeout(pair: Pair) -> None:
    with pair.server.makefile("rb") as file:
        pair.server.settimeout(0.05)
        with pytest.raises(TimeoutError):
            file.read(10)
        with pytest.raises(OSError, match="timed out object"):
            file.read(10)


def test_a_socket_is_closed_with_its_last_file(pair: Pair) -> None:
    file = pair.server.makefile("rb")
    other = pair.server.makefile("wb")
    pair.server.close()
    pair.client.sendall(b"still\n")
    assert file.readline() == b"still\n"
    file.close()
    other.write(b"here")
    other.close()
    assert receive(pair.client, 4) == b"here"
    assert pair.client.recv(1) == b""
    assert pair.server.fileno() == -1


def test_a_file_of_a_detached_socket_fails(pair: Pair) -> None:
    with pair.server.makefile("rb") as file:
        fd = pair.server.detach()
        one, two = socket.socketpair()
        try:
            two.sendall(b"of another connection")
            with pytest.raises(OSError, match="Bad file descriptor"):
                file.read(1)
        finally:
            one.close()
            two.close()
            os.close(fd)
