"""The response head: its framing, what the server adds, and what an application may not send."""

from __future__ import annotations

from email.utils import formatdate
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reserve.errors import ApplicationError
from reserve.protocol.http1 import responsefields
from reserve.protocol.http1.response import (
    CONTINUE,
    LAST_CHUNK,
    Framing,
    ResponseHead,
    chunk,
    http_date,
    refusal,
    response_head,
    status_text,
)

DATE = b"Date: Sun, 06 Nov 1994 08:49:37 GMT\r\n"
SERVER = b"Server: reserve\r\n"
CL5 = ("Content-Length", "5")


def head(status: Any = "200 OK", headers: Any = (), **changes: Any) -> ResponseHead:
    arguments: dict[str, Any] = {
        "minor": 1, "head_request": False, "keep_alive": True, "length": None, "date": DATE, "server": SERVER
    }  # fmt: skip
    first = response_head(status, list(headers), **{**arguments, **changes})
    again = response_head(status, list(headers), **{**arguments, **changes})
    assert first.data == again.data, "a remembered line differs"
    return first


def lines(result: ResponseHead) -> list[str]:
    assert result.data.endswith(b"\r\n\r\n")
    return result.data.decode("latin-1")[:-4].split("\r\n")


def extra(result: ResponseHead) -> set[str]:
    """The field lines without Date and Server."""
    found = lines(result)[1:]
    assert len(found) == len(set(found))
    return set(found) - {DATE.decode().strip(), SERVER.decode().strip()}


def test_a_whole_head() -> None:
    result = head(
        "200 OK",
        [("Content-Type", "text/plain"), ("X-A", "\xe9\t"), ("Set-Cookie", "a"), ("Set-Cookie", "b")],
        length=3,
    )
    assert result.data == (
        b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nX-A: \xe9\t\r\nSet-Cookie: a\r\nSet-Cookie: b\r\n"
        b"Content-Length: 3\r\n"
        + DATE + SERVER + b"\r\n"
    )  # fmt: skip
    assert (result.framing, result.length, result.keep_alive) == (Framing.LENGTH, 3, True)


CHUNKED = "Transfer-Encoding: chunked"
CLOSE = "Connection: close"


@pytest.mark.parametrize(
    ("status", "headers", "changes", "fields", "framing", "length", "keep"),
    [
        ("200 OK", [], {}, {CHUNKED}, Framing.CHUNKED, None, True),
        ("200 OK", [], {"length": 0}, {"Content-Length: 0"}, Framing.LENGTH, 0, True),
        ("200 OK", [CL5], {"length": 7}, {"Content-Length: 5"}, Framing.LENGTH, 5, True),
        ("200 OK", [], {"minor": 0}, {CLOSE}, Framing.UNTIL_CLOSE, None, False),
        ("200 OK", [CL5], {"minor": 0}, {"Content-Length: 5", "Connection: keep-alive"}, Framing.LENGTH, 5, True),
        ("200 OK", [CL5], {"minor": 0, "keep_alive": False}, {"Content-Length: 5", CLOSE}, Framing.LENGTH, 5, False),
        ("200 OK", [], {"keep_alive": False}, {CHUNKED, CLOSE}, Framing.CHUNKED, None, False),
        ("200 OK", [("connection", "Close")], {"length": 1}, {"Content-Length: 1", CLOSE}, Framing.LENGTH, 1, False),
        ("200 OK", [], {"head_request": True}, {CHUNKED}, Framing.NONE, None, True),
        ("200 OK", [CL5], {"head_request": True}, {"Content-Length: 5"}, Framing.NONE, None, True),
        ("200 OK", [], {"head_request": True, "length": 9}, {"Content-Length: 9"}, Framing.NONE, None, True),
        ("200 OK", [], {"head_request": True, "minor": 0}, {"Connection: keep-alive"}, Framing.NONE, None, True),
        ("204 No Content", [CL5], {"length": 5}, set(), Framing.NONE, None, True),
        ("204 No Content", [], {}, set(), Framing.NONE, None, True),
        ("304 Not Modified", [], {"length": 0}, set(), Framing.NONE, None, True),
        ("304 Not Modified", [CL5], {}, {"Content-Length: 5"}, Framing.NONE, None, True),
        ("205 Reset Content", [CL5], {}, {"Content-Length: 0"}, Framing.NONE, None, True),
        ("205 Reset Content", [], {"length": 3}, {"Content-Length: 0"}, Framing.NONE, None, True),
        ("404 Not Found", [], {"length": 3}, {"Content-Length: 3"}, Framing.LENGTH, 3, True),
    ],
)
def test_framing(
    status: str, headers: Any, changes: Any, fields: set[str], framing: Framing, length: int | None, keep: bool
) -> None:
    result = head(status, headers, **changes)
    assert lines(result)[0] == f"HTTP/1.1 {status}"
    assert extra(result) == fields
    assert (result.framing, result.length, result.keep_alive) == (framing, length, keep)


def test_date_and_server_of_the_application_win() -> None:
    found = lines(head("200 OK", [("date", "x"), ("SERVER", "mine")], length=0))
    assert sorted(found[1:]) == ["Content-Length: 0", "SERVER: mine", "date: x"]
    assert "Server" not in "".join(lines(head(server=b"")))


