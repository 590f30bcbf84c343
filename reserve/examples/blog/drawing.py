"""Draw the picture of the first sample post, at the first launch: hills in the evening, as a PNG with a palette.

Pure functions, for any thread.
"""

from __future__ import annotations

import math
import struct
import zlib

__all__ = ["hills"]

WIDTH, HEIGHT = 1200, 480
SUN_X, SUN_Y, SUN_RADIUS = 840, 190, 54
SKY_TOP, SKY_BOTTOM = (44, 104, 122), (255, 206, 138)
SUN = (255, 241, 205)
HILLS = ((201, 139, 104), (141, 106, 103), (78, 88, 95), (37, 72, 77), (15, 45, 48))
SKY_SHADES = 200


def hills() -> bytes:
    """Return the picture as a PNG file; the bytes are always the same."""
    ridges = [[_ridge(layer, x) for x in range(WIDTH)] for layer in range(len(HILLS))]
    palette = [
        tuple(round(a + (b - a) * shade / (SKY_SHADES - 1)) for a, b in zip(SKY_TOP, SKY_BOTTOM, strict=True))
        for shade in range(SKY_SHADES)
    ]
    palette += [SUN, *HILLS]
    rows = bytearray()
    for y in range(HEIGHT):
        shade = min(SKY_SHADES - 1, y * SKY_SHADES // (HEIGHT * 11 // 20))
        row = bytearray([shade]) * WIDTH
        half = math.isqrt(max(0, SUN_RADIUS**2 - (y - SUN_Y) ** 2))
        row[SUN_X - half : SUN_X + half] = bytes([SKY_SHADES]) * (2 * half)
        for layer, ridge in enumerate(ridges):
            if y >= min(ridge):
                colour = SKY_SHADES + 1 + layer
                row = bytearray(colour if y >= top else under for top, under in zip(ridge, row, strict=True))
        rows += b"\0" + row
    header = struct.pack(">IIBBBBB", WIDTH, HEIGHT, 8, 3, 0, 0, 0)
    colours = bytes(value for colour in palette for value in colour)
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in ((b"IHDR", header), (b"PLTE", colours), (b"IDAT", zlib.compress(rows, 9)), (b"IEND", b""))
    )


def _ridge(layer: int, x: int) -> int:
    wave = math.sin(x / (230 - 28 * layer) + 2.1 * layer) + 0.45 * math.sin(x / (71 + 9 * layer) + 5.3 * layer)
    return round(HEIGHT * (0.5 + 0.1 * layer) - 26 * wave)
