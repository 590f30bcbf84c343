"""The fuzz targets: what must be true for any input.

An input is two bytes that choose limits and delivery, and the payload. For every payload: a parser raises no error but
RemoteError; the outcome is the same whether the payload is fed at once or in pieces; a refusal keeps nothing and is
final; what was consumed is a prefix of the input; and a request that is written plainly is read the same again.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from ipaddress import ip_address
from typing import Any

from reserve.errors import RemoteError
from reserve.protocol.http1.body import ChunkedDecoder
from reserve.protocol.http1.head import HeadReader, parse_head
from reserve.protocol.http1.headreader import EMPTY_LINES
from reserve.protocol.http1.limits import Limits
from reserve.protocol.proxy.forwarded import FIELD_NAMES, KEYS, MAX_HOPS, ForwardedFields
from reserve.protocol.proxy.header import ProxyHeader, ProxyHeaderError
from reserve.protocol.proxy.reader import MAX_V2, ProxyReader
from tests.fuzz import redis, webservers, websocket
from tests.fuzz.stream import BASE, Facts, Request, facts, plain, read_stream, write_chunked, write_head, write_request

USUAL = Limits()
TIGHT = Limits(
    max_request_line=64, max_field=32, max_head=120, max_fields=4, max_chunk_line=20, max_chunk_extensions=10,
    max_trailer=48, max_trailer_fields=2, max_body=24,
)  # fmt: skip
NARROW = replace(TIGHT, max_chunk_line=17)  # too short for the fast path of complete chunks
LIMITS = (USUAL, TIGHT, NARROW)
WIDE = Limits(max_request_line=10**6, max_field=10**6, max_head=10**6, max_fields=10**4)
BEHIND: dict[str, Any] = {
    "REMOTE_ADDR": "10.0.0.1", "REMOTE_PORT": "1", "SERVER_NAME": "a", "SERVER_PORT": "80", "SCRIPT_NAME": "",
    "HTTP_HOST": "a.test", "wsgi.url_scheme": "http",
}  # fmt: skip
GOOD = b"GET /good HTTP/1.1\r\nHost: a\r\n\r\n"

ReadHead = tuple[Facts, bytes, bytes]
Decoded = tuple[bytes, bool, bytes, int, list[tuple[str, str]]]


def unpack(data: bytes) -> tuple[Limits, bytes, list[bytes]]:
    """Return the limits, the payload, and the payload in the pieces that the second byte chooses."""
    payload = data[2:]
    if len(data) < 3:
        return USUAL, payload, [payload]
    choice = data[1]
    if choice < 192:
        cut = choice * 5 % (len(payload) + 1)
        pieces = [payload[:cut], payload[cut:]]
    else:
        size = choice - 191
        pieces = [payload[i : i + size] for i in range(0, len(payload), size)]
    return LIMITS[data[0] % len(LIMITS)], payload, pieces


def read_head(pieces: list[bytes], limits: Limits, careful: bool = False) -> ReadHead | int | None:
    """Return head, its bytes, and all bytes after them; or the status of a refusal; or None for an incomplete head."""
    reader = HeadReader(limits, careful=careful)
    for number, piece in enumerate(pieces):
        try:
            block = reader.feed(piece)
        except RemoteError as error:
            assert not reader.started, "bytes are kept after a refusal"
            assert reader.rest == b"", "a rest is kept after a refusal"
            if limits is USUAL:
                assert reader.feed(GOOD) == GOOD, "a refusal changed the reader"
            return error.status
        if block is not None:
            try:
                head = parse_head(block, BASE, limits)
            except RemoteError as error:
                return error.status
            return facts(head), block, reader.rest + b"".join(pieces[number + 1 :])
        assert reader.rest == b""
    return None


def head(data: bytes) -> None:
    limits, payload, pieces = unpack(data)
    at_once = read_head([payload], limits)
    for other in (read_head(pieces, limits), read_head([payload], limits, careful=True)):
        assert other == at_once, f"at once: {at_once!r}, in pieces: {other!r}"
    if not isinstance(at_once, tuple):
        return
    parsed, block, rest = at_once
    before = payload[: len(payload) - len(block) - len(rest)]
    assert before + block + rest == payload, "the head is not a part of the input"
    assert before == b"\r\n" * (len(before) // 2)
    assert len(before) <= 2 * EMPTY_LINES
    assert block.endswith(b"\r\n\r\n")
    assert block.find(b"\r\n\r\n") == len(block) - 4
    written = write_head(parsed)
    again = read_head([written], WIDE)
    assert isinstance(again, tuple), f"{written!r} is refused with {again!r}"
    assert plain(again[0]) == plain(parsed), f"{written!r} means something else"


def decode(pieces: list[bytes], limits: Limits) -> Decoded | int:
    decoder = ChunkedDecoder(limits)
    content = []
    try:
        for piece in pieces:
            content.append(decoder.feed(piece))
    except RemoteError as error:
        assert not decoder.complete
        try:
            decoder.feed(b"0\r\n\r\n")
        except RemoteError:
            return error.status
        raise AssertionError("a decoder accepts input after a refusal") from error
    return b"".join(content), decoder.complete, decoder.rest, decoder.received, decoder.trailers


def chunked(data: bytes) -> None:
    limits, payload, pieces = unpack(data)
    at_once = decode([payload], limits)
    other = decode(pieces, limits)
    assert other == at_once, f"at once: {at_once!r}, in pieces: {other!r}"
    if isinstance(at_once, int):
        return
    content, complete, rest, received, trailers = at_once
    assert received == len(content) <= limits.max_body
    assert payload.endswith(rest)
    if not complete:
        assert rest == b""
        return
    end = len(payload) - len(rest)
    assert decode([payload[:end]], limits) == (content, True, b"", received, trailers)
    early = decode([payload[: end - 1]], limits)
    assert not isinstance(early, int)
    assert not early[1], "the body was complete one byte before its end"
    assert decode([write_chunked(content, trailers)], USUAL) == (content, True, b"", received, trailers)


def stream(data: bytes) -> None:
    limits, payload, pieces = unpack(data)
    at_once = read_stream([payload], limits)
    other = read_stream(pieces, limits)
    assert other == at_once, f"at once: {at_once!r}, in pieces: {other!r}"
    end = 0
    written = []
    for request in at_once.requests:
        assert end < request.end <= len(payload)
        assert request.head["length"] in (None, len(request.body))
        end = request.end
        written.append(write_request(request))
    if not at_once.requests:
        return
    cut = read_stream([payload[:end]], limits)
    assert cut.requests == at_once.requests, "bytes after a request changed it"
    assert (cut.status, cut.pending, cut.closed) == (None, None, at_once.closed)
    short = read_stream([payload[: end - 1]], limits)
    assert short.requests == at_once.requests[:-1], "a request was complete before its last byte"
    again = read_stream([b"".join(written)], WIDE)
    assert again.status is None
    assert [_plain(request) for request in again.requests] == [_plain(request) for request in at_once.requests]


def _plain(request: Request) -> tuple[Facts, bytes, list[tuple[str, str]]]:
    return plain(request.head), request.body, request.trailers


def proxy(data: bytes) -> None:
    _, payload, pieces = unpack(data)
    at_once, other = read_proxy_header([payload]), read_proxy_header(pieces)
    assert type(other[0]) is type(at_once[0]), f"at once: {at_once!r}, in pieces: {other!r}"
    header, rest = at_once
    if isinstance(header, str):
        return
    assert other == at_once, f"at once: {at_once!r}, in pieces: {other!r}"
    if header is None:
        assert rest == b""
        return
    assert payload.endswith(rest)
    end = len(payload) - len(rest)
    assert end <= MAX_V2
    assert read_proxy_header([payload[:end]]) == (header, b""), "bytes after a header changed it"
    assert read_proxy_header([payload[: end - 1]]) == (None, b""), "a header was complete before its last byte"


def read_proxy_header(pieces: list[bytes]) -> tuple[ProxyHeader | str | None, bytes]:
    """The header, or the message of a refusal, or None; and the bytes that are not part of the header."""
    reader = ProxyReader()
    waiting = b""
    for piece in pieces:
        waiting += piece
        while waiting and reader.header is None:
            try:
                taken = reader.feed(waiting[: reader.wanted])
            except ProxyHeaderError as error:
                return str(error), b""
            assert 0 < taken <= len(waiting)
            waiting = waiting[taken:]
    return reader.header, waiting


def forwarded(data: bytes) -> None:
    """The payload is the value of a field; its first byte chooses the field."""
    _, payload, _ = unpack(data)
    name = FIELD_NAMES[data[0] % len(FIELD_NAMES)] if data else FIELD_NAMES[0]
    value = payload.decode("latin-1")
    asked: list[str] = []

    def trusts(host: str) -> bool:
        assert host == str(ip_address(host))
        asked.append(host)
        return host.startswith("10.")

    fields = ForwardedFields(name, trusts)
    stranger = dict(BEHIND, **{KEYS[name]: value})
    fields.apply(stranger, trusted=False)
    assert stranger == BEHIND, "a stranger has changed the environ"
    environ = dict(BEHIND, **{KEYS[name]: value})
    try:
        fields.apply(environ, trusted=True)
    except RemoteError:
        return
    assert len(asked) <= MAX_HOPS
    address = environ["REMOTE_ADDR"]
    assert address == "" or address == str(ip_address(address))
    assert environ["wsgi.url_scheme"] in ("http", "https")
    assert int(environ["SERVER_PORT"]) >= 0
    assert not environ["SCRIPT_NAME"].startswith("//")
    if name in ("forwarded", "x-forwarded-for"):
        appended = dict(BEHIND, **{KEYS[name]: f"{value}, {'for=' * (name == 'forwarded')}192.0.2.7"})
        fields.apply(appended, trusted=True)
        assert appended["REMOTE_ADDR"] == "192.0.2.7", "what a client sends hides what the frontend appends"


TARGETS: dict[str, Callable[[bytes], None]] = {
    "head": head,
    "chunked": chunked,
    "stream": stream,
    "proxy": proxy,
    "forwarded": forwarded,
    **webservers.TARGETS,
    **redis.TARGETS,
    **websocket.TARGETS,
}
