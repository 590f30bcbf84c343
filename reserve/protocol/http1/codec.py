"""HTTP/1 as a codec: joins the parsers and writers of this folder for the applications that serve it.

Any thread may use it; it has no state.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial

from reserve.protocol.codec import Codec, Decoder, Head, Reader, Refusal, RefusedRequest, Reply
from reserve.protocol.http1.body import ChunkedDecoder, LengthDecoder
from reserve.protocol.http1.fields import log_fields
from reserve.protocol.http1.head import parse_head
from reserve.protocol.http1.headreader import HeadReader
from reserve.protocol.http1.limits import Limits
from reserve.protocol.http1.requestline import method_of
from reserve.protocol.http1.response import CONTINUE, early_hints, refusal, response_head

__all__ = ["HTTP1Codec", "body_size"]

MAX_LOGGED_LINE = 4096
"""Bytes of a malformed request line that the access log shows."""


class HTTP1Codec(Codec):
    """HTTP/1.0 and HTTP/1.1. All applications of a process may share one.

    :param keep_slashes: ``%2F`` stays in PATH_INFO as it is; see :func:`~reserve.protocol.http1.head.parse_head`.
    """

    has_upgrades = True
    has_straight_line = True
    continue_response = CONTINUE

    def __init__(self, *, keep_slashes: bool = False) -> None:
        self.parse_head = partial(parse_head, keep_slashes=True) if keep_slashes else parse_head
        self.response_head = response_head
        self.early_hints = early_hints

    def make_reader(self, limits: Limits, reply: Reply) -> Reader:
        return HeadReader(limits)

    def make_decoder(self, head: Head, limits: Limits, reply: Reply) -> Decoder:
        return ChunkedDecoder(limits) if head.length is None else LengthDecoder(head.length)

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
        data = refusal(status, message, date=date, server=server, head_request=head_request, extra=extra)
        return Refusal(data, body_size(data))

    def describe_refused(self, block: bytes) -> RefusedRequest:
        beginning, line_end, _ = block[:MAX_LOGGED_LINE].decode("latin-1").partition("\r\n")
        method = method_of(beginning)
        line = ""
        if line_end:
            line = beginning
        elif method:  # incomplete, as when it is too long: what has come of it, without what may be fields
            line = beginning.partition("\n")[0].rstrip("\r")
        return RefusedRequest(method, line, *log_fields(block))


def body_size(response: bytes) -> int:
    """How many bytes of a complete response belong to its body."""
    return len(response) - response.index(b"\r\n\r\n") - 4
