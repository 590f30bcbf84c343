"""Finds the end of a request head in octets that come in any pieces, and refuses early what can never become one.

One per connection; runs on whichever thread owns the connection. Each octet is looked at a fixed number of times
however the input is split, at most ``max_head`` octets are kept, and nothing is kept after an error. Lines end with
CRLF: a bare LF is refused when it comes, for a client that sends one will not send the CRLFCRLF that we would wait
for (RFC 9112 section 2.2 lets a recipient accept it; two recipients that differ make a smuggling gap). So is a bare CR.
"""

from __future__ import annotations

import string

from reserve.errors import RemoteError
from reserve.protocol.http1.limits import Limits
from reserve.protocol.http1.requestline import parse_request_line

__all__ = ["HeadReader"]

EMPTY_LINES = 4
"""CRLFs dropped in front of a request line; some old clients send one behind a body (RFC 9112 section 2.2)."""

SHOWN = 4096
"""Octets of a head that is refused, or too slow, which are kept for those who have to answer it."""

TCHARS = frozenset(("!#$%&'*+-.^_`|~" + string.digits + string.ascii_letters).encode())
LF = 10
CR = 13


class HeadReader:
    """Feed it what was received; it gives back one whole head.

    :param limits: request line, field line, head and number of fields.
    :param careful: look at every line even if a whole head comes at once; the answers are the same, errors come sooner.
    """

    __slots__ = ("_buffer", "_careful", "_empty", "_fields", "_limits", "_line", "_short", "refused", "rest")

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
        self._fields = -1  # complete field lines; -1 while the request line is
        self._empty = 0

    @property
    def started(self) -> bool:
        """Whether any octet of a head is buffered."""
        return bool(self._buffer)

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
        position = len(buffer)
        buffer += data
        limits = self._limits
        while True:
            end = buffer.find(b"\n", position) + 1
            if self._fields < 0 and buffer:
                self._check_first(buffer)
            if end - self._line != 2:  # an empty line is looked at below
                self._check_carriage_return(position, end or len(buffer))
            self._check_size((end or len(buffer)) - self._line, end or len(buffer))
            if not end:
                return None
            start = self._line
            if buffer[end - 2 : end] != b"\r\n":
                raise RemoteError(400, "a line ends with a bare LF instead of CRLF (RFC 9112 section 2.2)")
            position = self._line = end
            if end - start > 2:
                if self._fields < 0:
                    parse_request_line(buffer[start : end - 2].decode("latin-1"))
                self._fields += 1
                if self._fields > limits.max_fields:
                    raise RemoteError(431, f"more than {limits.max_fields} fields (--max-fields)")
            elif self._fields < 0:
                del buffer[:end]
                position = self._line = 0
                self._empty += 1
                if self._empty > EMPTY_LINES:
                    raise RemoteError(
                        400, f"more than {EMPTY_LINES} empty lines before a request (RFC 9112 section 2.2)"
                    )
            else:
                head = bytes(buffer[:end])
                self.rest = bytes(buffer[end:])
                self._reset()
                return head

    def _check_first(self, buffer: bytearray) -> None:
        """Refuse at once what is no HTTP: nothing says that a line end will ever come."""
        first = buffer[0]
        if first in TCHARS or (first == CR and (len(buffer) == 1 or buffer[1] == LF)):
            return
        if first == 0x16:
            raise RemoteError(400, "a TLS handshake arrived on a port that speaks plain HTTP (RFC 9112 section 3)")
        raise RemoteError(400, f"no request starts with the octet 0x{first:02x} (RFC 9112 section 3)")

    def _check_carriage_return(self, position: int, stop: int) -> None:
        """Refuse a CR in the current line without LF behind it; the last octet that came may still get one.

        :param position: from where on the octets have not been searched. :param stop: up to where.
        """
        buffer = self._buffer
        at = buffer.find(b"\r", max(position - 1, self._line), stop - 1)
        if at >= 0 and buffer[at + 1] != LF:
            self._check_size(at + 2 - self._line, at + 2)  # a limit may have been reached before
            raise RemoteError(400, "a CR stands without LF behind it (RFC 9112 section 2.2)")

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
                raise RemoteError(414, f"the request line is longer than {limit} octets (--max-request-line)")
        elif head > limits.max_head:
            raise RemoteError(431, f"the head is longer than {limits.max_head} octets (--max-head)")
        elif line > limits.max_field:
            raise RemoteError(431, f"a field line is longer than {limits.max_field} octets (--max-field)")
