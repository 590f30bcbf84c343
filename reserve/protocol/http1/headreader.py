"""Finds the end of a request head in input that arrives in pieces of any size, and refuses invalid input early.

Each connection has a reader of its own; the thread that owns the connection calls it. Each byte is checked a fixed
number of times however the input is split, at most ``max_head`` bytes are kept, and nothing is kept after an error. A
byte that is not allowed where it stands is refused when it arrives: its sender may wait for the response, and never
send the CRLFCRLF that ends a head. Lines end with CRLF. RFC 9112 section 2.2 lets a recipient accept a bare LF, but two
recipients that differ in this make request smuggling possible.
"""

from __future__ import annotations

from reserve.errors import RemoteError, counted
from reserve.protocol.http1 import fields, requestline
from reserve.protocol.http1.limits import Limits
from reserve.protocol.http1.requestline import invalid_request_line, parse_request_line

__all__ = ["HeadReader"]

EMPTY_LINES = 4
"""CRLFs dropped before a request line; some old clients send one after a body (RFC 9112 section 2.2)."""

PREFIX = 4096
"""How many bytes of a refused or slow head are kept, for its response and its log line."""

LF = 10
CR = 13
TLS_HANDSHAKE = 22


class HeadReader:
    """Turns the input of one connection into request heads.

    The driver of the connection owns it, and passes it what the socket received; it returns one complete head at a
    time.

    :param limits: of request line, field line, head and number of fields.
    :param careful: check every line even if a complete head arrives at once; the results are the same, but errors are
        raised here instead of by the parser.
    """

    __slots__ = (
        "_at",
        "_buffer",
        "_careful",
        "_empty",
        "_fields",
        "_limits",
        "_line",
        "_short",
        "_state",
        "refused",
        "rest",
    )

    def __init__(self, limits: Limits, *, careful: bool = False) -> None:
        self._limits = limits
        # A head of at most this size cannot exceed a limit of size, so its lines need not be checked here.
        self._short = min(limits.max_request_line, limits.max_field, limits.max_head)
        self._careful = careful
        self.rest = b""
        """What was received after the head that :meth:`feed` returned last: its body, or the next request."""
        self.refused = b""
        """The first bytes of the head that :meth:`feed` refused last, at most :data:`PREFIX`: for its log line."""
        self._reset()

    def _reset(self) -> None:
        self._buffer = bytearray()
        self._line = 0  # position of the current line
        self._at = 0  # position up to which the line has been checked
        self._state = requestline.LINE_START
        self._fields = -1  # complete field lines; -1 while the request line is incomplete
        self._empty = 0

    @property
    def started(self) -> bool:
        """Whether any byte of a head is buffered."""
        return bool(self._buffer)

    @property
    def buffered(self) -> int:
        """How many bytes of an incomplete head are buffered."""
        return len(self._buffer)

    @property
    def prefix(self) -> bytes:
        """The first bytes of the incomplete head that is buffered, at most :data:`PREFIX`."""
        return bytes(self._buffer[:PREFIX])

    def feed(self, data: bytes) -> bytes | None:
        """Take what was received (``rest``, for a pipelined request); return a complete head, or None before its end.

        :raises RemoteError: 400, 414, 431, 501 or 505, as soon as the bytes that break the rule are here.
        """
        # The first byte tells an ordinary request from an empty line; the parser checks it again.
        if not self._buffer and not self._empty and not self._careful and data and data[0] > 32:
            end = data.find(b"\r\n\r\n", 0, self._short) + 4
            if end > 3:
                if end == len(data):
                    self.rest = b""
                    return data
                self.rest = data[end:]
                return data[:end]
        self.rest = b""
        try:
            return self._scan(data)
        except RemoteError:
            self.refused = self.prefix
            self._reset()
            raise

    def _scan(self, data: bytes) -> bytes | None:
        buffer = self._buffer
        buffer += data
        while True:
            if self._fields >= 0:
                at, state = fields.scan_field_line(buffer, self._at, self._state)
                invalid, complete = state == fields.LINE_INVALID, state == fields.LINE_COMPLETE
            else:
                at, state = requestline.scan_request_line(buffer, self._at, self._state)
                invalid = state == requestline.LINE_INVALID
                complete = state in (requestline.LINE_COMPLETE, requestline.LINE_EMPTY)
            if at + invalid > self._short:
                self._check_size(at + invalid - self._line, at + invalid)
            if invalid:
                raise self._invalid_byte(at)
            self._at = at
            self._state = state
            if complete:
                head = self._end_line(at)
                if head is not None:
                    return head
            elif self._fields < 0 and state == requestline.VERSION_COMPLETE:
                parse_request_line(buffer[self._line : at].decode("latin-1"))
                self._state = requestline.AFTER_VERSION
            else:
                return None

    def _end_line(self, end: int) -> bytes | None:
        """Go on after a complete line; return the head if the line was its last one."""
        buffer = self._buffer
        empty = end - self._line == 2
        if empty and self._fields >= 0:
            head = bytes(buffer[:end])
            self.rest = bytes(buffer[end:])
            self._reset()
            return head
        if empty:
            del buffer[:end]
            self._line = self._at = 0
            self._state = requestline.LINE_START
            self._empty += 1
            if self._empty > EMPTY_LINES:
                raise RemoteError(400, f"more than {EMPTY_LINES} empty lines before a request (RFC 9112 section 2.2)")
            return None
        self._line = end
        self._state = fields.LINE_START
        self._fields += 1
        if self._fields > self._limits.max_fields:
            raise RemoteError(431, f"more than {counted(self._limits.max_fields, 'field')} (--max-fields)")
        return None

    def _invalid_byte(self, at: int) -> RemoteError:
        """Return the refusal for the byte at this position, which is not allowed there."""
        buffer = self._buffer
        byte, start = buffer[at], self._line
        after_cr = at > start and buffer[at - 1] == CR
        if self._fields < 0 and at - start == after_cr:
            first = buffer[start]
            if first == TLS_HANDSHAKE:
                return RemoteError(400, "a TLS handshake arrived on a port that speaks plain HTTP (RFC 9112 section 3)")
            return RemoteError(400, f"no request starts with byte 0x{first:02x} (RFC 9112 section 3)")
        if after_cr:
            return RemoteError(400, "a CR is not followed by LF (RFC 9112 section 2.2)")
        if byte == LF:
            return RemoteError(400, "a line ends with a bare LF instead of CRLF (RFC 9112 section 2.2)")
        if self._fields < 0:
            return invalid_request_line(buffer[start : at + 1].decode("latin-1"))
        if at == start and byte in b" \t":
            return RemoteError(
                400,
                "a field line begins with a space or a tab: line folding (obs-fold) is refused (RFC 9112 section 5.2)",
            )
        return fields.unexpected_byte(byte, bytes(buffer[start:at]), "a field line (RFC 9112 section 5)")

    def _check_size(self, line: int, head: int) -> None:
        """Compare the sizes, in bytes, of the current line and of the head so far with the limits."""
        limits = self._limits
        if self._fields < 0:
            limit = min(limits.max_request_line, limits.max_head)
            if line > limit:
                if self._buffer.find(b" ", 0, limit) < 0:
                    raise RemoteError(
                        501, f"a method longer than {limit} bytes is not implemented (--max-request-line)"
                    )
                raise RemoteError(
                    414, f"the request line and its CRLF are longer than {limit} bytes (--max-request-line)"
                )
        elif head > limits.max_head:
            raise RemoteError(431, f"the head is longer than {limits.max_head} bytes (--max-head)")
        elif line > limits.max_field:
            raise RemoteError(431, f"a field line and its CRLF are longer than {limits.max_field} bytes (--max-field)")
