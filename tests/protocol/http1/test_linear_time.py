"""The work of the parsers grows linearly with the input: the tests count bytes that are read, not seconds."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reserve.errors import RemoteError
from reserve.protocol.http1 import body, chunkline, fields, headreader, host, requestline, responsefields, trailer
from reserve.protocol.http1.body import ChunkedDecoder
from reserve.protocol.http1.head import HeadReader, parse_head
from reserve.protocol.http1.limits import Limits
from tests.protocol.http1.delivery import BASE, LIMITS, read_messages
from tests.protocol.http1.linearity import Work, adjacent_quantifiers
from tests.protocol.http1.strategies import STREAMS, pieces_of

LARGE = 10**6
WIDE = Limits(
    max_request_line=LARGE, max_field=LARGE, max_head=LARGE, max_fields=LARGE, max_chunk_line=LARGE,
    max_chunk_extensions=LARGE, max_trailer=LARGE,
)  # fmt: skip


def count_buffer_work(monkeypatch: pytest.MonkeyPatch, *modules: ModuleType) -> Work:
    work = Work()
    for module in modules:
        monkeypatch.setattr(module, "bytearray", work.buffer, raising=False)
    return work


@pytest.mark.parametrize("size", [2_000, 20_000])
@pytest.mark.parametrize("field", [b"X: %s\r\n", b"X: y\r\n"])
def test_a_head_byte_by_byte(monkeypatch: pytest.MonkeyPatch, size: int, field: bytes) -> None:
    work = count_buffer_work(monkeypatch, headreader)
    lines = field % (b"a" * size) if b"%" in field else field * (size // len(field))
    data = b"GET / HTTP/1.1\r\nHost: a\r\n" + lines + b"\r\n"
    reader = HeadReader(WIDE)
    heads = [reader.feed(data[i : i + 1]) for i in range(len(data))]
    assert heads[-1] == data
    assert work.count < 6 * len(data)


@pytest.mark.parametrize("size", [2_000, 20_000])
def test_a_chunk_extension_byte_by_byte(monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    work = count_buffer_work(monkeypatch, body, trailer)
    data = b"1;" + b"a" * size + b"\r\nx\r\n0\r\nX: " + b"b" * 9000 + b"\r\n\r\n"
    decoder = ChunkedDecoder(WIDE)
    assert b"".join(decoder.feed(data[i : i + 1]) for i in range(len(data))) == b"x"
    assert decoder.complete
    assert work.count < 3 * len(data)


@settings(max_examples=200)
@given(st.data(), STREAMS, st.integers(1, 40))
def test_any_input_in_any_pieces(data: Any, stream: bytes, times: int) -> None:
    pieces = data.draw(pieces_of(stream * times))
    with pytest.MonkeyPatch.context() as monkeypatch:
        work = count_buffer_work(monkeypatch, headreader, body, trailer)
        read_messages(pieces)
    # At the start of each piece the parsers may read again what they keep: up to a CRLF and the byte after it.
    assert work.count <= 6 * len(stream) * times + 8 * len(pieces)


@pytest.mark.parametrize("chunks", [3_000, 30_000])
def test_many_small_chunks_at_once(monkeypatch: pytest.MonkeyPatch, chunks: int) -> None:
    data = b"1\r\nx\r\n" * chunks + b"0\r\n\r\n"
    positions: list[int] = []
    match = body.SIZE

    def match_size(*args: Any) -> Any:
        positions.append(args[1] if len(args) > 1 else 0)
        return match(*args)

    copied = 0

    class Data(bytes):
        def __getitem__(self, key: Any) -> Any:
            nonlocal copied
            item = super().__getitem__(key)
            copied += len(item) if isinstance(key, slice) else 1
            return item

    monkeypatch.setattr(body, "SIZE", match_size)
    decoder = ChunkedDecoder(LIMITS)
    assert decoder.feed(Data(data)) == b"x" * chunks
    assert decoder.complete
    assert len(positions) <= chunks + 2  # each match reads at most 18 bytes
    assert copied <= len(data)


def count_scanned(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Count the bytes that each match or scan of a line reads; a failed match counts as if it had read all input."""
    scanned: list[int] = []

    def counting(match: Any) -> Any:
        def count(data: bytes, at: int) -> Any:
            result = match(data, at)
            scanned.append((len(data) if result is None else result.end()) - at + 1)
            return result

        return count

    def scan(data: bytes, at: int, stop: int, state: int) -> tuple[int, int]:
        end, state = scan_chunk_line(data, at, stop, state)
        scanned.append(end - at + 1)
        return end, state

    for module, name in (
        (fields, "FIELD_LINE"), (fields, "TOKEN_RUN"), (fields, "VALUE_RUN"), (requestline, "TOKEN_RUN"),
        (requestline, "TARGET_RUN"),
    ):  # fmt: skip
        monkeypatch.setattr(module, name, counting(getattr(module, name)))
    scan_chunk_line = chunkline.scan_chunk_line
    monkeypatch.setattr(chunkline, "scan_chunk_line", scan)
    return scanned