@pytest.mark.parametrize("status", ["200", "200 ", "299 \xe9\t", "599 x"])
def test_statuses(status: str) -> None:
    assert lines(head(status))[0] == "HTTP/1.1 " + (status if len(status) > 3 else status + " ")


@pytest.mark.parametrize(
    "status",
    [
        "", "OK", "100 Continue", "101 Switching", "600 x", "099 x", "20 x", "2000 x", "200OK", "\xb200 x",
        "200 a\r\nX: y", "200 a\n",
        "200 \0", "200 \x7f", "200 \u20ac", b"200 OK", 200, None, [],
    ],
)  # fmt: skip
def test_refused_statuses(status: Any) -> None:
    with pytest.raises(ApplicationError, match="status"):
        head(status)


@pytest.mark.parametrize(
    "item",
    [
        ("X-A", "a\r\nX-B: b"), ("X-A", "a\n"), ("X-A", "\r"), ("X-A", "\0"), ("X-A", "\x1b"), ("X-A", "\x7f"),
        ("X-A", "\u20ac"),
        ("X-A", b"b"), ("X-A", 5), ("X-A", None), ("X-A", []), ("X-A",), ("X-A", "b", "c"), ["X-A", "b"], ("X-A ", "b"),
        ("X-A:", "b"), ("X-A\n", "b"), ("Connection", "keep-alive"), ("Connection", "close, x"), ("Connection", ""),
        ("Transfer-Encoding", "chunked"), ("transfer-encoding", "x"), ("Keep-Alive", "x"), ("Upgrade", "x"), ("TE",
        "x"),
        ("Trailer", "x"), ("Proxy-Connection", "x"), ("Content-Length", ""), ("Content-Length", "-1"),
        ("Content-Length", "1_0"),
        ("Content-Length", " 1"), ("Content-Length", "\xb2"), ("Content-Length", "9" * 20),
    ],
)  # fmt: skip
def test_refused_fields_are_named(item: Any) -> None:
    with pytest.raises(ApplicationError, match=str(item[0]).strip()):
        head("200 OK", [item])


@pytest.mark.parametrize("item", [("", "b"), ("\xe9", "b"), (b"X-A", "b"), (5, "b"), "ab", None, ()])
def test_refused_items(item: Any) -> None:
    with pytest.raises(ApplicationError, match="response header"):
        head("200 OK", [item])


@pytest.mark.parametrize("values", ["55", "56"])
def test_two_lengths_are_refused(values: str) -> None:
    with pytest.raises(ApplicationError, match="Content-Length"):
        head("200 OK", [("Content-Length", value) for value in values])


@given(
    st.one_of(st.text(max_size=8), st.just("200 OK")),
    st.lists(st.tuples(st.text(max_size=5), st.text(max_size=5)), max_size=3),
    st.sampled_from([0, 1]),
)
def test_nothing_leaves_that_could_end_a_line(status: str, headers: list[tuple[str, str]], minor: int) -> None:
    try:
        result = head(status, headers, minor=minor)
    except ApplicationError:
        return
    found = lines(result)
    assert not any(set(line) & {"\r", "\n", "\0"} for line in found)
    assert len(found) <= 1 + len(headers) + 4


def test_what_is_remembered_is_bounded_and_no_secret() -> None:
    for number in range(responsefields.MOST_CACHED * 2):
        head(f"200 {number}", [("X-A", str(number))])
    assert len(responsefields.CACHED_LINES) <= responsefields.MOST_CACHED
    assert len(responsefields.CACHED_STATUS) <= responsefields.MOST_CACHED
    for item in (("Set-Cookie", "secret"), ("X-A", "x" * 1000)):
        head("200 " + "x" * 1000, [item])
        assert item not in responsefields.CACHED_LINES
    assert all(len(status) < 1000 for status in responsefields.CACHED_STATUS)


def test_chunks() -> None:
    assert b"".join(chunk(b"x" * 26)) == b"1a\r\n" + b"x" * 26 + b"\r\n"
    assert chunk(b"") == ()
    assert (LAST_CHUNK, CONTINUE) == (b"0\r\n\r\n", b"HTTP/1.1 100 Continue\r\n\r\n")


def test_a_refusal_is_a_whole_answer() -> None:
    answer = refusal(413, "t\xe9\u20ac", date=DATE, server=b"", extra=[("Retry-After", "5")])
    top, body = answer.split(b"\r\n\r\n")
    assert body == "t\xe9\u20ac\n".encode()
    assert top.split(b"\r\n") == [
        b"HTTP/1.1 413 Content Too Large", b"Content-Type: text/plain; charset=utf-8", b"Retry-After: 5",
        b"Content-Length: 7", DATE.strip(), b"Connection: close",
    ]  # fmt: skip
    assert (
        refusal(413, "t\xe9\u20ac", date=DATE, server=b"", extra=[("Retry-After", "5")], head_request=True)
        == top + b"\r\n\r\n"
    )


@pytest.mark.parametrize(
    ("code", "text"),
    [
        (200, "200 OK"),
        (414, "414 URI Too Long"),
        (299, "299 Success"),
        (399, "399 Redirection"),
        (499, "499 Client Error"),
        (599, "599 Server Error"),
    ],
)
def test_reasons(code: int, text: str) -> None:
    assert status_text(code) == text


@given(st.integers(0, 4_102_444_800))
def test_dates_are_those_of_the_standard_library(seconds: int) -> None:
    assert http_date(seconds + 0.9) == formatdate(seconds, usegmt=True)
