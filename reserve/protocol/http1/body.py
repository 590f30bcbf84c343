"""Decoders of request bodies, one for each framing, for input that arrives in pieces of any size.

Each body has a decoder of its own; the thread that owns the connection calls it. Both decoders have the same methods
and attributes, so a driver treats them alike. Work is linear however the input is split: the check of a line goes on
where it stopped, and content is cut out of the input and joined once. A byte that is not allowed where it stands is
refused when it arrives, because its sender may wait for the response and send nothing more. A decoder that has refused
its input refuses all further input: nothing after a malformed chunk can be trusted.

A client may send a body in chunks of one byte, which costs six bytes and most of a microsecond each. So runs of equal
tiny chunks are taken at once, with slices that the interpreter copies in C (2 ns a byte, where chunk by chunk takes
150), and a body whose framing is many times its content is refused.
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
TINY = 64
"""Bytes of a chunk up to which a run of equal chunks is taken at once: the others cost little for each byte."""
RUN = 8
"""Equal tiny chunks in a row after which the decoder looks for a run, in windows of 8, 16, 32... chunks: a client that
changes the size more often makes no look in vain.
"""
FREE_FRAMING = 65536
"""Bytes of framing in a body that are never too many: see ``--max-chunk-overhead``."""
HEX_RUN = re.compile(rb"[0-9A-Fa-f]+").match

SIZE_LINE, DATA, DATA_END, TRAILER, COMPLETE, REFUSED = range(6)


class LengthDecoder:
    """Decodes a body whose length is in Content-Length (RFC 9112 section 6.2).

    :param length: in bytes.
    """

    FEED_SIZE = 262144
    """Bytes that a caller which must not be kept long passes to one call of :meth:`feed`, at most."""

    __slots__ = ("_length", "complete", "received", "rest")

    held = 0
    """As for :class:`ChunkedDecoder`."""
    trailers: list[tuple[str, str]] | None = None
    """Such a body has no trailer section."""

    def __init__(self, length: int) -> None:
        self._length = length
        self.received = 0
        """Bytes of content so far."""
        self.complete = length == 0
        self.rest = b""
        """What was received after the body."""

    @property
    def missing(self) -> int:
        """Bytes that certainly belong to the body and have not come yet."""
        return self._length - self.received

    def feed(self, data: bytes) -> bytes:
        """Take what was received and return the content in it."""
        missing = self._length - self.received
        if len(data) < missing:
            self.received += len(data)
            return data
        self.rest += data[missing:]
        self.received += missing
        self.complete = True
        return data[:missing]


class ChunkedDecoder:
    """Decodes a chunked body with its trailer section (RFC 9112 section 7.1).

    :param limits: of chunk lines, extensions, content and trailer section.
    """

    FEED_SIZE = 8192
    """As for :class:`LengthDecoder`: with chunks of one byte that have extensions this much takes about 2.5 ms."""

    __slots__ = (
        "_extensions",
        "_limits",
        "_line",
        "_line_state",
        "_missing",
        "_state",
        "_trailer",
        "_wire",
        "complete",
        "received",
        "rest",
    )

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._state = SIZE_LINE
        self._missing = 0  # bytes to come of this chunk's data, or of the line end after it
        self._line = bytearray()  # a size line whose end has not arrived
        self._line_state = chunkline.LINE_START
        self._extensions = 0
        self._trailer = TrailerReader(limits)
        self._wire = 0  # bytes received before the current piece, framing and content
        self.received = 0
        """Bytes of content so far."""
        self.complete = False
        self.rest = b""
        """What was received after the body."""

    @property
    def missing(self) -> int:
        """Bytes that certainly belong to the body and have not come yet: those of the current chunk."""
        return self._missing if self._state == DATA else 0

    @property
    def held(self) -> int:
        """Bytes of memory that an incomplete line and the trailer take."""
        return len(self._line) + self._trailer.held

    @property
    def trailers(self) -> list[tuple[str, str]]:
        """The trailer fields, in order: one list, which is empty until the body is complete."""
        return self._trailer.fields

    def feed(self, data: bytes) -> bytes:
        """Take what was received and return the content in it.

        :raises RemoteError: 400 for a malformed body and above ``--max-chunk-overhead``, 413 above ``--max-body``, 431
            for a trailer above its limits.
        """
        try:
            content = self._decode(data)
            self._wire += len(data)
            return content
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
                    position = self._take_complete_chunks(data, position, content)
                    if position == stop:
                        break
                size, position = self._read_size(data, position)
                if size > 0:
                    self._missing = size
                    self._state = DATA
                    self._check_received(size)
                elif size == 0:
                    self._state = TRAILER
            elif state == DATA:
                piece = data[position : position + self._missing]
                content.append(piece)
                position += len(piece)
                self.received += len(piece)
                self._missing -= len(piece)
                if not self._missing:
                    self._missing = 2
                    self._state = DATA_END
            elif state == DATA_END:
                expected = b"\r\n"[2 - self._missing :]
                piece = data[position : position + self._missing]
                if not expected.startswith(piece):
                    raise RemoteError(400, "chunk data is not followed by CRLF (RFC 9112 section 7.1)")
                position += len(piece)
                self._missing -= len(piece)
                if not self._missing:
                    self._state = SIZE_LINE
                    self._check_overhead(position)
            elif state == TRAILER:
                position = self._trailer.feed(data, position)
                if self._trailer.complete:
                    self._state = COMPLETE
                    self.complete = True
            elif state == COMPLETE:
                self.rest += data[position:]
                position = stop
            else:
                raise RemoteError(400, "this body was refused before; nothing after it can be read")
        return content[0] if len(content) == 1 else b"".join(content)

    def _take_complete_chunks(self, data: bytes, position: int, content: list[bytes]) -> int:
        """Take the complete chunks without extensions at this position, and return the position after them."""
        if self._limits.max_chunk_line < LONGEST_PLAIN_LINE:
            return position
        before, repeated = b"", 0
        while True:
            match = SIZE(data, position)
            if match is None:
                return position
            start = match.end()
            size = int(match[1], 16)
            end = start + size
            if not size or not data.startswith(b"\r\n", end):
                return position
            line = match[0]
            repeated = repeated + 1 if line == before and size <= TINY else 0
            if repeated == RUN:
                end, piece = _take_equal_chunks(data, position, line, size)
                self._check_received(len(piece))
                content.append(piece)
                self.received += len(piece)
                position = end
                before = b""  # the next chunk is a different one, or incomplete
            else:
                before = line
                self._check_received(size)
                content.append(data[start:end])
                self.received += size
                position = end + 2
            if self._wire + position - self.received > FREE_FRAMING:
                self._check_overhead(position)

    def _check_overhead(self, position: int) -> None:
        """After a complete chunk, or a run of equal ones (the ratio goes one way in it), that ends at ``position``."""
        framing = self._wire + position - self.received
        if framing > FREE_FRAMING and framing > self._limits.max_chunk_overhead * self.received:
            factor = self._limits.max_chunk_overhead
            raise RemoteError(
                400,
                f"the chunks of the body have more than {factor} bytes of framing for each byte (--max-chunk-overhead)",
            )

    def _check_received(self, size: int) -> None:
        if self.received + size > self._limits.max_body:
            limit = self._limits.max_body
            raise RemoteError(413, f"the body is above the limit of {counted(limit, 'byte')} (--max-body)")

    def _read_size(self, data: bytes, position: int) -> tuple[int, int]:
        """Return the size (-1 while the line is incomplete) and the position after the line."""
        longest = self._limits.max_chunk_line
        if not self._line and longest >= LONGEST_PLAIN_LINE:
            match = SIZE(data, position)
            if match is not None:
                return int(match[1], 16), match.end()
        stop = min(len(data), position + longest - len(self._line))
        at, state = chunkline.scan_chunk_line(data, position, stop, self._line_state)
        self._line += data[position:at]
        if state == chunkline.LINE_INVALID:
            raise self._invalid_byte(data[at])
        if state == chunkline.LINE_COMPLETE:
            line = bytes(self._line)
            self._line.clear()
            self._line_state = chunkline.LINE_START
            return self._parse_line(line), at
        if stop < len(data):
            raise RemoteError(400, f"a chunk line and its CRLF are longer than {longest} bytes (--max-chunk-line)")
        self._line_state = state
        return -1, at

    def _invalid_byte(self, byte: int) -> RemoteError:
        line = bytes(self._line)
        if len(line) == chunkline.SIZE_DIGITS and line.isalnum() and byte in chunkline.HEX_DIGITS:
            return RemoteError(400, f"a chunk size has more than {len(line)} digits (RFC 9112 section 7.1)")
        if b";" in line:
            return unexpected_byte(byte, line, "a chunk extension (RFC 9112 section 7.1.1)")
        return unexpected_byte(byte, line, "a chunk line (RFC 9112 section 7.1)")

    def _parse_line(self, line: bytes) -> int:
        digits = HEX_RUN(line)
        assert digits is not None  # the scanner has checked every byte
        self._extensions += len(line) - digits.end() - 2
        if self._extensions > self._limits.max_chunk_extensions:
            limit = self._limits.max_chunk_extensions
            raise RemoteError(
                400, f"the chunk extensions are longer than {counted(limit, 'byte')} (--max-chunk-extensions)"
            )
        return int(digits[0], 16)


def _take_equal_chunks(data: bytes, position: int, line: bytes, size: int) -> tuple[int, bytes]:
    """Take the run of complete chunks that begin with the same size line; the first one is known to be complete.

    :param line: the size line with its CRLF.
    :param size: content bytes of each chunk.

    Returns the position after the run, and its content.
    """
    step = len(line) + size + 2
    count = 1
    most = (len(data) - position) // step
    window = RUN
    while count < most:
        begin, stop = position + count * step, position + min(most, count + window) * step
        looked_at = equal = (stop - begin) // step
        # Column by column: the n-th byte of every chunk's framing, and how many of them are the right one.
        for offset, byte in (*enumerate(line), (step - 2, 13), (step - 1, 10)):
            column = data[begin + offset : stop : step]
            equal = min(equal, len(column) - len(column.lstrip(bytes((byte,)))))
        count += equal
        if equal < looked_at:
            break
        window *= 2
    end = position + count * step
    start = position + len(line)
    if size == 1:
        return end, data[start:end:step]
    content = bytearray(count * size)
    for offset in range(size):
        content[offset::size] = data[start + offset : end : step]
    return end, bytes(content)
