"""The fuzz targets of the protocols that web servers speak, SCGI and uwsgi, and their seeds.

For any payload: the reader and the parser raise no error but RemoteError; the outcome is the same at once and in
pieces; a refusal keeps nothing; the head and its body are a part of the input; a request that is written again is read
the same.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from reserve.errors import RemoteError
from reserve.protocol.cgi.codec import CGICodec
from reserve.protocol.http1.limits import Limits
from reserve.protocol.scgi.codec import SCGICodec
from reserve.protocol.uwsgi.codec import UwsgiCodec
from tests.apps.cgi.protocols import SCGI, UWSGI, Protocol

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


TARGETS: dict[str, Callable[[bytes], None]] = {"scgi": target(SCGICodec(), SCGI), "uwsgi": target(UwsgiCodec(), UWSGI)}
SEEDS: dict[str, list[bytes]] = {"scgi": seeds(SCGI), "uwsgi": seeds(UWSGI)}
