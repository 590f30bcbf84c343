"""The protocols that web servers speak: how to serve each, and how a web server writes requests and reads responses."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import pytest

from reserve.apps._cgi.app import CGIApp
from reserve.apps.fcgi.app import FastCGIApp
from reserve.apps.http.settings import HTTPSettings
from reserve.apps.scgi.app import SCGIApp
from reserve.apps.uwsgi.app import UwsgiApp
from reserve.gateways.wsgi import WSGIGateway
from reserve.protocol.fastcgi.records import PARAMS, STDIN
from reserve.testing import MemoryClient
from tests.apps.http.doubles import QUIET
from tests.apps.http.responses import Response, only
from tests.protocol.fastcgi import messages as fastcgi
from tests.protocol.scgi import messages as scgi
from tests.protocol.uwsgi import messages as uwsgi


@dataclass(frozen=True)
class Protocol:
    """One of them."""

    name: str
    make_app: type[CGIApp]
    request: Callable[..., bytes]
    """``request(path, body, more variables, method)``: a complete request."""
    encode: Callable[..., bytes]
    """The variables of a head."""
    frame: Callable[[bytes], bytes]
    """The head with these variables."""
    line: bytes
    """With what a response begins."""
    broken: tuple[bytes, ...]
    """Frames that break a rule of the protocol."""
    decode: Callable[[bytes], bytes] = bytes
    """What the web server makes of what it receives: the response."""
    overhead: int = 0
    """Bytes of a request's body that are not its content."""

    def app(self, wsgi: Any, settings: HTTPSettings = QUIET) -> CGIApp:
        return self.make_app(WSGIGateway(wsgi), settings)

    def client(self, wsgi: Any, settings: HTTPSettings = QUIET) -> MemoryClient:
        return MemoryClient(self.app(wsgi, settings))

    def read(self, raw: bytes, *, head: bool = False) -> Response:
        """The one response that has arrived; ``head``: to a HEAD request."""
        raw = self.decode(raw)
        assert raw.startswith(self.line), raw
        fields, end, body = raw.partition(b"\r\n\r\n")
        assert end, raw
        as_http = b"HTTP/1.1 " + fields[len(self.line) :] + b"\r\nConnection: close\r\n\r\n" + body
        response = only(as_http, "H" if head else "")
        assert not {"date", "server", "transfer-encoding"} & set(response.fields), raw
        return response


SCGI = Protocol(
    "scgi",
    SCGIApp,
    scgi.request,
    scgi.encode,
    scgi.netstring,
    b"Status: ",
    (
        b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
        b"\x16\x03\x01",
        b"-1:",
        b"007:",
        b"99999999:",
        b"3:abcd",
        scgi.netstring(b""),
        scgi.netstring(b"abc"),
        scgi.netstring(b"a\0"),
        scgi.netstring(scgi.encode(("SCGI", "1"), ("CONTENT_LENGTH", "0"), ("REQUEST_METHOD", "GET"))),
        scgi.netstring(scgi.encode(("CONTENT_LENGTH", "0"), ("SCGI", "2"), ("REQUEST_METHOD", "GET"))),
        scgi.netstring(scgi.encode(("CONTENT_LENGTH", "x"), ("SCGI", "1"), ("REQUEST_METHOD", "GET"))),
        scgi.netstring(scgi.encode(("CONTENT_LENGTH", "0"), ("SCGI", "1"))),
    ),
)
UWSGI = Protocol(
    "uwsgi",
    UwsgiApp,
    uwsgi.request,
    uwsgi.encode,
    uwsgi.packet,
    b"HTTP/1.1 ",
    (
        b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
        b"\x16\x03\x01",
        b"\x05\0\0\0",
        uwsgi.packet(b""),
        uwsgi.packet(b"a"),
        uwsgi.packet(b"\xff\xffab"),
        uwsgi.packet(uwsgi.encode(("REQUEST_METHOD", "GET"))[:-1]),
        uwsgi.packet(uwsgi.encode(("REQUEST_METHOD", "GET"), ("CONTENT_LENGTH", "x"))),
        uwsgi.packet(
            uwsgi.encode(("REQUEST_METHOD", "(")),
        ),
        uwsgi.packet(uwsgi.encode(("REQUEST_METHOD", "POST"), ("HTTP_TRANSFER_ENCODING", "chunked"))),
    ),
)


def fastcgi_request(
    path: str = "/", body: bytes = b"", more: Mapping[str, str] | None = None, method: str = "GET"
) -> bytes:
    """A complete request as nginx sends it, without keep-connection."""
    variables = {
        "CONTENT_LENGTH": str(len(body)) if body else "",
        "REQUEST_METHOD": method,
        "REQUEST_URI": path,
        "SERVER_PROTOCOL": "HTTP/1.1",
        "REMOTE_ADDR": "192.0.2.7",
        **(more or {}),
    }
    return fastcgi_frame(fastcgi.pairs(variables)) + fastcgi.stream(STDIN, body)


def fastcgi_frame(params: bytes) -> bytes:
    return fastcgi.begin(keep=False) + fastcgi.stream(PARAMS, params)


GET_PAIR = ("REQUEST_METHOD", "GET")
FASTCGI = Protocol(
    "fcgi",
    FastCGIApp,
    fastcgi_request,
    lambda *variables: fastcgi.pairs(variables),
    fastcgi_frame,
    b"Status: ",
    (
        fastcgi.begin() + b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
        fastcgi.begin() + b"\x16\x03\x01",
        fastcgi.begin() + fastcgi.begin(),
        fastcgi.begin() + fastcgi.raw(STDIN, 1, b"a"),
        fastcgi.begin() + fastcgi.raw(PARAMS, 0, b"\1\1ab"),
        fastcgi.begin() + fastcgi.raw(12, 1),
        fastcgi_frame(b"") + fastcgi.raw(STDIN),
        fastcgi_frame(b"a"),
        fastcgi_frame(b"\xff\xff\xff\xffab"),
        fastcgi_frame(fastcgi.pairs([GET_PAIR])[:-1]),
        fastcgi_frame(fastcgi.pairs([GET_PAIR, ("CONTENT_LENGTH", "x")])),
        fastcgi_frame(fastcgi.pairs([GET_PAIR, ("CONTENT_LENGTH", "2")])) + fastcgi.raw(STDIN, 1, b"abc"),
        fastcgi_frame(fastcgi.pairs([GET_PAIR, ("CONTENT_LENGTH", "2")])) + fastcgi.stream(STDIN, b"a"),
        fastcgi_frame(fastcgi.pairs([("REQUEST_METHOD", "(")])) + fastcgi.raw(STDIN),
    ),
    decode=lambda raw: fastcgi.outcome(raw).stdout,
    overhead=16,
)
PROTOCOLS = (SCGI, UWSGI, FASTCGI)

each_protocol = pytest.mark.parametrize("protocol", PROTOCOLS, ids=lambda protocol: protocol.name)
each_broken_frame = pytest.mark.parametrize(
    ("protocol", "frame"),
    [
        pytest.param(protocol, frame, id=f"{protocol.name} {number}")
        for protocol in PROTOCOLS
        for number, frame in enumerate(protocol.broken)
    ],
)
