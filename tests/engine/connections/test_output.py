"""The output that waits to be sent: bytes in memory, parts of files, and the spool."""

from __future__ import annotations

import errno
import os
import socket
import tempfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reserve.engine.connections.backpressure import make_room
from reserve.engine.connections.output import FilePart, Output
from reserve.engine.connections.spool import SpoolFile
from reserve.testing import MemorySocket
from tests.engine.connections.conftest import Pair


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


def test_a_spill_without_descriptors_leaves_the_file_as_it_was(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    output = Output()
    output.append(b"x" * 1000)
    with monkeypatch.context() as patch:

        def refuse(fd: int) -> int:
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

        patch.setattr(os, "dup", refuse)
        for _ in range(3):
            with pytest.raises(OSError, match="Too many open files"):
                output.spill(str(tmp_path))
    assert (output.size, output.spooled) == (1000, 0)
    output.spill(str(tmp_path))
    assert output._spool is not None
    assert (output.size, output.spooled, output._spool.size) == (0, 1000, 1000)
    output.close()


def test_a_spill_to_a_full_disk_leaves_no_descriptor_open(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def refuse(self: SpoolFile, data: bytes) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    made: list[FilePart] = []
    monkeypatch.setattr(SpoolFile, "append", refuse)
    monkeypatch.setattr(FilePart, "close", lambda part: (made.append(part), os.close(part.fd)))
    output = Output()
    output.append(b"x" * 1000)
    with pytest.raises(OSError, match="No space left"):
        output.spill(str(tmp_path))
    assert len(made) == 1
    assert (output.size, output.spooled) == (1000, 0)
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


def test_the_lowest_rate_grows_with_what_the_file_holds() -> None:
    output = Output()
    output.append(bytes(3 * 1048576))
    assert output.lowest_rate(500) == 500
    assert output.deadline(1000.0, 0, 30.0, 500) == 1030.0
    output.spill(None)
    assert output.lowest_rate(500) == 2000
    assert output.lowest_rate(0) == 0
    output.sent = 8000
    assert output.deadline(1010.0, 8000, 30.0, 500) == 1034.0
    assert output.deadline(1010.0, 8000, 30.0, 0) == 1040.0
    output.close()


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


needs_nowait = pytest.mark.skipif(not hasattr(os, "RWF_NOWAIT"), reason="this platform cannot tell what is cached")


def _with_file(path: Path, count: int) -> Output:
    """The output of ten bytes in memory and a file of ``count`` bytes."""
    path.write_bytes(b"f" * count)
    output = Output()
    output.append(b"in memory.")
    with path.open("rb") as file:
        output.append_file(FilePart(file.fileno(), 0, count))
    return output


@needs_nowait
@pytest.mark.parametrize("error", [BlockingIOError(), OSError(errno.EOPNOTSUPP, "Operation not supported")])
def test_a_thread_that_must_not_wait_sends_what_comes_before_a_file_that_is_not_in_the_cache(
    error: OSError, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*arguments: Any) -> int:
        raise error

    output, sock = _with_file(tmp_path / "file", 1000), MemorySocket()
    with monkeypatch.context() as patch:
        patch.setattr(os, "preadv", fail)
        assert output.flush(cast(Any, sock), disk=False) == (False, 10)
        assert output.needs_disk
        assert not output.file_probably_cached(100)
    assert output.flush(cast(Any, sock)) == (True, 1000)
    assert not output.needs_disk
    assert bytes(sock.outgoing) == b"in memory." + b"f" * 1000


@needs_nowait
@pytest.mark.parametrize("descriptor", [True, False], ids=["plain", "tls"])
def test_a_part_of_a_piece_in_the_cache_is_sent_except_under_tls(
    descriptor: bool, pair: Pair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """TLS may have begun to send a longer piece, and must then be given at least as much again."""
    preadv = os.preadv
    calls = [0]

    def short(fd: int, buffers: Any, offset: int, flags: int) -> int:
        calls[0] += 1
        if calls[0] > 1:
            raise BlockingIOError
        return preadv(fd, (buffers[0][:100],), offset)

    connection, _ = pair
    sock = cast(Any, connection.sock if descriptor else MemorySocket())
    output = _with_file(tmp_path / "file", 1000)
    monkeypatch.setattr(os, "preadv", short)
    assert output.flush(sock, disk=False) == (False, 110 if descriptor else 10)
    assert output.needs_disk
    output.close()


def test_the_time_that_a_disk_takes_is_not_the_time_of_the_client() -> None:
    output = Output()
    output.append(b"x" * 10)
    assert output.deadline(1000.0, 0, 30.0, 500) == 1030.0
    output.disk_since = 1010.0
    output.extend_deadline(1050.0)
    assert output.deadline(1050.0, 0, 30.0, 500) == 1070.0
