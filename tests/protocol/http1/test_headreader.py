"""The reader finds the end of a head however the input is split, and refuses invalid input before that end."""

from __future__ import annotations

from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reserve.errors import RemoteError
from reserve.protocol.http1.headreader import HeadReader
from reserve.protocol.http1.limits import Limits
from tests.protocol.http1.delivery import LIMITS, deliver, one_head, read_heads
from tests.protocol.http1.strategies import fragments

GET = b"GET /%d HTTP/1.1\r\nHost: a\r\n\r\n"


def test_pipelined_heads_are_returned_one_by_one() -> None:
    heads = deliver(b"".join(GET % i for i in range(5)), read_heads)
    assert [head["target"] for head in heads] == ["/0", "/1", "/2", "/3", "/4"]


def test_rest_is_what_follows_the_head() -> None:
    reader = HeadReader(LIMITS)
    assert reader.feed(GET % 1 + b"bo\r\n\r\ndy") == GET % 1
    assert reader.rest == b"bo\r\n\r\ndy"
    assert reader.feed(b"") is None
    assert reader.rest == b""
    assert not reader.started
    assert reader.feed(b"G") is None
    assert reader.started
    assert reader.feed(b"ET / HTTP/1.0\r\n\r\nX") == b"GET / HTTP/1.0\r\n\r\n"
    assert (reader.rest, reader.started) == (b"X", False)


def test_up_to_four_empty_lines_before_a_head_are_dropped() -> None:
    assert one_head(b"\r\n" * 4 + GET % 1)["target"] == "/1"
    assert one_head(b"\r\n" * 5 + GET % 1) == {"status": 400}


@pytest.mark.parametrize(
    ("status", "data"),
    [
        (400, b"\x16"), (400, b"\n"), (400, b"\rG"), (400, b" "), (400, b"\x80"), (400, b"GET / HTTP/1.1\n"),
        (400, b"\r\n\r\n\n"), (400, b"\r\n\r\r"), (400, b"G\0"), (400, b"GET\t"), (400, b"HELO\r"), (400, b"GET\n"),
        (400, b"GET  "), (400, b"GET \r"), (400, b"GET \xe9"), (400, b"GET /a#"), (400, b"GET /\r"), (400, b"GET /\t"),
        (400, b"GET /?\x7f"), (400, b"GET / \r"), (400, b"GET / h"), (400, b"GET / HTTPS"), (400, b"GET / HTTP/\r"),
        (400, b"GET / HTTP/1,"), (400, b"GET / HTTP/1.\xb2"), (400, b"GET / HTTP/1.1 "), (400, b"GET / HTTP/1.10"),
        (505, b"PRI * HTTP/2.0"), (505, b"GET / HTTP/0.9"), (501, b"CONNECT a:1 HTTP/1.1"), (400, b"GET * HTTP/1.1"),
        (400, b"GET a/b HTTP/1.1"), (400, b"GET http://u@a/ HTTP/1.1"), (400, b"GET http://[::1/ HTTP/1.1"),
        (400, b"GET / HTTP/1.1\rH"), (400, b"GET / HTTP/1.1\r\r"),
        (400, b"GET / HTTP/1.1\r\n "), (400, b"GET / HTTP/1.1\r\n:"), (400, b"GET / HTTP/1.1\r\n\n"),
        (400, b"GET / HTTP/1.1\r\nHost: a\r\n\rX"), (400, b"GET / HTTP/1.1\r\nHost: a\rX"),
        (400, b"GET / HTTP/1.1\r\nHost: a\n"), (400, b"GET / HTTP/1.1\r\nHost "), (400, b"GET / HTTP/1.1\r\nHost\r"),
        (400, b"GET / HTTP/1.1\r\nHost: a\r\n\t"), (400, b"GET / HTTP/1.1\r\nX: a\0"),
        (400, b"GET / HTTP/1.1\r\nX:\x0b"), (400, b"GET / HTTP/1.1\r\nX\xe9"), (400, b"GET / HTTP/1.1\r\nX: y\r\nX/"),
        (414, b"GET /" + b"a" * 16380), (501, b"A" * 16385), (431, b"GET / HTTP/1.1\r\nX: " + b"a" * 16382),
        (431, b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 129),
        (431, b"GET / HTTP/1.1\r\n" + (b"X: " + b"y" * 9000 + b"\r\n") * 7 + b"X" * 2486),
    ],
)  # fmt: skip
def test_an_invalid_head_is_refused_at_its_first_invalid_byte(status: int, data: bytes) -> None:
    assert deliver(data, read_heads) == [status]
    assert read_heads([data[: len(data) - 1]]) == []


def test_limits_are_exact() -> None:
    line, field = b"GET / HTTP/1.1\r\n", b"Host: a\r\n"
    data = line + field + b"\r\n"
    exact = {"max_request_line": len(line), "max_field": len(field), "max_head": len(data), "max_fields": 1}
    assert deliver(data, lambda pieces: read_heads(pieces, Limits(**exact)))[0]["method"] == "GET"
    for name, status in (("max_request_line", 414), ("max_field", 431), ("max_head", 431), ("max_fields", 431)):
        less = Limits(**{**exact, name: exact[name] - 1})
        assert deliver(data, partial(read_heads, limits=less)) == [status]


def test_nothing_is_kept_after_a_refusal() -> None:
    reader = HeadReader(LIMITS)
    with pytest.raises(RemoteError):
        reader.feed(b"GET / HTTP/1.1\r\nX: y\n")
    assert (reader.started, reader.rest) == (False, b"")
    assert reader.feed(GET % 2) == GET % 2


PARTS = [
    b"GET / HTTP/1.1\r\n", b"Host: a\r\n", b"\r\n", b"\n", b"\r", b" ", b":", b"X: y\r\n", b"HTTP/2.0", b"CONNECT /",
    b"\0", b"Content-Length: 3\r\n", b"Transfer-Encoding: chunked\r\n", b"#", b"\xff", b"Host: b\r\n", b"Expect: x\r\n",
]  # fmt: skip
NARROW = Limits(max_request_line=20, max_field=12, max_head=40, max_fields=2)


@given(fragments(PARTS, count=12, noise=3, binary=60), st.sampled_from([LIMITS, NARROW]))
def test_the_outcome_does_not_depend_on_how_the_input_is_split(data: bytes, limits: Limits) -> None:
    deliver(data, lambda pieces: read_heads(pieces, limits))
