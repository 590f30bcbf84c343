"""``wsgi.errors`` and ``wsgi.file_wrapper``, without a gateway."""

from __future__ import annotations

import contextlib
import io
import os
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from reserve.errors import ApplicationError
from reserve.gateways import streams
from reserve.gateways.streams import MAX_PARTIAL, ErrorStream, FileWrapper
from tests.waiting import PATIENCE


def test_only_complete_lines_are_written() -> None:
    out: list[str] = []
    stream = ErrorStream(out.append)
    assert stream.write("a") == 1
    assert stream.write("b\nc") == 3
    assert out == ["ab\n"]
    stream.writelines(["d\n", "e\n", "f"])
    assert out == ["ab\n", "cd\ne\n"]
    stream.flush()
    stream.flush()
    assert out == ["ab\n", "cd\ne\n", "f\n"]
    assert stream.partial == {}
    assert stream.write("") == 0


def test_print_writes_a_line() -> None:
    out: list[str] = []
    print("a", "b", file=ErrorStream(out.append), flush=True)
    assert out == ["a b\n"]


def test_bytes_are_an_error() -> None:
    with pytest.raises(TypeError, match="wants str, got bytes"):
        ErrorStream().write(b"bytes")  # type: ignore[arg-type]


def test_an_incomplete_line_is_bounded() -> None:
    out: list[str] = []
    stream = ErrorStream(out.append)
    for _ in range(MAX_PARTIAL):
        stream.write("x")
    assert out == []
    stream.write("x")
    assert out == ["x" * (MAX_PARTIAL + 1) + "\n"]


def test_lines_of_threads_are_not_mixed() -> None:
    out: list[str] = []
    stream = ErrorStream(out.append)
    barrier = threading.Barrier(4)

    def run(name: str) -> None:
        barrier.wait(PATIENCE)
        for _ in range(200):
            for _ in range(5):
                stream.write(name)
            stream.write("\n")

    threads = [threading.Thread(target=run, args=(name,)) for name in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert sorted(out) == sorted([name * 5 + "\n" for name in "abcd"] * 200)


def test_emit_may_write_again() -> None:
    out: list[str] = []

    def emit(text: str) -> None:
        out.append(text)
        if len(out) == 1:
            stream.write("from a finalizer\n")

    stream = ErrorStream(emit)
    stream.write("first\n")
    assert out == ["first\n", "from a finalizer\n"]


def test_the_default_is_stderr_as_it_was_when_the_stream_was_made(monkeypatch: pytest.MonkeyPatch) -> None:
    first = io.StringIO()
    monkeypatch.setattr(sys, "stderr", first)
    stream = ErrorStream()
    monkeypatch.setattr(sys, "stderr", stream)  # as some applications do
    print("a line", file=sys.stderr, flush=True)
    later = ErrorStream()  # of a second server
    later.write("another\n")
    assert first.getvalue() == "a line\nanother\n"


def test_a_full_standard_error_blocks_no_application(monkeypatch: pytest.MonkeyPatch) -> None:
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    with contextlib.suppress(BlockingIOError):
        while True:
            os.write(writer, b"x" * 4095 + b"\n")
    os.set_blocking(writer, True)
    monkeypatch.setattr(streams, "_STDERR", writer)
    monkeypatch.setattr(streams, "_PATIENCE", 0.0)
    with open(writer, "w") as standard_error, open(reader, "rb") as log:
        monkeypatch.setattr(sys, "stderr", standard_error)
        stream = ErrorStream()
        for number in range(3):
            print("lost", number, file=stream)
        log.read(65536)
        print("first", file=stream)
        print("second", file=stream)
        standard_error.close()
        assert log.read().splitlines()[-3:] == [
            b"3 lines of wsgi.errors were lost: standard error was full", b"first", b"second"
        ]  # fmt: skip


def test_without_stderr_the_lines_are_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", None)
    stream = ErrorStream()
    print("dropped", file=stream, flush=True)
    assert (stream.encoding, stream.errors, stream.isatty()) == ("utf-8", None, False)
    with pytest.raises(io.UnsupportedOperation):
        stream.fileno()


def test_it_has_what_a_text_stream_has(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with open(tmp_path / "log", "w", encoding="latin-1", errors="backslashreplace") as file:
        monkeypatch.setattr(sys, "stderr", file)
        stream = ErrorStream()
        assert (stream.encoding, stream.errors) == ("latin-1", "backslashreplace")
        assert (stream.fileno(), stream.isatty()) == (file.fileno(), False)
    assert (stream.writable(), stream.readable(), stream.seekable()) == (True, False, False)
    with pytest.raises(io.UnsupportedOperation):
        stream.read()
    for stream in (ErrorStream([].append), replaced(monkeypatch, io.StringIO()), replaced(monkeypatch, Minimal())):
        assert (stream.encoding, stream.isatty()) == ("utf-8", False)
        with pytest.raises(io.UnsupportedOperation):
            stream.fileno()


def test_a_request_cannot_close_it() -> None:
    out: list[str] = []
    stream = ErrorStream(out.append)
    with stream:
        stream.write("first\n")
    stream.close()
    assert not stream.closed
    stream.write("second\n")
    assert out == ["first\n", "second\n"]


class Minimal:
    """What a program may put in the place of ``sys.stderr``."""

    def write(self, text: str) -> int:
        return len(text)

    def flush(self) -> None: ...


class Terminal(Minimal):
    def isatty(self) -> bool:
        return True


def replaced(monkeypatch: pytest.MonkeyPatch, stderr: object) -> ErrorStream:
    monkeypatch.setattr(sys, "stderr", stderr)
    return ErrorStream()


def test_it_is_a_terminal_if_stderr_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    assert replaced(monkeypatch, Terminal()).isatty()


@pytest.mark.parametrize("size", [1, 3, 100])
def test_file_wrapper_iterates_in_blocks(size: int) -> None:
    wrapper = FileWrapper(io.BytesIO(b"0123456789"), size)
    pieces = list(wrapper)
    assert b"".join(pieces) == b"0123456789"
    assert max(map(len, pieces)) <= size
    assert iter(wrapper) is wrapper


def test_file_wrapper_closes_a_file_that_has_close() -> None:
    class Readable:
        def read(self, size: int, /) -> bytes:
            return b""

    file = io.BytesIO()
    FileWrapper(file).close()
    assert file.closed
    FileWrapper(Readable()).close()


@pytest.mark.parametrize(
    ("arguments", "message"), [((object(),), "object"), ((io.BytesIO(), 0), "0"), ((io.BytesIO(), "8"), "'8'")]
)
def test_invalid_arguments_of_file_wrapper_are_errors(arguments: Any, message: str) -> None:
    with pytest.raises(ApplicationError, match=message):
        FileWrapper(*arguments)
