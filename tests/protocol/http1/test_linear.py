"""Work grows with the octets that came, not with their square: octets looked at are counted, not seconds."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import pytest

from reserve.errors import RemoteError
from reserve.protocol.http1 import (
    body,
    chunkline,
    fields,
    headreader,
    host,
    requestline,
    responsefields,
    trailer,
)
from reserve.protocol.http1.body import ChunkedDecoder
from reserve.protocol.http1.head import HeadReader, parse_head
from reserve.protocol.http1.limits import Limits
from tests.protocol.http1.delivery import BASE, LIMITS, Work, quantified_neighbours

WIDE = Limits(max_field=10**6, max_head=10**6, max_chunk_line=10**6, max_chunk_extensions=10**6, max_fields=10**6)


def _count(monkeypatch: pytest.MonkeyPatch, *modules: ModuleType) -> Work:
    work = Work()
    for module in modules:
        monkeypatch.setattr(module, "bytearray", work.buffer, raising=False)
    return work


@pytest.mark.parametrize("octets", [2_000, 20_000])
@pytest.mark.parametrize("field", [b"X: %s\r\n", b"X: y\r\n"])
def test_a_head_octet_by_octet(monkeypatch: pytest.MonkeyPatch, octets: int, field: bytes) -> None:
    work = _count(monkeypatch, headreader)
    lines = field % (b"a" * octets) if b"%" in field else field * (octets // len(field))
    data = b"GET / HTTP/1.1\r\nHost: a\r\n" + lines + b"\r\n"
    reader = HeadReader(WIDE)
    found = [reader.feed(data[i : i + 1]) for i in range(len(data))]
    assert found[-1] == data
    assert work.octets < 6 * len(data)


@pytest.mark.parametrize("octets", [2_000, 20_000])
def test_a_chunk_extension_octet_by_octet(monkeypatch: pytest.MonkeyPatch, octets: int) -> None:
    work = _count(monkeypatch, body, trailer)
    data = b"1;" + b"a" * octets + b"\r\nx\r\n0\r\nX: " + b"b" * 9000 + b"\r\n\r\n"
    decoder = ChunkedDecoder(WIDE)
    assert b"".join(decoder.feed(data[i : i + 1]) for i in range(len(data))) == b"x"
    assert decoder.complete
    assert work.octets < 3 * len(data)


@pytest.mark.parametrize("chunks", [3_000, 30_000])
def test_many_small_chunks_at_once(monkeypatch: pytest.MonkeyPatch, chunks: int) -> None:
    data = b"1\r\nx\r\n" * chunks + b"0\r\n\r\n"
    sizes: list[int] = []
    match = body.SIZE

    def size(*args: Any) -> Any:
        sizes.append(args[1] if len(args) > 1 else 0)
        return match(*args)

    copied = 0

    class Data(bytes):
        def __getitem__(self, key: Any) -> Any:
            nonlocal copied
            got = super().__getitem__(key)
            copied += len(got) if isinstance(key, slice) else 1
            return got

    monkeypatch.setattr(body, "SIZE", size)
    decoder = ChunkedDecoder(LIMITS)
    assert decoder.feed(Data(data)) == b"x" * chunks
    assert decoder.complete
    assert len(sizes) <= chunks + 2  # each looks at 18 octets at most
    assert copied <= len(data)


def _count_looks(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Count the octets that each look at a line covers; a match that fails is taken to have seen all there is."""
    looks: list[int] = []

    def counted(look: Any) -> Any:
        def count(data: bytes, at: int) -> Any:
            found = look(data, at)
            looks.append((len(data) if found is None else found.end()) - at + 1)
            return found

        return count

    def scan(data: bytes, at: int, stop: int, state: int) -> tuple[int, int]:
        end, state = scan_chunk_line(data, at, stop, state)
        looks.append(end - at + 1)
        return end, state

    for module, name in (
        (fields, "FIELD_LINE"), (fields, "TOKEN_RUN"), (fields, "VALUE_RUN"), (requestline, "TOKEN_RUN"),
        (requestline, "TARGET_RUN"),
    ):  # fmt: skip
        monkeypatch.setattr(module, name, counted(getattr(module, name)))
    scan_chunk_line = chunkline.scan_chunk_line
    monkeypatch.setattr(chunkline, "scan_chunk_line", scan)
    return looks


@pytest.mark.parametrize("octets", [2_000, 20_000])
@pytest.mark.parametrize("piece", [1, 7, 1000])
@pytest.mark.parametrize(
    "line",
    [b"GET /%b HTTP/1.1\r\nHost: a\r\n\r\n", b"GET / HTTP/1.1\r\nHost: a\r\nX: %b\r\n\r\n",
     b"GET / HTTP/1.1\r\nHost: a\r\n%b: y\r\n\r\n", b"%b / HTTP/1.1\r\nHost: a\r\n\r\n"],
)  # fmt: skip
def test_looks_at_a_head_in_pieces(monkeypatch: pytest.MonkeyPatch, line: bytes, piece: int, octets: int) -> None:
    looks = _count_looks(monkeypatch)
    data = line % (b"a" * octets)
    reader = HeadReader(Limits(max_request_line=10**6, max_field=10**6, max_head=10**6))
    assert [reader.feed(data[i : i + piece]) for i in range(0, len(data), piece)][-1] == data
    assert octets <= sum(looks) < 3 * len(data)


@pytest.mark.parametrize("octets", [2_000, 20_000])
@pytest.mark.parametrize("piece", [1, 7, 1000])
@pytest.mark.parametrize(
    "lines",
    [b"1;%b\r\nx\r\n0\r\n\r\n", b'1;a="%b"\r\nx\r\n0\r\n\r\n', b"1\r\nx\r\n0\r\nX: %b\r\n\r\n",
     b"1\r\nx\r\n0\r\n%b: y\r\n\r\n"],
)  # fmt: skip
def test_looks_at_a_body_in_pieces(monkeypatch: pytest.MonkeyPatch, lines: bytes, piece: int, octets: int) -> None:
    looks = _count_looks(monkeypatch)
    data = lines % (b"a" * octets)
    decoder = ChunkedDecoder(Limits(max_chunk_line=10**6, max_chunk_extensions=10**6, max_trailer=10**6))
    assert b"".join(decoder.feed(data[i : i + piece]) for i in range(0, len(data), piece)) == b"x"
    assert decoder.complete
    assert octets <= sum(looks) < 3 * len(data)


def test_blank_fields_before_a_nul_are_refused() -> None:
    # An optional blank in front of the value class made this cost seconds; the patterns below cannot.
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
        "fields.FIELDS", "fields.VALUE_RUN", "body.SIZE", "host.AUTHORITY", "requestline.ABSOLUTE",
        "requestline.TARGET_RUN",
    } <= set(PATTERNS)  # fmt: skip


@pytest.mark.parametrize("name", sorted(PATTERNS))
def test_no_two_neighbouring_quantifiers_share_an_octet(name: str) -> None:
    assert list(quantified_neighbours(PATTERNS[name])) == []


@pytest.mark.parametrize(
    "pattern", [r"a:[ \t]*([^\0]*)", rb"[ab]*b+", r"x(?:[ \t]* *y)*", r"([a-z]*)([k]+)", r"[^x]*y*"]
)
def test_the_check_sees_neighbours_that_share(pattern: str | bytes) -> None:
    assert list(quantified_neighbours(pattern))
