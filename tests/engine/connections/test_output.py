"""The output that waits to be sent, and what a connection sees of its peer."""

from __future__ import annotations

import os
import socket
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reserve.engine.connections.backpressure import drain, make_room
from reserve.engine.connections.budget import Budget
from reserve.engine.connections.closing import close_socket, reset
from reserve.engine.connections.connection import Connection
from reserve.engine.connections.output import FilePart, Output
from reserve.engine.polling.token import take
from reserve.errors import ClientDisconnected
from reserve.testing import MemorySocket
from reserve.wait import wait_for
from tests.waiting import PATIENCE

Pair = tuple[Connection, socket.socket]


@pytest.fixture
def pair() -> Iterator[Pair]:
    one, two = socket.socketpair()
    with two:
        one.setblocking(False)
        two.settimeout(PATIENCE)
        connection = Connection(
            cast(Any, SimpleNamespace(budget=Budget(10_000_000, 10_000_000), others_wait=False)), one, ""
        )
        yield connection, two
        if connection.output is not None:
            connection.output.close()
        close_socket(connection)


def _take(client: socket.socket, count: int, found: list[bytes]) -> None:
    while count:
        data = client.recv(min(count, 65536))
        assert data
        found.append(data)
        count -= len(data)


@given(
    st.lists(st.tuples(st.sampled_from(["append", "file", "spill", "flush"]), st.integers(0, 40)), max_size=30),
)
def test_bytes_are_sent_in_the_order_in_which_they_were_written(steps: list[tuple[str, int]]) -> None:
    """Bytes in memory, parts of files and the spool mixed, compared with one bytes object."""
    one, two = socket.socketpair()
    with one, two, tempfile.TemporaryFile() as file:
        file.write(bytes(range(100)))
        file.flush()
        one.setblocking(False)
        output, expected = Output(), b""
        for number, (step, count) in enumerate(steps):
            if step == "append" and count:
                data = bytes([number]) * count
                output.append(data)
                expected += data
            elif step == "file" and count:
                output.append_file(FilePart(file.fileno(), number, count))
                expected += bytes(range(number, number + count))
            elif step == "spill":
                output.spill(None)
                assert output.size == 0
            elif step == "flush":
                assert output.flush(one)[0]
        assert output.flush(one)[0]
        assert output.size == 0
        one.shutdown(socket.SHUT_WR)
        assert b"".join(iter(lambda: two.recv(65536), b"")) == expected
        output.close()


def test_the_size_shrinks_by_the_bytes_that_were_sent() -> None:
    sock = MemorySocket()
    sock.room = 7
    output = Output()
    output.append(b"abcd")
    output.append(b"efghij")
    assert output.size == 10
    assert output.flush(cast(Any, sock)) == (False, 7)
    assert output.size == 3
    sock.room = None
    assert output.flush(cast(Any, sock)) == (True, 3)
    assert sock.outgoing == b"abcdefghij"


def test_a_file_may_be_closed_at_once_and_its_copy_is_closed_when_it_was_sent(pair: Pair, tmp_path: Path) -> None:
    connection, client = pair
    path = tmp_path / "file"
    path.write_bytes(b"0123456789")
    before = len(os.listdir("/proc/self/fd"))
    with path.open("rb") as file:
        connection.write_file(file.fileno(), 2, 5)
    assert make_room(connection, 0, 0, None)
    assert connection.output is None
    assert client.recv(100) == b"23456"
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_file_that_became_shorter_is_an_error(pair: Pair, tmp_path: Path) -> None:
    connection, _ = pair
    path = tmp_path / "file"
    path.write_bytes(b"0123456789")
    with path.open("rb") as file:
        connection.write_file(file.fileno(), 5, 10)
    with pytest.raises(ClientDisconnected, match="shorter"):
        make_room(connection, 0, 0, None)


def test_output_over_the_memory_limit_is_spilled_and_over_the_spool_limit_makes_the_writer_wait(
    pair: Pair, tmp_path: Path
) -> None:
    connection, client = pair
    connection.write(b"x" * 5_000_000)
    assert connection.output is not None
    waiting = connection.output.size
    assert 0 < waiting < 5_000_000
    assert make_room(connection, waiting, 0, str(tmp_path))  # within the limit for memory
    assert make_room(connection, 0, waiting, str(tmp_path))
    assert (connection.output.size, connection.output.spooled) == (0, waiting)
    assert (connection.server.budget.memory, connection.server.budget.disk) == (0, waiting)
    assert not os.listdir(tmp_path)  # a file without a name
    connection.write(b"y" * 1000)
    assert not make_room(connection, 0, waiting + 999, str(tmp_path))
    assert connection.output.size == 1000
    found: list[bytes] = []
    reader = threading.Thread(target=_take, args=(client, 5_001_000, found))
    reader.start()
    while connection.output is not None:
        drain(connection, -1, PATIENCE)
    reader.join(PATIENCE)
    assert (connection.server.budget.memory, connection.server.budget.disk) == (0, 0)
    assert b"".join(found) == b"x" * 5_000_000 + b"y" * 1000


def test_a_writer_waits_no_longer_than_the_timeout(pair: Pair) -> None:
    connection, _ = pair
    connection.write(b"x" * 5_000_000)
    drain(connection, 10_000_000, 0)  # few enough bytes wait
    with pytest.raises(ClientDisconnected, match="write-timeout"):
        drain(connection, 1000, 0)


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


def test_a_token_is_taken_once() -> None:
    connection = Connection(cast(Any, None), cast(Any, MemorySocket()), "")
    assert not take(connection.token)
    connection.token.append(True)
    assert take(connection.token)
    assert not take(connection.token)


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


def test_an_object_that_is_queued_several_times_counts_once() -> None:
    output, block = Output(), bytes(100_000)
    for _ in range(40):
        output.append(block)
    assert output.size == 40 * len(block)
    assert len(block) < output.held < 2 * len(block)
    sock = MemorySocket()
    assert output.flush(cast(Any, sock), 50 * 1000)[1] == len(block)  # a turn ends after a whole part
    assert output.held > len(block)
    output.append(bytes(100_000))
    assert output.held > 2 * len(block)
    output.close()
    assert (output.size, output.held) == (0, 0)


def test_small_parts_are_joined_except_the_first_which_may_have_been_tried() -> None:
    output = Output()
    for number in range(1000):
        output.append(b"%03d" % number)
    assert output.size == 3000
    assert output.held < 4000, "a thousand parts would take more than their data"
    sent: list[bytes] = []
    sock = SimpleNamespace(send=lambda data: sent.append(bytes(data)) or len(data))  # type: ignore[func-returns-value]
    assert output.flush(cast(Any, sock)) == (True, 3000)
    assert sent == [b"000", b"".join(b"%03d" % number for number in range(1, 1000))]
    assert output.held == 0


def test_repeated_objects_stay_in_memory_up_to_the_limit_of_the_spool(pair: Pair, tmp_path: Path) -> None:
    connection, _ = pair
    block = bytes(1_000_000)
    for _ in range(5):
        connection.write(block)
    output = connection.output
    assert output is not None
    assert output.size > 2_000_000
    assert make_room(connection, 2_000_000, output.size, str(tmp_path))
    assert output.spooled == 0
    assert not make_room(connection, 2_000_000, output.size - 1, str(tmp_path)), "its writer has to wait"
    assert make_room(connection, 500_000, output.size, str(tmp_path))
    assert (output.size, output.held) == (0, 0)
    assert connection.server.budget.disk == output.spooled > 2_000_000
