"""``wsgi.errors`` and ``wsgi.file_wrapper``, without a gateway."""

from __future__ import annotations

import io
import sys
import threading
from typing import Any

import pytest

from reserve.errors import ApplicationError
from reserve.gateways.streams import MAX_PARTIAL, ErrorStream, FileWrapper, write_to_stderr
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


def test_the_default_is_the_current_stderr(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    stream = ErrorStream()
    stream.write("a line\n")
    assert capsys.readouterr().err == "a line\n"
    monkeypatch.setattr(sys, "stderr", None)
    write_to_stderr("discarded\n")


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
