"""The length of the body, persistence and expectations, as the fields of a head decide them."""

from __future__ import annotations

import pytest

from tests.protocol.http1.delivery import get, head_of


def test_the_length_of_the_body() -> None:
    assert get()["length"] == 0
    assert get("Content-Length: \t46 ")["length"] == 46
    assert get("Transfer-Encoding:\tChunKed ")["length"] is None


@pytest.mark.parametrize(
    ("status", "lines"),
    [
        *((400, [f"Content-Length: {value}"]) for value in (
            "", "-1", "+1", "1_0", "0x1", "1,1", "1 1", "1\xa0", "\xb9", "1.0", "1e1", '"1"', "0" * 20, "9" * 20)),
        (413, ["Content-Length: 1073741825"]),
        (400, ["Content-Length: 1", "Content-Length: 1"]),
        (400, ["Content-Length: 0", "Transfer-Encoding: chunked"]),
        (400, ["Transfer-Encoding:", "Content-Length: 5"]),
        *((400, [f"Transfer-Encoding: {value}"]) for value in (
            "", ",chunked", "chunked,", "chunked, chunked", "chunked, gzip", "chunked;a=b", "chunk ed", "chunked\x85")),
        *((501, [f"Transfer-Encoding: {value}"]) for value in ("gzip", "xchunked", "gzip, chunked", "identity")),
        (400, ["Transfer-Encoding: chunked", "Transfer-Encoding: chunked"]),
        (501, ["Transfer-Encoding: gzip", "Transfer-Encoding: chunked"]),
        (417, ["Expect: 200-ok"]), (417, ["Expect: 100-continue, x"]),
    ],
)  # fmt: skip
def test_ambiguous_framing_and_other_expectations_are_refused(status: int, lines: list[str]) -> None:
    assert get(*lines) == {"status": status}


def test_http_1_0_has_no_chunks_and_expects_nothing() -> None:
    assert head_of("POST / HTTP/1.0", "Transfer-Encoding: chunked") == {"status": 400}
    assert head_of("POST / HTTP/1.0", "Content-Length: 1", "Expect: 200-ok")["expect_continue"] is False


@pytest.mark.parametrize(
    ("minor", "values", "keep_alive"),
    [
        (1, [], True), (1, ["close"], False), (1, ["Close"], False), (1, ["x, CLOSE ,y"], False),
        (1, ["x", "close"], False),
        (1, ["disclose"], True), (1, ["keep-alive"], True), (0, [], False), (0, ["Keep-Alive"], True),
        (0, ["x"], False),
        (0, ["x,\tkeep-alive"], True), (0, ["keep-alive, close"], False),
    ],
)  # fmt: skip
def test_persistence(minor: int, values: list[str], keep_alive: bool) -> None:
    head = head_of(f"GET / HTTP/1.{minor}", "Host: a", *(f"Connection: {value}" for value in values))
    assert head["keep_alive"] is keep_alive


@pytest.mark.parametrize(
    ("lines", "expect_continue"),
    [
        (["Content-Length: 5", "Expect: 100-Continue"], True),
        (["Transfer-Encoding: chunked", "Expect: 100-continue"], True),
        (["Content-Length: 0", "Expect: 100-continue"], False),
        (["Expect: 100-continue"], False),
        (["Content-Length: 5", "Expect: 100-continue", "Expect: 100-continue"], True),
        (["Content-Length: 5", "Expect:"], False),
    ],
)
def test_expectations(lines: list[str], expect_continue: bool) -> None:
    assert get(*lines)["expect_continue"] is expect_continue
