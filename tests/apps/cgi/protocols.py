"""The protocols that web servers speak: how to serve each, and how a web server writes requests and reads responses."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from reserve.apps._cgi.app import CGIApp
from reserve.apps.http.settings import HTTPSettings
from reserve.apps.scgi.app import SCGIApp
from reserve.apps.uwsgi.app import UwsgiApp
from reserve.gateways.wsgi import WSGIGateway
from reserve.testing import MemoryClient
from tests.apps.http.doubles import QUIET
from tests.apps.http.responses import Response, only
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

    def app(self, wsgi: Any, settings: HTTPSettings = QUIET) -> CGIApp:
        return self.make_app(WSGIGateway(wsgi), settings)

    def client(self, wsgi: Any, settings: HTTPSettings = QUIET) -> MemoryClient:
        return MemoryClient(self.app(wsgi, settings))

    def read(self, raw: bytes, *, head: bool = False) -> Response:
        """The one response that has arrived; ``head``: to a HEAD request."""
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
PROTOCOLS = (SCGI, UWSGI)

each_protocol = pytest.mark.parametrize("protocol", PROTOCOLS, ids=lambda protocol: protocol.name)
each_broken_frame = pytest.mark.parametrize(
    ("protocol", "frame"),
    [
        pytest.param(protocol, frame, id=f"{protocol.name} {number}")
        for protocol in PROTOCOLS
        for number, frame in enumerate(protocol.broken)
    ],
)
