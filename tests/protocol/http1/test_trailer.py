"""Trailer sections: their fields are kept apart from the head, and fields that would change the request are refused."""

from __future__ import annotations

import pytest

from reserve.protocol.http1.trailer import FORBIDDEN_TRAILERS
from tests.protocol.http1.delivery import NEXT, chunked


def test_trailer_fields_are_kept_apart_and_in_order() -> None:
    result = chunked(b"1\r\na\r\n0\r\nX-T: \t v \r\nx-t:w\r\nY:\r\n\r\n" + NEXT)
    assert result == (b"a", True, NEXT, 1, [("X-T", "v"), ("x-t", "w"), ("Y", "")])


@pytest.mark.parametrize(
    "data",
    [
        b"\n", b"X\n", b"rubbish\r\n", b"X : y\r\n", b" y\r\n", b"X: y\r\n z\r\n", b"X: a\rb\r\n", b"X: \0\r\n",
        b": y\r\n", b"GET /x?: HTTP/1.1\r\n", b"\r\r\n", b"Content_Length: 5\r\n",
    ],
)  # fmt: skip
def test_an_invalid_trailer_is_refused(data: bytes) -> None:
    assert chunked(b"0\r\n" + data) == 400
    assert chunked(b"0\r\n" + data + NEXT) == 400


@pytest.mark.parametrize("name", sorted(FORBIDDEN_TRAILERS))
def test_a_trailer_field_that_would_change_the_request_is_refused(name: str) -> None:
    assert chunked(f"0\r\n{name.title()}: x\r\n\r\n".encode()) == 400
