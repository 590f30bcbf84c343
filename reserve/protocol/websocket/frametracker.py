"""Finds out where a frame ends, and whether one has begun that is not complete (RFC 6455 section 5.2): the session
handles one frame before it looks at the next, and a client that has begun a frame has a deadline.

The thread that owns the connection uses it. It checks nothing: the parser of ``websockets`` does.
"""

from __future__ import annotations

__all__ = ["FrameTracker"]

_EXTENDED = {126: 2, 127: 8}  # bytes of an extended payload length


class FrameTracker:
    """Follows the frames of one client. Owned by its session."""

    __slots__ = ("_header", "_payload")

    def __init__(self) -> None:
        self._header = b""
        """The beginning of a header that is not complete."""
        self._payload = 0
        """Bytes of the payload that are still to come."""

    @property
    def incomplete(self) -> bool:
        """The last frame has begun and not ended."""
        return bool(self._header) or self._payload > 0

    def advance(self, data: bytes, start: int) -> int:
        """Follow the bytes of the client from ``start``, to the end of a frame or of the data. Returns the position."""
        if not self._payload:
            header = self._header + data[start : start + 14 - len(self._header)]
            size = _header_size(header)
            if len(header) < size:
                self._header = header
                return len(data)
            start += size - len(self._header)
            self._header = b""
            self._payload = _payload_size(header)
        skipped = min(self._payload, len(data) - start)
        self._payload -= skipped
        return start + skipped


def _header_size(header: bytes) -> int:
    if len(header) < 2:
        return 2
    return 2 + _EXTENDED.get(header[1] & 127, 0) + (4 if header[1] & 128 else 0)


def _payload_size(header: bytes) -> int:
    short = header[1] & 127
    extended = _EXTENDED.get(short, 0)
    return int.from_bytes(header[2 : 2 + extended], "big") if extended else short
