"""Finds records in input that arrives in pieces of any size, and responds to those that are no part of a request.

:class:`~reserve.protocol.fastcgi.reader.RequestReader` and :class:`~reserve.protocol.fastcgi.body.StdinDecoder` derive
from it: one of them has the input of a connection at any time. A record that is not allowed where it stands is refused
when its header is here. Nothing of a record is kept but what the derived classes keep, and the content of a GET_VALUES.

A connection has one request at a time. Another one that begins meanwhile ends with CANT_MPX_CONN. Records of requests
that are not active are ignored, as section 3.3 demands: the web server may send them before it sees the END_REQUEST.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping

from reserve.errors import RemoteError
from reserve.protocol.codec import Reply
from reserve.protocol.fastcgi.records import (
    ABORT_REQUEST,
    BEGIN_REQUEST,
    CANT_MPX_CONN,
    DATA,
    GET_VALUES,
    GET_VALUES_RESULT,
    HEADER,
    HEADER_SIZE,
    KEEP_CONN,
    NAMES,
    PARAMS,
    RESPONDER,
    STDIN,
    UNKNOWN_ROLE,
    UNKNOWN_TYPE,
    VERSION,
    end_request,
    unknown_type,
    values_result,
)

__all__ = ["RecordScanner"]

MOST_REPLIES = 100
"""Records that get a reply, during one request and before it: each of them costs its sender less than the server. A
request that is aborted within its head is one of them, too.
"""
FREE_FRAMING = 65536
"""Bytes of headers, padding, ignored records and aborted heads that are never too many, during one request and before
it, as for the chunks of HTTP.
"""
FRAMING_PER_BYTE = 16
"""Such bytes for each byte of a request, beyond :data:`FREE_FRAMING`."""
TLS_HANDSHAKE = 22

SKIPPED, STREAMED, ENDED, COLLECTED = range(4)
"""What a record is for: nothing; a part of a stream of the active request; the end of such a stream; its content is
needed as a whole.
"""


class RecordScanner(ABC):
    """Takes the records of one connection. Its driver owns it, and calls it on one thread at a time.

    :param values: the response to GET_VALUES.
    :param reply: sends the responses that are no part of a request's response.
    :param framing_per_byte: ``--max-chunk-overhead``.
    """

    __slots__ = (
        "_collected",
        "_content",
        "_framing",
        "_framing_per_byte",
        "_header",
        "_id",
        "_in_record",
        "_kind",
        "_left",
        "_number",
        "_padding",
        "_replies",
        "_reply",
        "_use",
        "_values",
        "rest",
    )

    framing_limit = "--max-chunk-overhead"
    """What limits the bytes of records that are no content of a request, for the message."""

    def __init__(self, values: Mapping[bytes, bytes], reply: Reply, framing_per_byte: int = FRAMING_PER_BYTE) -> None:
        self._values = values
        self._reply = reply
        self._framing_per_byte = framing_per_byte
        self._id = 0
        """The request that is active; 0: none."""
        self.rest = b""
        """What was received after the part of a request that this object takes."""
        self._forget()

    def _forget(self) -> None:
        """Begin again, before a record."""
        self._header = b""  # the beginning of a header that is not complete
        self._in_record = False  # after a header, before the end of its record
        self._kind = 0  # of the current record
        self._number = 0  # its request id
        self._left = 0  # bytes of its content to come
        self._padding = 0  # bytes of its padding to come
        self._use = SKIPPED
        self._collected = bytearray()
        # How much of the input was no content of a request.
        self._replies = 0
        self._framing = 0
        self._content = 0

    # ---- what a derived class makes of its request ----

    @abstractmethod
    def _expects(self, kind: int) -> bool:
        """Whether a record of this type may come next for the active request."""

    def _stops_before(self, kind: int) -> bool:
        """Whether the scanner stops before a record of the active request, which has content."""
        return False

    @abstractmethod
    def _take(self, content: bytes) -> None:
        """Take a part of the content of a record of the active request."""

    @abstractmethod
    def _end_stream(self) -> bool:
        """An empty record has ended a stream. True: the scanner stops there."""

    @abstractmethod
    def _begin_request(self, number: int, flags: int) -> None:
        """A responder's request begins, and no other one is active."""

    @abstractmethod
    def _abort_request(self) -> None:
        """The web server has aborted the active request."""

    # ---- the records ----

    def _scan(self, data: bytes) -> bool:
        """Take records up to the end of the data, or until the derived class stops: True, and :attr:`rest` is set.

        :raises RemoteError: 400 for a record that breaks a rule, 501 for a role that is not implemented.
        """
        at, size = 0, len(data)
        while True:
            if not self._in_record:
                header = self._header
                end = at + HEADER_SIZE - len(header)
                header = header + data[at:end] if header else data[at:end]
                if header and header[0] != VERSION:
                    raise _wrong_version(header[0])
                if len(header) < HEADER_SIZE:
                    self._header = header
                    return False
                self._header = b""
                at = end
                _, self._kind, self._number, self._left, self._padding = HEADER.unpack(header)
                if self._begin_record(self._kind, self._number, self._left, self._padding):
                    self.rest = header + data[at:]
                    return True
                self._in_record = True
            if self._left:
                content = data[at : at + self._left]
                at += len(content)
                self._left -= len(content)
                if self._use == STREAMED:
                    self._content += len(content)
                    self._take(content)
                elif self._use == COLLECTED:
                    self._collected += content
                if self._left:
                    return False
            if self._padding:
                skipped = min(self._padding, size - at)
                at += skipped
                self._padding -= skipped
                if self._padding:
                    return False
            self._in_record = False
            if self._end_record():
                self.rest = data[at:]
                return True

    def _begin_record(self, kind: int, number: int, length: int, padding: int) -> bool:
        """Check a header, and decide what happens to the content. True: the scanner stops before the record."""
        self._framing += HEADER_SIZE + padding
        self._use = SKIPPED
        if not number:
            if kind == GET_VALUES:
                self._use = COLLECTED
            elif kind <= DATA or kind in (GET_VALUES_RESULT, UNKNOWN_TYPE):
                raise RemoteError(400, f"{_name(kind)} has request id 0 (FastCGI 1.0 section 3.3)")
            self._count_reply()
            self._framing += length
        elif kind == BEGIN_REQUEST:
            if length != 8:
                raise RemoteError(400, f"BEGIN_REQUEST has {length} bytes and not 8 (FastCGI 1.0 section 5.1)")
            if number == self._id:
                raise RemoteError(400, f"request {number} begins twice (FastCGI 1.0 section 3.3)")
            self._use = COLLECTED
        elif kind not in (ABORT_REQUEST, PARAMS, STDIN, DATA):
            raise RemoteError(400, f"{_name(kind)} is not for applications (FastCGI 1.0 section 3.3)")
        elif number == self._id and kind != ABORT_REQUEST:
            if not self._expects(kind):
                raise RemoteError(
                    400, f"{_name(kind)} is not expected at this point of a request (FastCGI 1.0 section 6.2)"
                )
            if length and self._stops_before(kind):
                self._framing -= HEADER_SIZE + padding
                return True
            self._use = STREAMED if length else ENDED
        else:
            self._framing += length
        if self._framing > FREE_FRAMING and self._framing > self._content * self._framing_per_byte:
            raise RemoteError(
                400,
                f"{self._framing} bytes of records for {self._content} bytes of a request ({self.framing_limit})",
            )
        return False

    def _end_record(self) -> bool:
        """Respond to the record that is complete. True: the scanner stops after it."""
        use, kind, number = self._use, self._kind, self._number
        if use == ENDED:
            return self._end_stream()
        if use == STREAMED:
            return False
        if use == COLLECTED:
            content = bytes(self._collected)
            self._collected = bytearray()
            if kind == GET_VALUES:
                self._reply(values_result(content, self._values))
            else:
                self._begin(number, int.from_bytes(content[:2], "big"), content[2])
        elif not number:
            self._reply(unknown_type(kind))
        elif kind == ABORT_REQUEST and number == self._id:
            self._abort_request()
        return False

    def _begin(self, number: int, role: int, flags: int) -> None:
        if self._id:
            self._count_reply()
            self._reply(end_request(number, CANT_MPX_CONN))
        elif role != RESPONDER:
            self._count_reply()
            self._reply(end_request(number, UNKNOWN_ROLE))
            if not flags & KEEP_CONN:
                raise RemoteError(501, f"the role {role} is not implemented, only that of responders, 1")
        else:
            self._begin_request(number, flags)

    def _count_reply(self) -> None:
        self._replies += 1
        if self._replies > MOST_REPLIES:
            raise RemoteError(
                400, f"more than {MOST_REPLIES} management records and requests that are refused or aborted"
            )


def _name(kind: int) -> str:
    return f"{NAMES[kind]}" if 0 < kind < len(NAMES) else f"a record of type {kind}"


def _wrong_version(byte: int) -> RemoteError:
    if byte == TLS_HANDSHAKE:
        return RemoteError(400, "a TLS handshake arrived on a port that speaks FastCGI without TLS")
    hint = "; HTTP is reserve app http" if 65 <= byte <= 90 else ""
    return RemoteError(400, f"a record has version {byte} and not 1{hint} (FastCGI 1.0 section 3.3)")
