"""Decodes the body of a request: the stream STDIN. The thread that owns the connection calls it."""

from __future__ import annotations

from collections.abc import Mapping

from reserve.errors import ClientDisconnected, RemoteError, counted
from reserve.protocol.codec import Reply
from reserve.protocol.fastcgi.records import STDIN, find_abort
from reserve.protocol.fastcgi.scanner import STREAMED, RecordScanner
from reserve.protocol.http1.limits import Limits

__all__ = ["StdinDecoder"]


class StdinDecoder(RecordScanner):
    """Decodes one body. See :class:`reserve.protocol.codec.Decoder`.

    :param request_id: of the request.
    :param stated: its CONTENT_LENGTH, which the stream has to have; None: it has none.
    :param limits: ``max_body`` and ``max_chunk_overhead``.
    :param values: the response to GET_VALUES.
    """

    FEED_SIZE = 8192
    """Bytes that a caller which must not be kept long passes to one call of :meth:`feed`, at most: 1,000 records."""

    __slots__ = ("_limits", "_pieces", "_refused", "_stated", "complete", "received")

    trailers: list[tuple[str, str]] | None = None
    """FastCGI has none."""

    def __init__(
        self, request_id: int, stated: int | None, limits: Limits, values: Mapping[bytes, bytes], reply: Reply
    ) -> None:
        super().__init__(values, reply, limits.max_chunk_overhead)
        self._id = request_id
        self._stated = stated
        self._limits = limits
        self._pieces: list[bytes] = []
        self._refused = False
        self.received = 0
        """Bytes of content so far."""
        self.complete = False

    @property
    def missing(self) -> int:
        """Bytes that certainly belong to the body and have not come yet: those of the current record."""
        return self._left if self._in_record and self._use == STREAMED else 0

    @property
    def held(self) -> int:
        """Bytes of memory that an incomplete header and the content of a GET_VALUES take."""
        return len(self._header) + len(self._collected)

    def feed(self, data: bytes) -> bytes:
        """Take what was received and return the content in it.

        :raises RemoteError: 400, or 413 above ``--max-body``.
        :raises ClientDisconnected: the web server has aborted the request.
        """
        if self._refused:
            raise RemoteError(400, "nothing after a malformed record can be trusted")
        if self.complete:
            self.rest += data
            return b""
        try:
            self.complete = self._scan(data)
        except (RemoteError, ClientDisconnected):
            self._refused = True
            raise
        pieces, self._pieces = self._pieces, []
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def aborts(self, unread: bytes) -> bool:
        """Whether the web server aborts the request in what it has sent after the input so far."""
        if self._in_record:
            return find_abort(unread, self._id, self._left + self._padding)
        return find_abort(self._header + unread, self._id)

    def _expects(self, kind: int) -> bool:
        return kind == STDIN

    def _take(self, content: bytes) -> None:
        self.received += len(content)
        if self._stated is not None and self.received > self._stated:
            raise RemoteError(
                400, f"STDIN is longer than CONTENT_LENGTH, {counted(self._stated, 'byte')} (FastCGI 1.0 section 6.2)"
            )
        if self.received > self._limits.max_body:
            limit = counted(self._limits.max_body, "byte")
            raise RemoteError(413, f"the body is longer than the limit of {limit} (--max-body)")
        self._pieces.append(content)

    def _end_stream(self) -> bool:
        if self._stated is not None and self.received != self._stated:
            raise too_short(self.received, self._stated)
        return True

    def _begin_request(self, number: int, flags: int) -> None:
        raise AssertionError("a request is active")

    def _abort_request(self) -> None:
        # A streamed body is read while the response is sent: an END_REQUEST here would stand in its middle.
        raise ClientDisconnected(f"the web server has aborted the request, after {counted(self.received, 'byte')}")


def too_short(received: int, stated: int) -> RemoteError:
    """The refusal of a body that ends before its CONTENT_LENGTH."""
    return RemoteError(
        400, f"STDIN ends after {counted(received, 'byte')}, and CONTENT_LENGTH is {stated} (FastCGI 1.0 section 6.2)"
    )
