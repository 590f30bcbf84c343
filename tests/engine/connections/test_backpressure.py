"""An application that writes faster than its client reads: what is spilled, what waits, and for how long."""

from __future__ import annotations

import os
import socket
import threading
from pathlib import Path

import pytest

from reserve.engine.connections.backpressure import drain, make_room
from reserve.errors import ClientDisconnected
from tests.engine.connections.conftest import Pair
from tests.waiting import PATIENCE


def _take(client: socket.socket, count: int, found: list[bytes]) -> None:
    while count:
        data = client.recv(min(count, 65536))
        assert data
        found.append(data)
        count -= len(data)


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


def test_a_writer_waits_when_its_response_holds_its_share_of_the_disk(pair: Pair, tmp_path: Path) -> None:
    connection, _ = pair
    connection.write(b"x" * 5_000_000)
    assert connection.output is not None
    size = connection.output.size
    connection.server.budget.disk_limit = 4 * size  # a quarter is for bodies, and a quarter of the rest for this one
    assert not make_room(connection, 0, 10 * size, str(tmp_path))
    assert (connection.output.size, connection.output.spooled) == (size, 0)
    connection.server.budget.disk_limit = 6 * size
    assert make_room(connection, 0, 10 * size, str(tmp_path))
    assert connection.server.budget.responses == size
    connection.write(b"x" * size)
    assert not make_room(connection, 0, 10 * size, str(tmp_path)), "what it holds counts, too"


def test_a_writer_waits_no_longer_than_the_timeout(pair: Pair) -> None:
    connection, _ = pair
    connection.write(b"x" * 5_000_000)
    drain(connection, 10_000_000, 0)  # few enough bytes wait
    with pytest.raises(ClientDisconnected, match="write-timeout"):
        drain(connection, 1000, 0)


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
