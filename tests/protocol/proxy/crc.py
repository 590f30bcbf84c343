"""CRC-32C bit by bit, as RFC 3720 defines it: slow, and another way than that of the package."""

from __future__ import annotations


def slow_crc32c(data: bytes) -> int:
    crc = 0xFFFFFFFF
    for byte in data:
        for bit in range(8):
            carry = (crc ^ (byte >> bit)) & 1
            crc >>= 1
            if carry:
                crc ^= 0x82F63B78
    return crc ^ 0xFFFFFFFF
