"""Finds the end of a request head in octets that come in any pieces, and refuses early what can never become one.

One per connection; runs on whichever thread owns the connection. Each octet is looked at a fixed number of times
however the input is split, at most ``max_head`` octets are kept, and nothing is kept after an error. An octet that
nothing legal can follow is refused when it comes: who sends it may wait for the answer, and never send the CRLFCRLF
that we would wait for. Lines end with CRLF (RFC 9112 section 2.2 lets a recipient accept a bare LF; two recipients that
differ make a smuggling gap).
"""

from __future__ import annotations

from reserve.errors import RemoteError, counted
from reserve.protocol.http1 import fieldscan, requestscan
from reserve.protocol.http1.limits import Limits
from reserve.protocol.http1.requestline import parse_request_line, wrong_request_line
from reserve.protocol.http1.unexpected import unexpected

__all__ = ["HeadReader"]

EMPTY_LINES = 4
"""CRLFs dropped in front of a request line; some old clients send one behind a body (RFC 9112 section 2.2)."""

SHOWN = 4096
"""Octets of a head that is refused, or too slow, which are kept for those who have to answer it."""

LF = 10
CR = 13
TLS_HANDSHAKE = 22


class HeadReader:
    """Feed it what was received; it gives back one whole head.

    :param limits: request line, field line, head and number of fields.
    :param careful: look at every line even if a whole head comes at once; the answers are the same, errors come sooner.
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
        # A head up to this size cannot break a limit of size, so that its lines need no look here.
        self._short = min(limits.max_request_line, limits.max_field, limits.max_head)
        self._careful = careful
        self.rest = b""
        """What was received behind the head that :meth:`feed` gave last: its body, or the next request."""
        self.refused = b""
        """How the head began that :meth:`feed` refused last, up to a few kilobytes: for the log, and for its method."""
        self._reset()

    def _reset(self) -> None:
        self._buffer = bytearray()
        self._line = 0  # where the line starts whose end is being searched
        self._at = 0  # up to where it has been looked at, and found legal
        self._state = requestscan.START
        self._fields = -1  # complete field lines; -1 while the request line is
        self._empty = 0

    @property
    def started(self) -> bool:
        """Whether any octet of a head is buffered."""
        return bool(self._buffer)

    @property
    def held(self) -> int:
        """How many octets of a head are buffered."""
        return len(self._buffer)

    @property
    def begun(self) -> bytes:
        """How the head begins that is buffered, up to a few kilobytes."""
        return bytes(self._buffer[:SHOWN])

    def feed(self, data: bytes) -> bytes | None:
        """Take what was received (``rest``, for a pipelined request); return a whole head, or None before its end.

        :raises RemoteError: 400, 414, 431, 501 or 505, as soon as the octets that break the rule are here.
        """
        # The first octet tells an ordinary request from an empty line; the parser looks at it again.
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
            return self._feed_slowly(data)
        except RemoteError:
            self.refused = self.begun
            self._reset()
            raise

    def _feed_slowly(self, data: bytes) -> bytes | None:
        buffer = self._buffer
        buffer += data
        while True:
            if self._fields >= 0:
                at, state = fieldscan.scan_field_line(buffer, self._at, self._state)
                wrong, ended = state == fieldscan.WRONG, state == fieldscan.ENDED
            else:
                at, state = requestscan.scan_request_line(buffer, self._at, self._state)
                wrong, ended = state == requestscan.WRONG, state in (requestscan.ENDED, requestscan.EMPTY)
            if at + wrong > self._short:
                self._check_size(at + wrong - self._line, at + wrong)
            if wrong:
                raise self._wrong(at)
            self._at = at
            self._state = state
            if ended:
                head = self._end_line(at)
                if head is not None:
                    return head
            elif self._fields < 0 and state == requestscan.VERSION_READ:
                parse_request_line(buffer[self._line : at].decode("latin-1"))
                self._state = requestscan.VERSION_END
            else:
                return None

    def _end_line(self, end: int) -> bytes | None:
        """Behind a line; return the head if it was the last one."""
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
            self._state = requestscan.START
            self._empty += 1
            if self._empty > EMPTY_LINES:
                raise RemoteError(400, f"more than {EMPTY_LINES} empty lines before a request (RFC 9112 section 2.2)")
            return None
        self._line = end
        self._state = fieldscan.START
        self._fields += 1
        if self._fields > self._limits.max_fields:
            raise RemoteError(431, f"more than {counted(self._limits.max_fields, 'field')} (--max-fields)")
        return None

    def _wrong(self, at: int) -> RemoteError:
        """Say why the octet at this place cannot stand there."""
        buffer = self._buffer
        octet, start = buffer[at], self._line
        behind_cr = at > start and buffer[at - 1] == CR
        if self._fields < 0 and at - start == behind_cr:
            first = buffer[start]
            if first == TLS_HANDSHAKE:
                return RemoteError(400, "a TLS handshake arrived on a port that speaks plain HTTP (RFC 9112 section 3)")
            return RemoteError(400, f"no request starts with the octet 0x{first:02x} (RFC 9112 section 3)")
        if behind_cr:
            return RemoteError(400, "a CR stands without LF behind it (RFC 9112 section 2.2)")
        if octet == LF:
            return RemoteError(400, "a line ends with a bare LF instead of CRLF (RFC 9112 section 2.2)")
        if self._fields < 0:
            return wrong_request_line(buffer[start : at + 1].decode("latin-1"))
        if at == start and octet in b" \t":
            return RemoteError(
                400, "a line that starts with a blank continues nothing (obs-fold, RFC 9112 section 5.2)"
            )
        return unexpected(octet, bytes(buffer[start:at]), "a field line (RFC 9112 section 5)")

    def _check_size(self, line: int, head: int) -> None:
        """:param line: octets of the current line so far. :param head: octets of the head so far."""
        limits = self._limits
        if self._fields < 0:
            limit = min(limits.max_request_line, limits.max_head)
            if line > limit:
                if self._buffer.find(b" ", 0, limit) < 0:
                    raise RemoteError(
                        501, f"a method longer than {limit} octets is not implemented (--max-request-line)"
                    )
                raise RemoteError(
                    414, f"the request line and its CRLF are longer than {limit} octets (--max-request-line)"
                )
        elif head > limits.max_head:
            raise RemoteError(431, f"the head is longer than {limits.max_head} octets (--max-head)")
        elif line > limits.max_field:
            raise RemoteError(431, f"a field line and its CRLF are longer than {limits.max_field} octets (--max-field)")
