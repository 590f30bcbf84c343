"""FastCGI as a codec: joins the readers and writers of this folder for the application that serves it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import lru_cache, partial
from typing import Any

from reserve.protocol.cgi.codec import CGICodec
from reserve.protocol.cgi.environ import CGIHead, most_variables, request_head, too_many_variables
from reserve.protocol.codec import (
    CHUNKED,
    UNTIL_CLOSE,
    Decoder,
    ErrorsOutput,
    Head,
    Reader,
    Refusal,
    Reply,
    ResponseHead,
)
from reserve.protocol.fastcgi.body import StdinDecoder, too_short
from reserve.protocol.fastcgi.reader import BLOCK, RequestReader
from reserve.protocol.fastcgi.records import (
    HEADER,
    KEEP_CONN,
    STDOUT,
    VERSION,
    complete_pairs,
    end_request,
    find_abort,
    read_pairs,
    stream,
)
from reserve.protocol.http1.framing import stated_length
from reserve.protocol.http1.limits import Limits

__all__ = ["FastCGICodec", "FastCGIHead", "parse_fastcgi_head"]

ABORT = bytes(8)
"""The header of a record of version 0, which there is not. A missing END_REQUEST is not enough: nginx without buffering
takes the end of the connection, and lighttpd a reset, for the end of the response.
"""


class FastCGIHead(CGIHead):
    """The head of a request, with its number, which :func:`parse_fastcgi_head` sets."""

    __slots__ = ("errors", "request_id")

    def __init__(self, method: str, target: str, environ: dict[str, Any], length: int | None) -> None:
        super().__init__(method, target, environ, length)
        self.request_id = 0
        self.errors: ErrorsOutput | None = None
        """Its ``wsgi.errors``, which go to the web server; None: they do not, or the application does not run yet."""


class FastCGICodec(CGICodec):
    """FastCGI 1.0, as a responder. One for each application.

    :param max_connections: what GET_VALUES gets as FCGI_MAX_CONNS and FCGI_MAX_REQS: one request on each connection.
    """

    keeps_after_failure = True
    sends_files = False  # a response is in records
    reset_when_short = False  # the bytes of ABORT, which every web server notices, must arrive

    def __init__(self, max_connections: int = 1) -> None:
        super().__init__()
        self.parse_head = parse_fastcgi_head
        self.aborts = _aborts
        self.set_max_connections(max_connections)

    def set_max_connections(self, count: int) -> None:
        """Before the first connection."""
        number = b"%d" % count
        self._values = {b"FCGI_MAX_CONNS": number, b"FCGI_MAX_REQS": number, b"FCGI_MPXS_CONNS": b"0"}

    def make_reader(self, limits: Limits, reply: Reply) -> Reader:
        return RequestReader(limits, self._values, reply)

    def make_decoder(self, head: Head, limits: Limits, reply: Reply) -> Decoder:
        assert isinstance(head, FastCGIHead)
        return StdinDecoder(head.request_id, stated_length(head.environ), limits, self._values, reply)

    def _response_head(
        self,
        status: str,
        headers: list[tuple[str, str]],
        *,
        request: Head,
        minor: int,
        head_request: bool,
        keep_alive: bool,
        length: int | None,
        date: bytes,
        server: bytes,
    ) -> ResponseHead:
        head = super()._response_head(
            status,
            headers,
            request=request,
            minor=minor,
            head_request=head_request,
            keep_alive=keep_alive,
            length=length,
            date=date,
            server=server,
        )
        assert isinstance(request, FastCGIHead)
        request_id = request.request_id
        data = head.data
        if "location" in [name.lower() for name, _ in headers]:
            # HAProxy makes a 302 of every response in which Location comes after Status.
            line, _, rest = data.partition(b"\r\n")
            data = b"%b%b\r\n\r\n" % (rest[:-2], line)
        head.data = b"".join(stream(STDOUT, request_id, data))
        if head.framing is UNTIL_CLOSE:
            head.framing = CHUNKED  # END_REQUEST tells where it ends
        head.keep_alive = keep_alive
        head.chunk, head.last_chunk = _output(request_id)
        head.abort = ABORT
        return head

    def refusal(
        self,
        status: int,
        message: str,
        *,
        request: Head | None,
        block: bytes,
        head_request: bool,
        date: bytes,
        server: bytes,
        extra: Iterable[tuple[str, str]] = (),
    ) -> Refusal:
        errors = b""
        if isinstance(request, FastCGIHead):
            request_id = request.request_id
            if request.errors is not None:
                errors = request.errors.finish()
        elif block:
            request_id = BLOCK.unpack_from(block)[0]
        else:
            return Refusal(b"", 0)  # there is no request that a response could be for
        data, body_size = super().refusal(
            status,
            message,
            request=request,
            block=block,
            head_request=head_request,
            date=date,
            server=server,
            extra=extra,
        )
        return Refusal(b"".join((errors, *stream(STDOUT, request_id, data), _end(request_id))), body_size)

    def variables(self, block: bytes) -> list[tuple[str, str]]:
        return complete_pairs(block, BLOCK.size)


def parse_fastcgi_head(
    block: bytes,
    base: dict[str, Any],
    limits: Limits,
    refuse_underscores: bool = False,
    unix_socket: bool = False,
) -> FastCGIHead:
    """Parse the variables of one request.

    :param block: what :meth:`~reserve.protocol.fastcgi.reader.RequestReader.feed` returned.
    :param base: the environ of the connection; it is copied.
    :raises RemoteError: 400, 413, 414 or 431. The other parameters are those of HTTP.
    """
    request_id, flags, without_body = BLOCK.unpack_from(block)
    most = most_variables(limits)
    names, values = read_pairs(block, BLOCK.size, most + 1, "variable", max_head=limits.max_head)
    if len(names) > most:
        raise too_many_variables(limits)
    head = request_head(names, values, base, limits, framed=True, kind=FastCGIHead)
    assert isinstance(head, FastCGIHead)
    head.request_id = request_id
    head.keep_alive = flags & KEEP_CONN != 0
    if without_body:
        stated = stated_length(head.environ)
        if stated:
            raise too_short(0, stated)
        head.length = 0
    return head


@lru_cache(maxsize=64)
def _output(request_id: int) -> tuple[Callable[[bytes], tuple[bytes, ...]], bytes]:
    """What makes records of a piece of the body, and what is sent after the last one. Most requests are number 1."""
    return partial(stream, STDOUT, request_id), _end(request_id)


def _end(request_id: int) -> bytes:
    """The ends of STDOUT and of the request."""
    return HEADER.pack(VERSION, STDOUT, request_id, 0, 0) + end_request(request_id)


def _aborts(head: Head, decoder: Decoder | None, unread: bytes) -> bool:
    assert isinstance(head, FastCGIHead)
    if isinstance(decoder, StdinDecoder) and not decoder.complete:
        return decoder.aborts(unread)
    return find_abort(unread, head.request_id)
