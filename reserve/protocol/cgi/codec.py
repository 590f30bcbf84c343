"""The response side that SCGI and uwsgi share: a CGI response, whose end is that of its connection, and refusals.

There is one request on a connection. The web server in front adds what belongs to its own connection with the client:
Date, Server, Connection, chunks. Any thread may use a codec; it has no state.
"""

from __future__ import annotations

from collections.abc import Iterable

from reserve.protocol.codec import Codec, Decoder, Head, Refusal, RefusedRequest, Reply, ResponseHead
from reserve.protocol.http1 import response
from reserve.protocol.http1.body import LengthDecoder
from reserve.protocol.http1.codec import body_size
from reserve.protocol.http1.limits import Limits
from reserve.protocol.http1.requestline import METHOD

__all__ = ["CGICodec"]

VERSION = b"HTTP/1.1 "
CLOSE = b"Connection: close\r\n\r\n"


class CGICodec(Codec):
    """A protocol with the variables and the responses of CGI. Subclasses set ``parse_head`` and make the reader.

    :param status_line: with what a response begins, before the code: ``Status:`` (RFC 3875 section 6.3.3), or the
        version of HTTP where the web server reads a status line.

    An application's own field Status is not sent.
    """

    reset_when_short = True  # Apache's mod_proxy_scgi drops the length

    def __init__(self, status_line: bytes = b"Status: ") -> None:
        self._status_line = status_line
        self.response_head = self._response_head

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
        """Make the head that HTTP/1.0 has, without what the web server adds."""
        # A web server would take a field Status for the status, lighttpd even after a status line.
        if "status" in [name.lower() for name, _ in headers]:
            headers = [item for item in headers if item[0].lower() != "status"]
        head = response.response_head(
            status,
            headers,
            minor=0,
            head_request=head_request,
            keep_alive=False,
            length=length,
            date=b"",
            server=b"",
        )
        head.data = self._without_http(head.data)
        return head

    def _without_http(self, data: bytes) -> bytes:
        """A response, or its head, as this protocol has it; it comes from an HTTP/1 response with Connection: close."""
        head, _, body = data.partition(CLOSE)
        return b"%b%b\r\n%b" % (self._status_line, head[len(VERSION) :], body)

    def make_decoder(self, head: Head, limits: Limits, reply: Reply) -> Decoder:
        assert head.length is not None
        return LengthDecoder(head.length)

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
        data = response.refusal(status, message, date=b"", server=b"", head_request=head_request, extra=extra)
        return Refusal(self._without_http(data), body_size(data))

    def describe_refused(self, block: bytes) -> RefusedRequest:
        try:
            variables = dict(self.variables(block))
        except ValueError:  # RemoteError is one
            variables = {}
        method, uri, version, referer, user_agent = (
            variables.get(name, "")
            for name in ("REQUEST_METHOD", "REQUEST_URI", "SERVER_PROTOCOL", "HTTP_REFERER", "HTTP_USER_AGENT")
        )
        match = METHOD(method)
        method = match[0] if match is not None else ""
        return RefusedRequest(method, f"{method} {uri} {version}".strip(), referer, user_agent)

    def variables(self, block: bytes) -> list[tuple[str, str]]:
        """The complete variables at the beginning of a head, however malformed it is after them. Of many variables the
        first ones are enough.
        """
        raise NotImplementedError
