"""Waiting for descriptors, with poll(2) and with select(2)."""

from __future__ import annotations

import os
import select
import socket
import sys
from collections.abc import Iterator
from contextlib import suppress

import pytest

from reserve.wait import connection_reset, peer_closed, wait_for, write_within
from tests.clients import close_with_reset
from tests.waiting import PATIENCE


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    left, right = socket.socketpair()
    with left, right:
        yield left, right


@pytest.fixture(params=["poll", "select"])
def system_call(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "select":
        monkeypatch.delattr(select, "poll")


@pytest.mark.usefixtures("system_call")
def test_wait_for_returns_when_the_descriptor_is_readable(pair: tuple[socket.socket, socket.socket]) -> None:
    left, right = pair
    assert not wait_for(left.fileno(), 0)
    right.send(b"x")
    assert wait_for(left.fileno(), 0)
    assert wait_for(left.fileno(), None)


@pytest.mark.usefixtures("system_call")
def test_wait_for_returns_when_the_descriptor_is_writable(pair: tuple[socket.socket, socket.socket]) -> None:
    left, _ = pair
    left.setblocking(False)
    assert wait_for(left.fileno(), 0, write=True)
    with suppress(BlockingIOError):
        while True:
            left.send(bytes(65536))
    assert not wait_for(left.fileno(), 0, write=True)


@pytest.mark.usefixtures("system_call")
@pytest.mark.parametrize("write", [False, True])
def test_another_descriptor_ends_the_wait(pair: tuple[socket.socket, socket.socket], write: bool) -> None:
    left, _ = pair
    receiver, sender = socket.socketpair()
    with receiver, sender:
        sender.send(b"x")
        assert wait_for(left.fileno(), None, write=write, wake=receiver.fileno())


@pytest.mark.usefixtures("system_call")
def test_a_timeout_of_a_year_is_accepted(pair: tuple[socket.socket, socket.socket]) -> None:
    left, right = pair
    right.send(b"x")
    assert wait_for(left.fileno(), 366 * 86400)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells whether the peer has closed")
def test_a_closed_peer_is_seen_while_bytes_are_unread(pair: tuple[socket.socket, socket.socket]) -> None:
    left, right = pair
    right.send(b"x")
    assert not peer_closed(left.fileno())
    right.shutdown(socket.SHUT_WR)
    assert peer_closed(left.fileno())
    assert not peer_closed(-1)


def test_a_reset_is_told_from_a_peer_that_has_closed_its_side() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener, socket.create_connection(listener.getsockname()) as client:
        sock, _ = listener.accept()
        with sock:
            client.sendall(b"x")
            assert wait_for(sock.fileno(), PATIENCE)
            assert not connection_reset(sock.fileno())
            client.shutdown(socket.SHUT_WR)
            assert sock.recv(1) == b"x"
            assert sock.recv(1) == b""
            assert not connection_reset(sock.fileno())
            close_with_reset(client)
            assert connection_reset(sock.fileno())
            assert not connection_reset(-1)


@pytest.fixture(params=["pipe", "socket"])
def full(request: pytest.FixtureRequest) -> Iterator[tuple[int, int]]:
    """The ends of a stream that has room for nothing more, and that blocks: one to read, one to write."""
    if request.param == "pipe":
        reader, writer = os.pipe()
    else:
        reader, writer = (end.detach() for end in socket.socketpair())
    os.set_blocking(writer, False)
    with suppress(BlockingIOError):
        while True:
            os.write(writer, b"x" * 100)
    with suppress(BlockingIOError):
        while True:
            os.write(writer, b"x")
    os.set_blocking(writer, True)
    yield reader, writer
    os.close(reader)
    os.close(writer)


def test_a_stream_that_is_full_takes_nothing(full: tuple[int, int]) -> None:
    _, writer = full
    assert write_within(writer, b"a line\n", 0.0) == 0
    assert write_within(writer, b"a line\n", 0.01) == 0
    assert os.get_blocking(writer)


def test_more_than_there_is_room_for_is_written_in_part_and_ends_with_a_line(full: tuple[int, int]) -> None:
    reader, writer = full
    for _ in range(3):
        os.read(reader, 4096)
    data = b"".join(b"%06d\n" % number for number in range(100_000))
    done = write_within(writer, data, 0.0)
    assert 0 <= done < len(data)
    assert done % 7 == 0


def test_all_is_written_when_there_is_room() -> None:
    reader, writer = os.pipe()
    data = b"a line\n" * 1000 + b"x" * 20_000
    assert write_within(writer, data, 0.0) == len(data)
    os.close(writer)
    with open(reader, "rb") as file:
        assert file.read() == data
    with pytest.raises(OSError, match="Bad file descriptor"):
        write_within(writer, data, 0.0)


def test_a_reader_that_has_gone_is_an_error() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with pytest.raises(BrokenPipeError):
        write_within(writer, b"x", 0.0)
    os.close(writer)
