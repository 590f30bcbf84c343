"""Frames of a client, made without any library: also those that no library would send (RFC 6455 section 5.2)."""

from __future__ import annotations

import struct

CONT, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10
MASK = b"\x12\x9a\x00\xff"


def frame(opcode: int, data: bytes = b"", *, fin: bool = True, rsv: int = 0, mask: bytes | None = MASK) -> bytes:
    """One frame.

    :param rsv: the three reserved bits, as a number from 0 to 7.
    :param mask: None: the frame is not masked, which only a server may do.
    """
    first = fin << 7 | rsv << 4 | opcode
    masked = 128 if mask is not None else 0
    size = len(data)
    if size < 126:
        head = struct.pack("!BB", first, masked | size)
    elif size < 65536:
        head = struct.pack("!BBH", first, masked | 126, size)
    else:
        head = struct.pack("!BBQ", first, masked | 127, size)
    if mask is None:
        return head + data
    key = int.from_bytes((mask * (size // 4 + 1))[:size], "big")
    return head + mask + (int.from_bytes(data, "big") ^ key).to_bytes(size, "big")


def close(code: int | None = None, reason: bytes = b"") -> bytes:
    """A close frame."""
    return frame(CLOSE, (b"" if code is None else struct.pack("!H", code)) + reason)


def parse(data: bytes) -> list[tuple[int, bytes]]:
    """The frames of a server: (opcode, payload) each. Fails for a frame that is masked, incomplete or fragmented."""
    frames = []
    while data:
        assert data[0] & 0xF0 == 0x80, f"fragmented, or with reserved bits: {data[:2]!r}"
        size, start = data[1], 2
        assert size < 128, "masked"
        if size == 126:
            size, start = struct.unpack("!H", data[2:4])[0], 4
        elif size == 127:
            size, start = struct.unpack("!Q", data[2:10])[0], 10
        assert len(data) >= start + size, "incomplete"
        frames.append((data[0] & 15, data[start : start + size]))
        data = data[start + size :]
    return frames


def codes(frames: list[tuple[int, bytes]]) -> list[tuple[int, bytes | int | None]]:
    """The same frames, with the code in place of the payload of a close frame."""
    return [
        (opcode, (struct.unpack("!H", data[:2])[0] if data else None) if opcode == CLOSE else data)
        for opcode, data in frames
    ]
