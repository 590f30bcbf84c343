"""The checksum, against the vectors of RFC 3720 and another implementation."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reserve.protocol.proxy.crc32c import crc32c
from tests.protocol.proxy.crc import slow_crc32c


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", 0),
        (b"123456789", 0xE3069283),
        (bytes(32), 0x8A9136AA),
        (b"\xff" * 32, 0x62A8AB43),
        (bytes(range(32)), 0x46DD794E),
    ],
)
def test_known_checksums(data: bytes, expected: int) -> None:
    assert crc32c(data) == slow_crc32c(data) == expected


@given(st.binary(max_size=100))
def test_any_bytes(data: bytes) -> None:
    assert crc32c(data) == slow_crc32c(data)
