"""The scanner refuses invalid chunk lines: sizes and extensions."""

from __future__ import annotations

import pytest

from tests.protocol.http1.delivery import NEXT, chunked


@pytest.mark.parametrize(
    "data",
    [
        b"\r\n", b"x\r\n", b"0x5\r\n", b"+5\r\n", b"-0\r\n", b"0_0\r\n", b" 5\r\n", b"5 \r\n", b"\x0c5\r\n",
        b"5,5\r\n", b"5.0\r\n", b"5 5\r\n",
        b"5these\r\n", b"5\n", b"5\rhello\r\n", b"5\r\r\n", b"\xb2\r\n", b"0" * 17 + b"\r\n",
        b"1" + b"0" * 16 + b"\r\n", b"5;\r\n",
        b"5;=a\r\n", b"5;a b\r\n", b"5;a b@=c\r\n", b'5;a="x\r\n', b'5;a="x"y\r\n', b"5;a=\r\n", b"5;a\0b\r\n",
        b"5;a\rb\r\n",
        b"5;\nxx\r\n", b'5;a="\x1b"\r\n', b'5;a="\\\0"\r\n', b"5;a;\r\n", b"5;a \r\n",
    ],
)  # fmt: skip
def test_an_invalid_chunk_line_is_refused(data: bytes) -> None:
    assert chunked(data) == 400
    assert chunked(data + NEXT) == 400
