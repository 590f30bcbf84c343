"""The trailer section after a chunked body: its grammar, its limits, and the field names that it must not contain.

Part of a body decoder, and called by the same thread. Trailer fields are kept apart from the head and never merged into
it (RFC 9110 section 6.5.1). A name is refused if its field could change how the message is routed, framed or authorised
after that has been decided. No field is available before the section has ended, so a refused section has none.
"""

from __future__ import annotations

from reserve.errors import RemoteError
from reserve.protocol.http1.fields import (
    LINE_COMPLETE,
    LINE_INVALID,
    LINE_START,
    scan_field_line,
    unexpected_byte,
)
from reserve.protocol.http1.limits import Limits

__all__ = ["FORBIDDEN_TRAILERS", "TrailerReader"]

FORBIDDEN_TRAILERS = frozenset({
    "authorization", "cache-control", "connection", "content-encoding", "content-length", "content-range",
    "content-type", "cookie", "expect", "forwarded", "host", "if-match", "if-modified-since", "if-none-match",
    "if-range", "if-unmodified-since", "keep-alive", "max-forwards", "pragma", "proxy-authenticate",
    "proxy-authorization", "proxy-connection", "range", "set-cookie", "te", "trailer", "transfer-encoding",
    "upgrade", "www-authenticate",
})  # fmt: skip


FIELD_COST = 200
"""Bytes of memory that a field takes in addition to its line: two strings and a tuple."""


class TrailerReader:
    """Reads the field lines of one trailer section, up to the empty line. A :class:`ChunkedDecoder` owns it."""

    __slots__ = ("_limits", "_line", "_read", "_size", "_state", "complete", "fields")

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._line = bytearray()
        self._state = LINE_START
        self._size = 0
        self._read: list[tuple[str, str]] = []
        self.fields: list[tuple[str, str]] = []
        """Names as they were sent and values without whitespace around them, in order; filled when the section ends."""
        self.complete = False

    @property
    def held(self) -> int:
        """Bytes of memory that the fields take."""
        return self._size + FIELD_COST * len(self._read)

    def feed(self, data: bytes, position: int) -> int:
        """Read lines of ``data`` from ``position`` on; return the position after what was read.

        :raises RemoteError: 400 for a malformed or forbidden field, 431 above one of the limits; as soon as the byte
            that breaks the rule is here.
        """
        limits = self._limits
        while position < len(data) and not self.complete:
            at, state = scan_field_line(data, position, self._state)
            self._size += at - position + (state == LINE_INVALID)
            if self._size > limits.max_trailer:
                raise RemoteError(431, f"the trailer is longer than {limits.max_trailer} bytes (--max-trailer)")
            self._line += data[position:at]
            if state == LINE_INVALID:
                raise unexpected_byte(data[at], bytes(self._line), "a trailer line (RFC 9112 section 7.1.2)")
            position = at
            self._state = state
            if state == LINE_COMPLETE:
                self._state = LINE_START
                line = self._line.decode("latin-1")
                self._line.clear()
                if line == "\r\n":
                    self.complete = True
                    self.fields += self._read
                else:
                    self._add(line)
        return position

    def _add(self, line: str) -> None:
        if len(self._read) >= self._limits.max_trailer_fields:
            limit = self._limits.max_trailer_fields
            raise RemoteError(431, f"more than {limit} trailer fields (--max-trailer-fields)")
        name, _, value = line[:-2].partition(":")
        if name.lower().replace("_", "-") in FORBIDDEN_TRAILERS:
            raise RemoteError(400, f"{name} cannot be a trailer field (RFC 9110 section 6.5.1)")
        self._read.append((name, value.strip(" \t")))
