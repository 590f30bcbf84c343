"""Where a request body ends: decoders for the two framings, fed with octets in any pieces.

One decoder per body; runs on whichever thread owns the connection. Both have the same shape, so that a driver needs
no case distinction. Work is linear however the input is split: a line is looked at from where the last look stopped,
content is cut out of what was fed and joined once. What can never become legal is refused at the octet that makes it
so: a client that breaks the rules may send nothing more and wait. A decoder that refused stays refused: behind a broken
chunk nothing can be trusted.
"""

from __future__ import annotations

import re

from reserve.errors import RemoteError, counted
from reserve.protocol.http1 import chunkline
from reserve.protocol.http1.fields import unexpected_byte
from reserve.protocol.http1.limits import Limits
from reserve.protocol.http1.trailer import TrailerReader

__all__ = ["ChunkedDecoder", "LengthDecoder"]

SIZE = re.compile(rb"([0-9A-Fa-f]{1,16})\r\n").match
LONGEST_PLAIN_LINE = 18
DIGITS = re.compile(rb"[0-9A-Fa-f]+").match

SIZE_LINE, DATA, DATA_END, TRAILER, COMPLETE, REFUSED = range(6)


class LengthDecoder:
    """A body of a stated length (RFC 9112 section 6.2)."""

    __slots__ = ("_length", "complete", "received", "rest")

    def __init__(self, length: int) -> None:
        self._length = length
        self.received = 0
        """Octets of content so far."""
        self.complete = length == 0
        self.rest = b""
        """What was received behind the body."""

    def feed(self, data: bytes) -> bytes:
        """Take what was received and return the content in it."""
        left = self._length - self.received
        if len(data) < left:
            self.received += len(data)
            return data
        self.rest += data[left:]
        self.received += left
        self.complete = True
        return data[:left]


class ChunkedDecoder:
    """A body in chunks (RFC 9112 section 7.1), with its trailer section."""

    __slots__ = (
        "_extensions",
        "_left",
        "_limits",
        "_line",
        "_line_state",
        "_state",
        "_trailer",
        "complete",
        "received",
        "rest",
    )

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._state = SIZE_LINE
        self._left = 0  # octets to come of this chunk's data, or of the line end behind it
        self._line = bytearray()  # a size line whose end has not come
        self._line_state = chunkline.LINE_START
        self._extensions = 0
        self._trailer = TrailerReader(limits)
        self.received = 0
        """Octets of content so far."""
        self.complete = False
        self.rest = b""
        """What was received behind the body."""

    @property
    def trailers(self) -> list[tuple[str, str]]:
        """The trailer fields, in order: one list, which is empty until the body is complete."""
        return self._trailer.fields

    def feed(self, data: bytes) -> bytes:
        """Take what was received and return the content in it.

        :raises RemoteError: 400 for a malformed body, 413 above ``--max-body``, 431 for a trailer above its limits.
        """
        try:
            return self._decode(data)
        except RemoteError:
            self._state = REFUSED
            raise

    def _decode(self, data: bytes) -> bytes:
        content: list[bytes] = []
        position = 0
        stop = len(data)
        while position < stop:
            state = self._state
            if state == SIZE_LINE:
                if not self._line:
                    position = self._take_whole_chunks(data, position, content)
                    if position == stop:
                        break
                size, position = self._read_size(data, position)
                if size > 0:
                    self._left = size
                    self._state = DATA
                    self._check_received(size)
                elif size == 0:
                    self._state = TRAILER
            elif state == DATA:
                piece = data[position : position + self._left]
                content.append(piece)
                position += len(piece)
                self.received += len(piece)
                self._left -= len(piece)
                if not self._left:
                    self._left = 2
                    self._state = DATA_END
            elif state == DATA_END:
                expected = b"\r\n"[2 - self._left :]
                piece = data[position : position + self._left]
                if not expected.startswith(piece):
                    raise RemoteError(400, "chunk data is not followed by CRLF (RFC 9112 section 7.1)")
                position += len(piece)
                self._left -= len(piece)
                if not self._left:
                    self._state = SIZE_LINE
            elif state == TRAILER:
                position = self._trailer.feed(data, position)
                if self._trailer.complete:
                    self._state = COMPLETE
                    self.complete = True
            elif state == COMPLETE:
                self.rest += data[position:]
                position = stop
            else:
                raise RemoteError(400, "this body was refused before; nothing behind it can be read")
        return content[0] if len(content) == 1 else b"".join(content)

    def _take_whole_chunks(self, data: bytes, position: int, content: list[bytes]) -> int:
        """Take chunks without extensions that are here from size line to line end; all else is for the states."""
        if self._limits.max_chunk_line < LONGEST_PLAIN_LINE:
            return position
        while True:
            line = SIZE(data, position)
            if line is None:
                return position
            start = line.end()
            size = int(line[1], 16)
            end = start + size
            if not size or not data.startswith(b"\r\n", end):
                return position
            self._check_received(size)
            content.append(data[start:end])
            self.received += size
            position = end + 2

    def _check_received(self, size: int) -> None:
        if self.received + size > self._limits.max_body:
            limit = self._limits.max_body
            raise RemoteError(413, f"the body is above the limit of {counted(limit, 'octet')} (--max-body)")

    def _read_size(self, data: bytes, position: int) -> tuple[int, int]:
        """Return the size (-1 when the line has not ended) and the position behind the line."""
        longest = self._limits.max_chunk_line
        if not self._line and longest >= LONGEST_PLAIN_LINE:
            plain = SIZE(data, position)
            if plain is not None:
                return int(plain[1], 16), plain.end()
        stop = min(len(data), position + longest - len(self._line))
        at, state = chunkline.scan_chunk_line(data, position, stop, self._line_state)
        self._line += data[position:at]
        if state == chunkline.LINE_INVALID:
            raise self._wrong(data[at])
        if state == chunkline.LINE_COMPLETE:
            line = bytes(self._line)
            self._line.clear()
            self._line_state = chunkline.LINE_START
            return self._read_line(line), at
        if stop < len(data):
            raise RemoteError(400, f"a chunk line and its CRLF are longer than {longest} octets (--max-chunk-line)")
        self._line_state = state
        return -1, at

    def _wrong(self, octet: int) -> RemoteError:
        line = bytes(self._line)
        if len(line) == chunkline.SIZE_DIGITS and line.isalnum() and octet in chunkline.HEX_DIGITS:
            return RemoteError(400, f"a chunk size has more than {len(line)} digits (RFC 9112 section 7.1)")
        if b";" in line:
            return unexpected_byte(octet, line, "a chunk extension (RFC 9112 section 7.1.1)")
        return unexpected_byte(octet, line, "a chunk line (RFC 9112 section 7.1)")

    def _read_line(self, line: bytes) -> int:
        digits = DIGITS(line)
        assert digits is not None  # it has been looked at, octet by octet
        self._extensions += len(line) - digits.end() - 2
        if self._extensions > self._limits.max_chunk_extensions:
            limit = self._limits.max_chunk_extensions
            raise RemoteError(
                400, f"the chunk extensions are longer than {counted(limit, 'octet')} (--max-chunk-extensions)"
            )
        return int(digits[0], 16)
