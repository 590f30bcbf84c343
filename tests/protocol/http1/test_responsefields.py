"""The status and the headers of an application: what is accepted, refused and cached."""

from __future__ import annotations

from typing import Any

import pytest

from reserve.errors import ApplicationError
from reserve.protocol.http1 import responsefields
from tests.protocol.http1.heads import head, lines


@pytest.mark.parametrize("status", ["200 ", "299 \xe9\t", "599 x", "600 x", "999 "])
def test_a_valid_status_is_sent(status: str) -> None:
    assert lines(head(status))[0] == "HTTP/1.1 " + status


@pytest.mark.parametrize(("code", "line"), [("200", "200 OK"), ("422", "422 Unprocessable Content"), ("799", "799 ")])
def test_a_code_alone_gets_its_standard_reason_or_an_empty_one(code: str, line: str) -> None:
    assert lines(head(code))[0] == "HTTP/1.1 " + line


@pytest.mark.parametrize(
    "status",
    [
        "", "OK", "100 Continue", "101 Switching", "1000 x", "099 x", "20 x", "2000 x", "200OK", "\xb200 x",
        "200 a\r\nX: y", "200 a\n",
        "200 \0", "200 \x7f", "200 \u20ac", b"200 OK", 200, None, [],
    ],
)  # fmt: skip
def test_an_invalid_status_is_refused(status: Any) -> None:
    with pytest.raises(ApplicationError, match="status"):
        head(status)


@pytest.mark.parametrize(
    "header",
    [
        ("X-A", "a\r\nX-B: b"), ("X-A", "a\n"), ("X-A", "\r"), ("X-A", "\0"), ("X-A", "\x1b"), ("X-A", "\x7f"),
        ("X-A", "\u20ac"),
        ("X-A", b"b"), ("X-A", 5), ("X-A", None), ("X-A", []), ("X-A",), ("X-A", "b", "c"), ["X-A", "b"], ("X-A ", "b"),
        ("X-A:", "b"), ("X-A\n", "b"), ("Connection", "close\r\nX: y"), ("Upgrade", "x\n"), ("Trailer", "\0"),
        ("Content-Length", ""), ("Content-Length", "-1"),
        ("Content-Length", "1_0"),
        ("Content-Length", " 1"), ("Content-Length", "\xb2"), ("Content-Length", "9" * 20),
    ],
)  # fmt: skip
def test_the_error_names_the_invalid_field(header: Any) -> None:
    with pytest.raises(ApplicationError, match=str(header[0]).strip()):
        head("200 OK", [header])


@pytest.mark.parametrize(
    ("headers", "dropped", "closes"),
    [
        ([("X-A", "b"), ("Proxy-Status", "c"), ("Connection", "close")], (), True),
        ([("Connection", "Keep-Alive"), ("Keep-Alive", "x")], ("connection", "keep-alive"), False),
        ([("Connection", "x ,\tCLOSE,")], ("connection",), True),
        ([("Connection", "closed")], ("connection",), False),
        ([("transfer-Encoding", "x"), ("TE", "x"), ("Trailers", "x")], ("transfer-encoding", "te", "trailers"), False),
        ([("Upgrade", "x"), ("Proxy-Authorization", "x")], ("upgrade", "proxy-authorization"), False),
    ],
)
def test_hop_by_hop_fields_are_dropped_and_only_a_close_is_obeyed(
    headers: Any, dropped: tuple[str, ...], closes: bool
) -> None:
    result = head("200 OK", headers, length=1)
    assert (result.dropped, result.keep_alive) == (dropped, not closes)
    sent = {line.partition(":")[0].lower() for line in lines(result)[1:]} - {"connection"}
    assert not sent & {name.lower() for name, _ in headers if name.lower() in dropped}


@pytest.mark.parametrize("header", [("", "b"), ("\xe9", "b"), (b"X-A", "b"), (5, "b"), "ab", None, ()])
def test_a_header_without_a_valid_name_is_refused(header: Any) -> None:
    with pytest.raises(ApplicationError, match="response header"):
        head("200 OK", [header])


def test_the_caches_are_bounded_and_hold_no_secret() -> None:
    for number in range(responsefields.MOST_CACHED * 2):
        head(f"200 {number}", [("X-A", str(number))])
    assert len(responsefields.CACHED_LINES) <= responsefields.MOST_CACHED
    assert len(responsefields.CACHED_STATUS) <= responsefields.MOST_CACHED
    for item in (("Set-Cookie", "secret"), ("X-A", "x" * 1000)):
        head("200 " + "x" * 1000, [item])
        assert item not in responsefields.CACHED_LINES
    assert all(len(status) < 1000 for status in responsefields.CACHED_STATUS)
