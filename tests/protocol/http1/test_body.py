"""The decoders find the end of a body however the input is split, and refuse what its framing does not allow."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reserve.errors import RemoteError
from reserve.protocol.http1.body import FREE_FRAMING, ChunkedDecoder, LengthDecoder
from reserve.protocol.http1.limits import Limits
from reserve.protocol.http1.response import LAST_CHUNK, chunk
from tests.protocol.http1.delivery import LIMITS, NEXT, chunked, deliver, read_body
from tests.protocol.http1.strategies import fragments


@pytest.mark.parametrize("following", [b"", b"0", NEXT])
def test_a_body_with_content_length(following: bytes) -> None:
    result = deliver(b"hello" + following, lambda pieces: read_body(lambda: LengthDecoder(5), pieces))
    assert result == (b"hello", True, following, 5, [])


def test_a_short_body_is_not_complete() -> None:
    assert deliver(b"hell", lambda pieces: read_body(lambda: LengthDecoder(5), pieces)) == (b"hell", False, b"", 4, [])
    assert LengthDecoder(0).complete


@pytest.mark.parametrize("following", [b"", b"0\r\n", NEXT])
@pytest.mark.parametrize(
    ("data", "content"),
    [
        (b"0\r\n\r\n", b""),
        (b"3\r\nabc\r\n1\r\nd\r\n2\r\n\r\n\r\n0\r\n\r\n", b"abcd\r\n"),
        (b"0005\r\nhello\r\n000\r\n\r\n", b"hello"),
        (b"A\r\n0123456789\r\na\r\n0123456789\r\n0\r\n\r\n", b"0123456789" * 2),
        (b"5;a=b\r\nhello\r\n0;z\r\n\r\n", b"hello"),
        (b'5 ;\ta = "x\\"y; z\xe9" ; b;c=""\r\nhello\r\n0\r\n\r\n', b"hello"),
    ],
)
def test_a_chunked_body(data: bytes, content: bytes, following: bytes) -> None:
    assert chunked(data + following) == (content, True, following, len(content), [])
    incomplete = chunked(data[:-1])
    assert incomplete[:3] == (content, False, b"")


@pytest.mark.parametrize("data", [b"1\r\naX", b"1\r\na\rX", b"1\r\na\n", b"5\r\nhello0\r\n"])
def test_chunk_data_without_crlf_is_refused(data: bytes) -> None:
    assert chunked(data) == 400
    assert chunked(data + NEXT) == 400


def test_a_decoder_that_has_refused_refuses_all_further_input() -> None:
    decoder = ChunkedDecoder(LIMITS)
    for data in (b"INVALID!\r\n", b"0\r\n\r\n"):
        with pytest.raises(RemoteError):
            decoder.feed(data)
    assert not decoder.complete


def test_limits_are_exact() -> None:
    limits = {"max_chunk_line": 6, "max_chunk_extensions": 5, "max_trailer": 8, "max_trailer_fields": 1, "max_body": 2}
    data = b"1;ab\r\na\r\n1\r\nb\r\n0;z\r\nA: b\r\n\r\n"
    assert chunked(data, Limits(**limits))[:2] == (b"ab", True)
    for name, status in (
        ("max_chunk_line", 400), ("max_chunk_extensions", 400), ("max_trailer", 431), ("max_trailer_fields", 431),
        ("max_body", 413)
    ):  # fmt: skip
        assert chunked(data, Limits(**{**limits, name: limits[name] - 1})) == status


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"5;" + b"a" * 4095, 400),
        (b"0" * 4097, 400),
        (b"0\r\nX: " + b"a" * 16384, 431),
        (b"0\r\n" + b"X: y\r\n" * 65, 431),
        (b"fffffffffffffffb\r\n", 413),
        (b"40000001\r\n", 413),
        (b"1;e\r\na\r\n" * 32769, 400),
    ],
)
def test_a_limit_is_enforced_before_the_line_or_the_section_ends(data: bytes, status: int) -> None:
    assert read_body(lambda: ChunkedDecoder(LIMITS), [data]) == status
    assert read_body(lambda: ChunkedDecoder(LIMITS), [data[i : i + 1] for i in range(len(data))]) == status


@given(st.lists(st.binary(min_size=1, max_size=30), max_size=8), st.binary(max_size=5))
def test_chunks_that_were_written_are_read_back(pieces: list[bytes], following: bytes) -> None:
    written = b"".join(b"".join(chunk(piece)) for piece in pieces) + LAST_CHUNK
    content = b"".join(pieces)
    assert chunked(written + following) == (content, True, following, len(content), [])


PARTS = [b"1\r\n", b"a", b"\r\n", b"0\r\n", b";a=b", b'"', b"\\", b"\n", b"\r", b"X: y\r\n", b"fff", b" "]
NARROW = Limits(max_chunk_line=9, max_chunk_extensions=8, max_trailer=12, max_trailer_fields=1, max_body=5)


@given(fragments(PARTS, count=12, noise=2, binary=40), st.sampled_from([LIMITS, NARROW]))
def test_the_outcome_does_not_depend_on_how_the_input_is_split(data: bytes, limits: Limits) -> None:
    chunked(data, limits)


def naive(body: bytes) -> tuple[bytes, int]:
    """The content of a chunked body without extensions, chunk by chunk, and its length on the wire."""
    content, position = b"", 0
    while True:
        line = body.index(b"\r\n", position)
        size = int(body[position:line], 16)
        position = line + 2 + size + 2
        if not size:
            return content, position
        content += body[line + 2 : line + 2 + size]


@pytest.mark.parametrize("size", [1, 2, 3, 13, 63, 64, 65])
@pytest.mark.parametrize("count", [1, 7, 8, 9, 10, 17, 40, 300])
@pytest.mark.parametrize("broken", [None, 0, 1])
def test_a_run_of_equal_chunks_is_decoded_like_single_chunks(size: int, count: int, broken: int | None) -> None:
    """``broken``: after the run comes a chunk with another size, or one whose end is wrong."""
    content = bytes(number % 251 for number in range(size * count))
    body = b"".join(b"%x\r\n%s\r\n" % (size, content[at : at + size]) for at in range(0, len(content), size))
    body += (b"", b"%x\r\n%s\r\n" % (size + 1, b"y" * (size + 1)), b"%x\r\n%s!\n" % (size, b"z" * size))[
        0 if broken is None else broken + 1
    ]
    decoder = ChunkedDecoder(Limits())
    if broken == 1:
        with pytest.raises(RemoteError, match="not followed by CRLF"):
            decoder.feed(body)
        return
    body += b"0\r\n\r\n"
    assert decoder.feed(body) == naive(body)[0]
    assert (decoder.complete, decoder.received) == (True, len(naive(body)[0]))


@given(st.lists(st.tuples(st.integers(1, 5), st.integers(1, 30)), max_size=12), st.integers(1, 400))
def test_runs_in_any_order_and_pieces(runs: list[tuple[int, int]], piece: int) -> None:
    body = b"".join(b"%x\r\n%s\r\n" % (size, b"\r\n1ab"[:size]) * count for size, count in runs) + b"0\r\n\r\n"
    decoder = ChunkedDecoder(Limits())
    content = b"".join(decoder.feed(body[at : at + piece]) for at in range(0, len(body), piece))
    assert (content, decoder.complete) == (naive(body)[0], True)


def test_max_body_counts_in_a_run() -> None:
    decoder = ChunkedDecoder(Limits(max_body=100))
    with pytest.raises(RemoteError) as caught:
        decoder.feed(b"1\r\nX\r\n" * 101)
    assert caught.value.status == 413


PADDED = b"0000000000000001\r\nX\r\n"  # 20 bytes of framing for one of content


@pytest.mark.parametrize("piece", [1, 7, 8192, 10**6])
def test_framing_beyond_the_factor_is_refused_at_the_same_chunk_in_any_pieces(piece: int) -> None:
    """65,536 bytes of framing are free: the chunk that exceeds them is refused, and none before it."""
    first = FREE_FRAMING // 20 + 1
    for count, refused in ((first - 1, False), (first, True)):
        body, decoder = PADDED * count, ChunkedDecoder(Limits())
        error = None
        try:
            for at in range(0, len(body), piece):
                decoder.feed(body[at : at + piece])
        except RemoteError as caught:
            error = caught
        assert (error is not None) is refused
        if error is not None:
            assert error.status == 400
            assert "--max-chunk-overhead" in error.message


def test_chunks_of_one_byte_are_within_the_factor() -> None:
    decoder = ChunkedDecoder(Limits())
    assert len(decoder.feed(b"1\r\nX\r\n" * 50_000)) == 50_000
