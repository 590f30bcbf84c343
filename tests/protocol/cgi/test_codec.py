"""The responses of SCGI and uwsgi, and what is said about a request that is refused."""

from __future__ import annotations

from typing import Any

import pytest

from reserve.errors import ApplicationError, RemoteError
from reserve.protocol.cgi.codec import CGICodec
from reserve.protocol.codec import Framing, Head
from reserve.protocol.http1.limits import Limits
from reserve.protocol.scgi.codec import SCGICodec
from reserve.protocol.uwsgi.codec import UwsgiCodec
from tests.protocol.scgi import messages as scgi
from tests.protocol.uwsgi import messages as uwsgi

REQUEST = Head("GET", "/", 0, {}, False, 0, False)
BOTH = pytest.mark.parametrize(("codec", "line"), [(SCGICodec(), b"Status: "), (UwsgiCodec(), b"HTTP/1.1 ")])


def respond(codec: CGICodec, status: str, headers: Any = (), length: int | None = None, head: bool = False) -> Any:
    return codec.response_head(
        status,
        list(headers),
        request=REQUEST,
        minor=1,
        head_request=head,
        keep_alive=True,
        length=length,
        date=b"Date: x\r\n",
        server=b"Server: x\r\n",
    )


@BOTH
def test_a_response_has_what_the_application_says_and_ends_with_the_connection(codec: CGICodec, line: bytes) -> None:
    result = respond(codec, "200 OK", [("X-A", "b"), ("Connection", "close")])
    assert result.data == line + b"200 OK\r\nX-A: b\r\n\r\n"
    assert (result.framing, result.keep_alive, result.chunk, result.last_chunk) == (
        Framing.UNTIL_CLOSE,
        False,
        None,
        b"",
    )
    result = respond(codec, "404 Not Found", [("Date", "d"), ("Server", "s")], 5)
    assert result.data == line + b"404 Not Found\r\nDate: d\r\nServer: s\r\nContent-Length: 5\r\n\r\n"
    assert (result.framing, result.length) == (Framing.LENGTH, 5)
    assert respond(codec, "200", [], 5, head=True).framing is Framing.NONE
    for status in ("204 No Content", "304 Not Modified"):
        assert respond(codec, status).framing is Framing.NONE
    assert respond(codec, "200 OK", [("Transfer-Encoding", "chunked")]).dropped == ("transfer-encoding",)


@BOTH
@pytest.mark.parametrize("headers", [[("X", "a\r\nb")], [("X\n", "a")], [("Content-Length", "-1")]])
def test_a_field_that_breaks_a_rule_is_refused_as_with_http(codec: CGICodec, line: bytes, headers: Any) -> None:
    with pytest.raises(ApplicationError):
        respond(codec, "200 OK", headers)


@BOTH
def test_a_field_named_status_is_not_taken_for_the_status(codec: CGICodec, line: bytes) -> None:
    assert respond(codec, "200 OK", [("STATUS", "500 x"), ("A", "b")]).data == line + b"200 OK\r\nA: b\r\n\r\n"


@BOTH
def test_a_refusal_is_complete(codec: CGICodec, line: bytes) -> None:
    for head_request, body in ((False, b"why\n"), (True, b"")):
        refusal = codec.refusal(
            503,
            "why",
            request=None,
            block=b"",
            head_request=head_request,
            date=b"",
            server=b"",
            extra=[("Retry-After", "1")],
        )
        assert refusal.data == (
            line + b"503 Service Unavailable\r\nContent-Type: text/plain; charset=utf-8\r\nRetry-After: 1\r\n"
            b"Content-Length: 4\r\n\r\n" + body
        )
        assert refusal.body_size == len(body)


VARIABLES = [
    ("CONTENT_LENGTH", "0"),
    ("REQUEST_METHOD", "PUT"),
    ("REQUEST_URI", "/x"),
    ("SERVER_PROTOCOL", "HTTP/2.0"),
    ("HTTP_REFERER", "r"),
    ("HTTP_USER_AGENT", "u"),
]


@pytest.mark.parametrize(("codec", "encode"), [(SCGICodec(), scgi.encode), (UwsgiCodec(), uwsgi.encode)])
def test_what_has_come_of_a_refused_head_is_described(codec: CGICodec, encode: Any) -> None:
    block = encode(*VARIABLES)
    assert codec.describe_refused(block) == ("PUT", "PUT /x HTTP/2.0", "r", "u")
    assert codec.describe_refused(block + b"\xff\xff\xffrest") == ("PUT", "PUT /x HTTP/2.0", "r", "u")
    part = encode(*VARIABLES[:3]) + encode(VARIABLES[3])[:-1]
    assert codec.describe_refused(part) == ("PUT", "PUT /x", "", "")
    for nothing in (b"", b"\0", b"GET / HTTP/1.1\r\n", bytes(range(256))):
        assert codec.describe_refused(nothing)[0] == ""
    assert codec.describe_refused(encode(("REQUEST_METHOD", "(\n")))[0] == ""


@pytest.mark.parametrize(
    ("block", "part"),
    [
        (b"", "the head begins with nothing and not with CONTENT_LENGTH"),
        (b"CONTENT_LENGTH", "does not end with a NUL"),
        (b"CONTENT_LENGTH\0", "'CONTENT_LENGTH' has no value"),
        (b"CONTENT_LENGTH\0\0SCGI\x001\0", "not with CONTENT_LENGTH and its value"),
        (b"SCGI\x001\0CONTENT_LENGTH\x000\0", "the head begins with 'SCGI'"),
        (b"CONTENT_LENGTH\x000\0", "the variable SCGI is missing"),
        (b"CONTENT_LENGTH\x000\0SCGI\x002\0", "the variable SCGI is '2'"),
        (b"CONTENT_LENGTH\x000\0SCGI\x001\0SCGI\x001\0", "the variable SCGI is repeated"),
        (b"CONTENT_LENGTH\0x\0SCGI\x001\0REQUEST_METHOD\0GET\0", "Content-Length 'x' is not a number"),
        (b"CONTENT_LENGTH\x000\0SCGI\x001\0", "there is no REQUEST_METHOD"),
    ],
)
def test_scgi_is_strict(block: bytes, part: str) -> None:
    with pytest.raises(RemoteError, match=r"SCGI|RFC") as caught:
        SCGICodec().parse_head(block, {}, Limits())
    assert caught.value.status == 400
    assert part in caught.value.message


@pytest.mark.parametrize(
    ("block", "part"),
    [
        (b"", "there is no REQUEST_METHOD"),
        (b"\x05", "the last name is longer"),
        (b"\x01\0A\xff\0x", "the value of 'A' is longer"),
    ],
)
def test_uwsgi_is_strict(block: bytes, part: str) -> None:
    with pytest.raises(RemoteError) as caught:
        UwsgiCodec().parse_head(block, {}, Limits())
    assert caught.value.status == 400
    assert part in caught.value.message