@pytest.mark.parametrize("size", [2_000, 20_000])
@pytest.mark.parametrize("piece", [1, 7, 1000])
@pytest.mark.parametrize(
    "line",
    [b"GET /%b HTTP/1.1\r\nHost: a\r\n\r\n", b"GET / HTTP/1.1\r\nHost: a\r\nX: %b\r\n\r\n",
     b"GET / HTTP/1.1\r\nHost: a\r\n%b: y\r\n\r\n", b"%b / HTTP/1.1\r\nHost: a\r\n\r\n"],
)  # fmt: skip
def test_a_head_with_a_long_line_in_pieces(monkeypatch: pytest.MonkeyPatch, line: bytes, piece: int, size: int) -> None:
    scanned = count_scanned(monkeypatch)
    data = line % (b"a" * size)
    reader = HeadReader(WIDE)
    assert [reader.feed(data[i : i + piece]) for i in range(0, len(data), piece)][-1] == data
    assert size <= sum(scanned) < 3 * len(data)


@pytest.mark.parametrize("size", [2_000, 20_000])
@pytest.mark.parametrize("piece", [1, 7, 1000])
@pytest.mark.parametrize(
    "lines",
    [b"1;%b\r\nx\r\n0\r\n\r\n", b'1;a="%b"\r\nx\r\n0\r\n\r\n', b"1\r\nx\r\n0\r\nX: %b\r\n\r\n",
     b"1\r\nx\r\n0\r\n%b: y\r\n\r\n"],
)  # fmt: skip
def test_a_body_with_a_long_line_in_pieces(
    monkeypatch: pytest.MonkeyPatch, lines: bytes, piece: int, size: int
) -> None:
    scanned = count_scanned(monkeypatch)
    data = lines % (b"a" * size)
    decoder = ChunkedDecoder(WIDE)
    assert b"".join(decoder.feed(data[i : i + piece]) for i in range(0, len(data), piece)) == b"x"
    assert decoder.complete
    assert size <= sum(scanned) < 3 * len(data)


def test_fields_of_spaces_before_a_nul_are_refused() -> None:
    # An optional space before the value class would make this take seconds; the test of the patterns excludes it.
    block = b"GET / HTTP/1.1\r\nHost: a\r\n" + b"a:" + b" " * 198 + b"\0\r\n\r\n"
    with pytest.raises(RemoteError) as refused:
        parse_head(block, BASE, LIMITS)
    assert refused.value.status == 400
    many = b"GET / HTTP/1.1\r\nHost: a\r\n" + b"a: \r\n" * 100 + b"a:" + b" \t" * 99 + b"\0\r\n\r\n"
    with pytest.raises(RemoteError):
        parse_head(many, BASE, LIMITS)


PATTERNS = {
    f"{module.__name__.rpartition('.')[2]}.{name}": pattern.pattern
    for module in (body, fields, host, requestline, responsefields)
    for name, value in vars(module).items()
    for pattern in (getattr(value, "__self__", value),)
    if hasattr(pattern, "pattern")
}


def test_the_patterns_are_found() -> None:
    assert {
        "fields.VALUE_RUN", "body.SIZE", "host.AUTHORITY", "requestline.ABSOLUTE",
        "requestline.TARGET_RUN",
    } <= set(PATTERNS)  # fmt: skip


@pytest.mark.parametrize("name", sorted(PATTERNS))
def test_no_two_adjacent_quantifiers_of_a_pattern_match_the_same_byte(name: str) -> None:
    assert list(adjacent_quantifiers(PATTERNS[name])) == []


@pytest.mark.parametrize(
    "pattern", [r"a:[ \t]*([^\0]*)", rb"[ab]*b+", r"x(?:[ \t]* *y)*", r"([a-z]*)([k]+)", r"[^x]*y*"]
)
def test_adjacent_quantifiers_that_match_the_same_byte_are_found(pattern: str | bytes) -> None:
    assert list(adjacent_quantifiers(pattern))
