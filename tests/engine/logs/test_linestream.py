"""Lines to a descriptor: a line that counts as written is complete, and a cut line is not joined to the next one."""

from __future__ import annotations

import errno
import io
import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reserve.engine.logs import linestream
from reserve.engine.logs.linestream import LineStream, LossCounter


class FakeDisk:
    """A disk that takes ``room`` bytes, at most ``at_once`` in one call, and is full afterwards."""

    def __init__(self, room: int, at_once: int = 1 << 30) -> None:
        self.room, self.at_once, self.taken = room, at_once, b""

    def write(self, fd: int, data: bytes) -> int:
        count = min(len(data), self.room, self.at_once)
        if not count:
            raise OSError(errno.ENOSPC, "full")
        self.room -= count
        self.taken += data[:count]
        return count


class Stream(io.StringIO):
    def fileno(self) -> int:
        return 99


@given(
    st.lists(st.lists(st.text(st.characters(exclude_characters="\n"), max_size=5), max_size=4), max_size=6),
    st.lists(st.integers(0, 12), min_size=6, max_size=6),
    st.integers(1, 5),
)
def test_each_line_that_counts_as_written_is_complete(batches: list[list[str]], rooms: list[int], at_once: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        disk = FakeDisk(0, at_once)
        patch.setattr(linestream.os, "write", disk.write)
        out = LineStream(Stream())
        expected: list[bytes] = []
        for lines, room in zip(batches, rooms, strict=False):
            disk.room = room
            written = out.write(lines)
            assert (out.error is None) == (written == len(lines))
            expected += [line.encode("utf-8", "backslashreplace") for line in lines[:written]]
    found = iter(disk.taken.split(b"\n")[:-1])
    assert all(line in found for line in expected), "a line is missing, cut, or out of order"


def test_a_line_after_a_cut_one_is_not_joined_to_it(monkeypatch: pytest.MonkeyPatch) -> None:
    disk = FakeDisk(5)
    monkeypatch.setattr(linestream.os, "write", disk.write)
    out = LineStream(Stream())
    assert out.write(["one", "two", "three"]) == 1
    assert isinstance(out.error, OSError)
    disk.room = 100
    assert out.write(["four"]) == 1
    assert out.error is None
    assert disk.taken == b"one\nt\nfour\n"


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    ends = os.pipe()
    yield ends
    for end in ends:
        os.close(end)


def test_a_non_blocking_pipe_is_waited_for(pipe: tuple[int, int]) -> None:
    reader, writer = pipe
    os.set_blocking(writer, False)
    with open(writer, "w", closefd=False) as stream:
        counts: list[int] = []
        line = "x" * 300_000  # more than a pipe holds
        thread = threading.Thread(target=lambda: counts.append(LineStream(stream).write([line])))
        thread.start()
        remaining = len(line) + 1
        while remaining:
            remaining -= len(os.read(reader, remaining))
        thread.join()
    assert counts == [1]


def test_a_stream_without_a_descriptor_is_written_to() -> None:
    stream = io.StringIO()
    out = LineStream(stream)
    assert out.write(["a", "b"]) == 2
    assert stream.getvalue() == "a\nb\n"
    stream.close()
    assert out.write(["c"]) == 0
    assert isinstance(out.error, ValueError)


def test_lost_lines_are_reported_in_two_messages_and_repeated_losses_in_no_more() -> None:
    messages: list[object] = []
    now = [0.0]
    losses = LossCounter(messages.append, messages.append, lambda: now[0])
    full = OSError("full")
    losses.count(0, None)
    losses.count(2, full)
    losses.count(1, full)
    losses.count(0, None)
    assert messages == [full, 3]
    for _ in range(10):  # within a second of that
        losses.count(1, full)
        losses.count(0, None)
    assert messages == [full, 3, full]
    now[0] = LossCounter.SPAN
    losses.count(0, None)
    assert messages == [full, 3, full, 10]
    losses.count(4, full)
    losses.close()
    losses.close()
    assert messages[4:] == [full, 4]


@pytest.mark.parametrize("before", ["file", "socket"])
def test_no_line_is_sent_to_a_client_whose_connection_has_the_number_of_the_log(before: str) -> None:
    log, service = socket.socketpair()
    fd = os.open(os.devnull, os.O_WRONLY) if before == "file" else log.detach()
    client, connection = socket.socketpair()
    with open(fd, "w", encoding="utf-8") as stream, client, connection, service, log:
        lines = LineStream(stream)
        assert lines.write(["one"]) == 1
        assert lines.error is None
        os.dup2(connection.fileno(), fd)  # closes the log
        assert lines.write(["two"]) == 0
        assert isinstance(lines.error, OSError)
        client.setblocking(False)
        with pytest.raises(BlockingIOError):
            client.recv(10)


@given(
    st.lists(st.text(st.characters(codec="ascii", exclude_characters="\n"), max_size=40), max_size=60), st.booleans()
)
def test_no_line_of_another_process_gets_between_two_parts_of_a_line(lines: list[str], is_pipe: bool) -> None:
    pieces: list[bytes] = []

    def write(fd: int, data: bytes) -> int:
        pieces.append(bytes(data))
        return len(data)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(linestream.os, "write", write)
        patch.setattr(linestream, "_PIPE_BUF", 16)
        patch.setattr(linestream.io, "DEFAULT_BUFFER_SIZE", 64)
        patch.setattr(linestream.stat, "S_ISFIFO", lambda mode: is_pipe)
        patch.setattr(linestream.os, "fstat", lambda fd: os.stat_result(range(10)))
        assert LineStream(Stream()).write(lines) == len(lines)
    assert b"".join(pieces) == "".join(f"{line}\n" for line in lines).encode()
    most = 16 if is_pipe else 64
    assert all(piece.endswith(b"\n") and (len(piece) <= most or piece.count(b"\n") == 1) for piece in pieces)


def test_a_batch_is_one_write_to_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pieces: list[int] = []
    write = os.write

    def counted(fd: int, data: bytes) -> int:
        pieces.append(len(data))
        return write(fd, data)

    monkeypatch.setattr(linestream.os, "write", counted)
    with open(tmp_path / "log", "w", encoding="utf-8") as stream:
        assert LineStream(stream).write(["x" * 99] * 1000) == 1000
    assert pieces == [100_000]
    assert (tmp_path / "log").stat().st_size == 100_000


def test_encoded_lines_are_counted_as_far_as_they_were_written(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(fd: int, data: bytes) -> int:
        if not rooms:
            raise OSError(errno.ENOSPC, "the disk is full")
        written.append(bytes(data[: rooms[0]]))
        return min(rooms.pop(0), len(data))

    rooms, written = [8], list[bytes]()
    lines = LineStream(Stream())
    monkeypatch.setattr(linestream.os, "write", full)
    assert lines.send("one\n\xe9\nthree\n".encode(), 3) == 2
    assert isinstance(lines.error, OSError)
    rooms = [1, 4]
    assert lines.send(b"four\n", 1) == 0  # the end of the cut line, and not its own
    assert b"".join(written) == "one\n\xe9\nt\nfour".encode()
