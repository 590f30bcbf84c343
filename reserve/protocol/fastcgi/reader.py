"""Finds the heads of requests in the records of one connection: a BEGIN_REQUEST, and the complete stream PARAMS.

The thread that owns the connection calls it. A head that exceeds a limit is refused as soon as the lengths say so.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping

from reserve.errors import ClientDisconnected, RemoteError
from reserve.protocol.cgi.environ import most_variables, too_many_variables
from reserve.protocol.codec import Reply
from reserve.protocol.fastcgi.records import (
    BEGIN_REQUEST,
    HEADER,
    HEADER_SIZE,
    KEEP_CONN,
    PARAMS,
    RESPONDER,
    STDIN,
    VERSION,
    end_request,
    find_pairs,
    pair_end,
)
from reserve.protocol.fastcgi.scanner import FREE_FRAMING, RecordScanner
from reserve.protocol.http1.limits import Limits

__all__ = ["BLOCK", "RequestReader"]

BLOCK = struct.Struct(">HBB")
"""How the block of a head begins: request id, flags of BEGIN_REQUEST, whether STDIN has ended too. PARAMS follow."""
PREFIX = 4096
"""Bytes of the variables of a refused or slow head that are kept, for its log line."""
_LENGTH = b"CONTENT_LENGTH"
_NO_LENGTH = b"\x0e\0" + _LENGTH
"""That variable without a value, as nginx sends it with every request that has no body."""
_BEGINNING = struct.Struct(">BBHHBxHBxxxxxBBHHBx")
"""A BEGIN_REQUEST with its content, and the header of the record after it."""


class RequestReader(RecordScanner):
    """Turns the input of one connection into heads. See :class:`reserve.protocol.codec.Reader`.

    A request without CONTENT_LENGTH mostly has no body, but only the end of its STDIN says so. The reader waits for the
    header of the first such record, so that the head says whether a body follows.

    :param limits: ``max_head`` is for all variables with their lengths, ``max_field`` for one of them.
    :param values: the response to GET_VALUES.
    """

    __slots__ = (
        "_count",
        "_flags",
        "_has_length",
        "_limits",
        "_pair",
        "_params",
        "_params_ended",
        "_without_body",
        "refused",
    )

    framing_limit = f"at most {FREE_FRAMING}, or as many as its variables have"

    def __init__(self, limits: Limits, values: Mapping[bytes, bytes], reply: Reply) -> None:
        super().__init__(values, reply, framing_per_byte=1)
        self._limits = limits
        self.refused = b""
        """The beginning of the block of the head that :meth:`feed` refused last; empty before its BEGIN_REQUEST."""
        self._reset()

    def _reset(self) -> None:
        self._id = 0
        self._flags = 0
        self._params = bytearray()
        self._pair = 0  # position up to which the pairs have been checked
        self._count = 0  # of those pairs
        self._has_length = False  # there is a CONTENT_LENGTH, which is not 0
        self._params_ended = False
        self._without_body = False

    @property
    def started(self) -> bool:
        """Whether a request or a record has begun."""
        return bool(self._id or self._in_record or self._header)

    @property
    def buffered(self) -> int:
        """How many bytes of an incomplete head are buffered."""
        return len(self._params) + len(self._header) + len(self._collected)

    @property
    def prefix(self) -> bytes:
        """The beginning of the block of the incomplete head; empty before its BEGIN_REQUEST."""
        return self._block(self._params[:PREFIX], False) if self._id else b""

    def _block(self, params: bytes | bytearray, without_body: bool) -> bytes:
        return BLOCK.pack(self._id, self._flags, without_body) + params

    def feed(self, data: bytes) -> bytes | None:
        """Take what was received; return the block of a complete head, or None before its end.

        :raises RemoteError: 400, 431 or 501.
        :raises ClientDisconnected: the web server has aborted a request, and keeps no connection.
        """
        block = self._take_whole(data) if not (self._framing or self._header) else None
        if block is not None:
            return block
        self.rest = b""
        try:
            if not self._scan(data):
                return None
        except (RemoteError, ClientDisconnected):
            self.refused = self.prefix
            self._forget()
            self._reset()
            raise
        block = self._block(self._params, self._without_body)
        self._forget()
        self._reset()
        return block

    def _take_whole(self, data: bytes) -> bytes | None:
        """As :meth:`feed`, at the beginning of a request, if the data begins with all of one that has no body: this is
        what nearly all requests are. None: it does not, or its records are unusual; nothing has been taken.
        """
        if len(data) < _BEGINNING.size:
            return None
        beginning = _BEGINNING.unpack_from(data)
        _, _, number, _, _, _, flags, _, _, _, size, padding = beginning
        end = _BEGINNING.size + size
        after = end + padding + 2 * HEADER_SIZE
        expected = VERSION, BEGIN_REQUEST, number, 8, 0, RESPONDER, flags, VERSION, PARAMS, number, size, padding
        if not (number and 0 < size <= self._limits.max_head and beginning == expected):
            return None
        ends = HEADER.pack(VERSION, PARAMS, number, 0, 0) + HEADER.pack(VERSION, STDIN, number, 0, 0)
        params = data[_BEGINNING.size : end]
        if data[end + padding : after] != ends or params.count(_LENGTH) != params.count(_NO_LENGTH):
            return None
        self.rest = data[after:]
        return BLOCK.pack(number, flags, True) + params

    def _expects(self, kind: int) -> bool:
        return kind == (STDIN if self._params_ended else PARAMS)

    def _stops_before(self, kind: int) -> bool:
        return kind == STDIN

    def _take(self, content: bytes) -> None:
        params = self._params
        params += content
        limit = self._limits.max_head
        if len(params) > limit:
            raise RemoteError(431, f"the head is longer than {limit} bytes (--max-head)")
        most = most_variables(self._limits) - self._count
        found = find_pairs(params, self._pair, most + 1)
        if len(found) > most:
            raise too_many_variables(self._limits)
        self._count += len(found)
        for start, middle, end in found:
            if middle - start == len(_LENGTH) and params[start:middle] == _LENGTH:
                self._has_length = bytes(params[middle:end]) not in (b"", b"0")
            self._pair = end
        if pair_end(params, self._pair)[2] > limit:
            raise RemoteError(431, f"the head is longer than {limit} bytes (--max-head)")

    def _end_stream(self) -> bool:
        if self._params_ended:
            self._without_body = True
            return True
        if self._pair < len(self._params):
            raise RemoteError(400, "the last variable is not complete (FastCGI 1.0 section 3.4)")
        self._params_ended = True
        return self._has_length

    def _begin_request(self, number: int, flags: int) -> None:
        self._id, self._flags = number, flags

    def _abort_request(self) -> None:
        self._count_reply()
        self._framing += self._content  # of no use, like ignored records: there may be no end of such requests
        self._content = 0
        self._reply(end_request(self._id))
        keep = self._flags & KEEP_CONN
        self._reset()
        if not keep:
            raise ClientDisconnected("the web server has aborted its request")
