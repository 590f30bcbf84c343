"""Response heads: their framing and the fields that the server adds; chunks, refusals, status texts and dates."""

from __future__ import annotations

from email.utils import formatdate
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reserve.errors import ApplicationError
from reserve.protocol.http1.response import (
    CONTINUE,
    LAST_CHUNK,
    Framing,
    chunk,
    http_date,
    refusal,
    status_text,
)
from tests.protocol.http1.heads import CL5, DATE, SERVER, added_lines, head, lines


def test_a_complete_head() -> None:
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
    ("status", "headers", "changes", "fields", "framing", "length", "keep_alive"),
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
    status: str, headers: Any, changes: Any, fields: set[str], framing: Framing, length: int | None, keep_alive: bool
) -> None:
    result = head(status, headers, **changes)
    assert lines(result)[0] == f"HTTP/1.1 {status}"
    assert added_lines(result) == fields
    assert (result.framing, result.length, result.keep_alive) == (framing, length, keep_alive)


def test_date_and_server_of_the_application_replace_those_of_the_server() -> None:
    sent = lines(head("200 OK", [("date", "x"), ("SERVER", "mine")], length=0))
    assert sorted(sent[1:]) == ["Content-Length: 0", "SERVER: mine", "date: x"]
    assert "Server" not in "".join(lines(head(server=b"")))


@pytest.mark.parametrize("values", ["56", "556", "565"])
def test_different_lengths_are_refused(values: str) -> None:
    with pytest.raises(ApplicationError, match=r"Content-Length' occurs with 5 and with 6|with 6 and with 5"):
        head("200 OK", [("Content-Length", value) for value in values])


@pytest.mark.parametrize("status", ["200 OK", "304 Not Modified"])
def test_equal_lengths_are_sent_once(status: str) -> None:
    result = head(status, [CL5, ("content-length", "05"), CL5])
    assert [line for line in lines(result) if line.lower().startswith("content-length")] == ["Content-Length: 5"]


@given(
    st.one_of(st.text(max_size=8), st.just("200 OK")),
    st.lists(st.tuples(st.text(max_size=5), st.text(max_size=5)), max_size=3),
    st.sampled_from([0, 1]),
)
def test_no_line_end_or_nul_is_sent_within_a_line(status: str, headers: list[tuple[str, str]], minor: int) -> None:
    try:
        result = head(status, headers, minor=minor)
    except ApplicationError:
        return
    sent = lines(result)
    assert not any(set(line) & {"\r", "\n", "\0"} for line in sent)
    assert len(sent) <= 1 + len(headers) + 4


def test_chunks() -> None:
    assert b"".join(chunk(b"x" * 26)) == b"1a\r\n" + b"x" * 26 + b"\r\n"
    assert chunk(b"") == ()
    assert (LAST_CHUNK, CONTINUE) == (b"0\r\n\r\n", b"HTTP/1.1 100 Continue\r\n\r\n")


def test_a_refusal_is_a_complete_response() -> None:
    response = refusal(413, "t\xe9\u20ac", date=DATE, server=b"", extra=[("Retry-After", "5")])
    top, body = response.split(b"\r\n\r\n")
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
def test_status_texts(code: int, text: str) -> None:
    assert status_text(code) == text


@given(st.integers(0, 4_102_444_800))
def test_http_dates_are_those_of_the_standard_library(seconds: int) -> None:
    assert http_date(seconds + 0.9) == formatdate(seconds, usegmt=True)
