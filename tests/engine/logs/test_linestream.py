"""Lines to a descriptor: what is counted as written is there, and nothing that was torn runs into what follows."""

from __future__ import annotations

import errno
import io
import os
import threading
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reserve.engine.logs import linestream
from reserve.engine.logs.linestream import LineStream, LossCounter


class FakeDisk:
    """Takes ``room`` octets, ``at_once`` of them in one call, then is full."""

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
def test_what_counts_as_written_is_there_as_a_line(batches: list[list[str]], rooms: list[int], at_once: int) -> None:
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
    assert all(line in found for line in expected), "each whole and in its turn, perhaps with torn ones in between"


def test_a_line_behind_a_torn_one_stands_alone(monkeypatch: pytest.MonkeyPatch) -> None:
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


def test_a_pipe_that_is_not_blocking_is_waited_for(pipe: tuple[int, int]) -> None:
    reader, writer = pipe
    os.set_blocking(writer, False)
    with open(writer, "w", closefd=False) as stream:
        counts: list[int] = []
        line = "x" * 300_000  # more than a pipe holds
        thread = threading.Thread(target=lambda: counts.append(LineStream(stream).write([line])))
        thread.start()
        left = len(line) + 1
        while left:
            left -= len(os.read(reader, left))
        thread.join()
    assert counts == [1]


def test_a_stream_without_a_descriptor() -> None:
    stream = io.StringIO()
    out = LineStream(stream)
    assert out.write(["a", "b"]) == 2
    assert stream.getvalue() == "a\nb\n"
    stream.close()
    assert out.write(["c"]) == 0
    assert isinstance(out.error, ValueError)


def test_an_outage_has_two_lines_and_a_disk_that_flickers_no_more() -> None:
    said: list[object] = []
    now = [0.0]
    outage = LossCounter(said.append, said.append, lambda: now[0])
    full = OSError("full")
    outage.count(0, None)
    outage.count(2, full)
    outage.count(1, full)
    outage.count(0, None)
    assert said == [full, 3]
    for _ in range(10):  # within a second of that
        outage.count(1, full)
        outage.count(0, None)
    assert said == [full, 3, full]
    now[0] = LossCounter.SPAN
    outage.count(0, None)
    assert said == [full, 3, full, 10]
    outage.count(4, full)
    outage.close()
    outage.close()
    assert said[4:] == [full, 4]
