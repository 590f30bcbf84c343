"""The records of responses and refusals."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reserve.errors import RemoteError
from reserve.protocol.codec import CHUNKED, LENGTH, NONE, ResponseHead
from reserve.protocol.fastcgi.codec import FastCGICodec, FastCGIHead
from reserve.protocol.fastcgi.reader import BLOCK
from reserve.protocol.fastcgi.records import (
    END_REQUEST,
    STDERR,
    STDOUT,
    complete_pairs,
    encode_pair,
    find_abort,
    read_pairs,
    record,
    stream,
)
from tests.protocol.fastcgi.delivery import BASE, CODEC, LIMITS
from tests.protocol.fastcgi.messages import VARIABLES, outcome, pairs, records


def parsed(number: int = 7, keep: bool = True, **variables: str) -> FastCGIHead:
    block = BLOCK.pack(number, keep, True) + pairs({**VARIABLES, **variables})
    head = CODEC.parse_head(block, BASE, LIMITS)
    assert isinstance(head, FastCGIHead)
    return head


def respond(status: str = "200 OK", headers: Any = (), **more: Any) -> ResponseHead:
    options = {"head_request": False, "keep_alive": True, "length": None, "date": b"Date: x\r\n", "server": b"S: x\r\n"}
    return CODEC.response_head(status, list(headers), request=parsed(), minor=1, **{**options, **more})


@pytest.mark.parametrize(
    ("options", "framing", "fields"),
    [
        ({}, CHUNKED, b""),
        ({"length": 5}, LENGTH, b"Content-Length: 5\r\n"),
        ({"length": 5, "head_request": True}, NONE, b"Content-Length: 5\r\n"),
    ],
)
def test_a_response_is_a_stream_and_an_end(options: dict[str, Any], framing: object, fields: bytes) -> None:
    result = respond(headers=[("X-A", "b"), ("Connection", "close")], **options)
    assert result.chunk is not None
    body = b"" if framing is NONE else b"hello"
    sent = result.data + b"".join(result.chunk(body)) + result.last_chunk
    assert outcome(sent, 7) == (b"Status: 200 OK\r\nX-A: b\r\n" + fields + b"\r\n" + body, b"", 0, 0)
    assert (result.framing, result.keep_alive) == (framing, True)
    assert not respond(keep_alive=False, **options).keep_alive


def test_the_status_follows_a_location() -> None:
    result = respond("303 See Other", [("Location", "/x"), ("X-A", "b")], length=0)
    sent = outcome(result.data + result.last_chunk, 7).stdout
    assert sent == b"Location: /x\r\nX-A: b\r\nContent-Length: 0\r\nStatus: 303 See Other\r\n\r\n"


def test_what_is_aborted_cannot_be_taken_for_complete() -> None:
    result = respond()
    assert result.abort[0] != 1
    with pytest.raises(AssertionError):
        outcome(result.data + result.abort, 7)


@given(st.integers(0, 200_000), st.sampled_from([STDOUT, STDERR]))
def test_a_stream_of_any_size_is_padded_to_8_bytes(size: int, kind: int) -> None:
    data = bytes(range(256)) * (size // 256) + b"x" * (size % 256)
    sent = b"".join(stream(kind, 9, data))
    received = records(sent)
    assert b"".join(item.content for item in received) == data
    assert {(item.kind, item.number) for item in received} <= {(kind, 9)}
    assert all(item.content for item in received)
    assert len(sent) % 8 == 0
    assert all((len(item.content) + item.padding) % 8 == 0 and item.padding < 8 for item in received)


def test_records_are_aligned() -> None:
    for size in range(20):
        assert len(record(END_REQUEST, 1, bytes(size))) % 8 == 0


@given(st.lists(st.tuples(st.binary(max_size=300), st.binary(max_size=300)), max_size=5), st.integers(1, 9))
def test_pairs_come_back(items: list[tuple[bytes, bytes]], cut: int) -> None:
    data = b"".join(encode_pair(name, value) for name, value in items)
    texts = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in items]
    names, values = read_pairs(data)
    assert list(zip(names, values, strict=True)) == complete_pairs(data) == texts
    assert read_pairs(b"xy" + data, 2) == (names, values)
    if data:
        assert complete_pairs(data[:-cut]) == texts[: len(complete_pairs(data[:-cut]))]
        assert len(complete_pairs(data[:-1])) == len(items) - 1
        with pytest.raises(RemoteError):
            read_pairs(data[:-1])


@given(st.binary(max_size=60))
def test_an_abort_is_looked_for_in_anything(data: bytes) -> None:
    assert not find_abort(data, 70_000)


# ---- refusals ----


class Errors:
    def take(self) -> bytes:
        raise AssertionError

    def finish(self) -> bytes:
        return b"".join(stream(STDERR, 7, b"told")) + record(STDERR, 7)

    def end(self) -> None:
        raise AssertionError


def refuse(codec: FastCGICodec = CODEC, **options: Any) -> Any:
    values = {"request": None, "block": b"", "head_request": False, "date": b"D: x\r\n", "server": b"S: x\r\n"}
    return codec.refusal(503, "why", extra=[("Retry-After", "1")], **{**values, **options})


@pytest.mark.parametrize("head_request", [False, True])
def test_a_refusal_is_complete(head_request: bool) -> None:
    text = b"" if head_request else b"why\n"
    expected = (
        b"Status: 503 Service Unavailable\r\nContent-Type: text/plain; charset=utf-8\r\nRetry-After: 1\r\n"
        b"Content-Length: 4\r\n\r\n" + text
    )
    block = BLOCK.pack(7, 0, 0)
    for options in ({"request": parsed()}, {"block": block}, {"block": block + b"\x05RE"}):
        refusal = refuse(head_request=head_request, **options)
        assert outcome(refusal.data, 7) == (expected, b"", 0, 0)
        assert refusal.body_size == len(text)
    head = parsed()
    head.errors = Errors()
    assert outcome(refuse(request=head).data, 7).stderr == b"told"


def test_without_a_request_nothing_can_be_refused() -> None:
    assert refuse() == (b"", 0)


def test_what_has_come_of_a_refused_head_is_described() -> None:
    variables = {**VARIABLES, "HTTP_REFERER": "r", "HTTP_USER_AGENT": "u"}
    block = BLOCK.pack(1, 0, 0) + pairs(variables)
    assert CODEC.describe_refused(block) == ("GET", "GET /a%20b?c=d HTTP/1.1", "r", "u")
    assert CODEC.describe_refused(block + b"\xff\xff") == ("GET", "GET /a%20b?c=d HTTP/1.1", "r", "u")
    for nothing in (b"", BLOCK.pack(1, 0, 0), b"\0"):
        assert CODEC.describe_refused(nothing) == ("", "", "", "")


def test_the_access_log_names_the_client_of_the_web_server() -> None:
    head = parsed(SERVER_PROTOCOL="HTTP/2.0")
    assert (head.remote_addr, head.version, head.keep_alive) == ("192.0.2.7", "HTTP/2.0", True)
    assert not parsed(keep=False).keep_alive
