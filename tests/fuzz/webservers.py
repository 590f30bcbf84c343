"""The fuzz targets of the protocols that web servers speak, SCGI, uwsgi and FastCGI, and their seeds.

For any payload: the reader and the parser raise no error but RemoteError; the outcome is the same at once and in
pieces; a refusal keeps nothing; the head and its body are a part of the input; a request that is written again is read
the same.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from reserve.errors import RemoteError
from reserve.protocol.cgi.codec import CGICodec
from reserve.protocol.fastcgi.records import ABORT_REQUEST, GET_VALUES, PARAMS, STDIN
from reserve.protocol.http1.limits import Limits
from reserve.protocol.scgi.codec import SCGICodec
from reserve.protocol.uwsgi.codec import UwsgiCodec
from tests.apps.cgi.protocols import FASTCGI, SCGI, UWSGI, Protocol
from tests.protocol.fastcgi import delivery as fastcgi
from tests.protocol.fastcgi import messages

BASE: dict[str, Any] = {"SCRIPT_NAME": "", "REMOTE_ADDR": "", "wsgi.url_scheme": "http", "wsgi.errors": None}
WIDE = Limits(max_request_line=10**6, max_field=10**6, max_head=10**6, max_fields=10**4, max_body=10**18)

Outcome = tuple[dict[str, Any], int, bytes, bytes] | tuple[int, str] | None
"""The environ, the length of the body, the variables and what follows them; a refusal; None: incomplete."""


def read(codec: CGICodec, pieces: list[bytes], limits: Limits) -> Outcome:
    reader = codec.make_reader(limits, lambda data: None)
    for number, piece in enumerate(pieces):
        try:
            block = reader.feed(piece)
        except RemoteError as error:
            assert not reader.started, "bytes are kept after a refusal"
            assert reader.rest == b"", "a rest is kept after a refusal"
            codec.describe_refused(reader.refused)
            return error.status, error.message
        if block is None:
            assert reader.rest == b""
            continue
        codec.describe_refused(block)
        try:
            head = codec.parse_head(block, BASE, limits)
        except RemoteError as error:
            return error.status, error.message
        assert head.length is not None
        assert head.environ["wsgi.errors"] is None, "a variable has replaced what the server sets"
        assert all(type(head.environ[name]) is str for name in ("SCRIPT_NAME", "PATH_INFO", "QUERY_STRING"))
        assert head.target.isascii()
        assert head.target.isprintable()
        return head.environ, head.length, block, reader.rest + b"".join(pieces[number + 1 :])
    return None


def target(codec: CGICodec, protocol: Protocol) -> Callable[[bytes], None]:
    """The target of one protocol."""

    def check(data: bytes) -> None:
        from tests.fuzz.targets import unpack

        limits, payload, pieces = unpack(data)
        at_once = read(codec, [payload], limits)
        other = read(codec, pieces, limits)
        assert other == at_once, f"at once: {at_once!r}, in pieces: {other!r}"
        if at_once is None or len(at_once) == 2:
            return
        environ, length, block, rest = at_once
        assert payload.endswith(rest)
        assert block in payload
        assert length <= limits.max_body
        names = [name for name, _ in codec.variables(block) if name != "CONTENT_LENGTH"]
        # (A field that is repeated without a value ends with a comma and a space.)
        fields = {name: environ[name].rstrip(" ") for name in names if type(environ.get(name)) is str}
        written = protocol.encode(("CONTENT_LENGTH", str(length)), *fields.items())
        again = read(codec, [protocol.frame(written)], WIDE)
        assert again is not None
        assert len(again) == 4, f"{written!r} is refused with {again!r}"
        assert {name: again[0][name].rstrip(" ") for name in fields} == fields, f"{written!r} means something else"

    return check


def seeds(protocol: Protocol) -> list[bytes]:
    more = {"HTTP_X": "a", "HTTP_COOKIE": "b", "HTTPS": "on", "SCRIPT_NAME": "/x", "PATH_INFO": "/y"}
    return [
        *protocol.broken,
        protocol.request(),
        protocol.request("/a%20b?c", b"body", {}, "POST"),
        protocol.request("/x/y", b"", more),
        protocol.request("", b"", {"DOCUMENT_URI": "/\xc3\xbc", "SCRIPT_NAME": "/"}),
        protocol.request("/", b"x" * 30, {"HTTP_TRANSFER_ENCODING": "chunked", "HTTP_PROXY": "x"}, "PUT"),
        protocol.request("http://a/b", b"", {"wsgi.errors": "x", "HTTP_CONTENT_LENGTH": "3"}),
    ]


def fcgi(data: bytes) -> None:
    """A whole connection: requests with their bodies, and every other record. Each is complete at its last byte."""
    from tests.fuzz.targets import unpack

    limits, payload, pieces = unpack(data)
    at_once = fastcgi.read([payload], limits)
    other = fastcgi.read(pieces, limits)
    assert other == at_once, f"at once: {at_once!r}, in pieces: {other!r}"
    short = fastcgi.read([payload[:-1]], limits)
    assert at_once.requests[: len(short.requests)] == short.requests, "a later byte has changed a request"
    written = b""
    for request in at_once.requests:
        assert "wsgi.errors" not in request.environ, "a variable has replaced what the server sets"
        assert len(request.content) <= limits.max_body
        variables = {name: value for name, value in request.environ.items() if not name.startswith("wsgi.")}
        written += messages.begin(request.number, keep=request.keep)
        written += messages.stream(PARAMS, messages.pairs(variables), request.number, size=9000, padding=3)
        written += messages.stream(STDIN, request.content, request.number)
    again = fastcgi.read([written], WIDE)
    assert again == (at_once.requests, "idle", []), f"{written!r} means something else: {again!r}"


def fcgi_seeds() -> list[bytes]:
    first, second = FASTCGI.request("/1", b"body", {}, "POST"), messages.request(number=2)
    values = messages.raw(GET_VALUES, 0, messages.pairs([("FCGI_MAX_CONNS", ""), ("FCGI_MPXS_CONNS", "")]))
    return [
        *seeds(FASTCGI),
        first + second + messages.request(b"more", 2),
        values + messages.raw(99, 0, b"x") + first,
        messages.begin(3, role=2) + first,
        messages.head(CONTENT_LENGTH="4") + second + messages.stream(STDIN, b"body", size=1, padding=7),
        messages.head(CONTENT_LENGTH="4") + messages.raw(STDIN, 1, b"bo") + messages.raw(ABORT_REQUEST, 1),
        messages.head() + messages.raw(ABORT_REQUEST, 1) + second,
        messages.begin() + messages.stream(PARAMS, messages.pairs(messages.VARIABLES), size=5) + messages.raw(STDIN),
        messages.head(X="y" * 200) + messages.stream(STDIN, b"without a length"),
    ]


TARGETS: dict[str, Callable[[bytes], None]] = {
    "scgi": target(SCGICodec(), SCGI),
    "uwsgi": target(UwsgiCodec(), UWSGI),
    "fcgi": fcgi,
}
SEEDS: dict[str, list[bytes]] = {"scgi": seeds(SCGI), "uwsgi": seeds(UWSGI), "fcgi": fcgi_seeds()}
