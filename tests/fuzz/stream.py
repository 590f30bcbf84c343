"""Reads the input of a connection with the parsers, as the driver does, and writes requests in their plainest form."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from reserve.errors import RemoteError
from reserve.protocol.http1.body import ChunkedDecoder, LengthDecoder
from reserve.protocol.http1.head import Head, HeadReader, parse_head
from reserve.protocol.http1.limits import Limits
from reserve.protocol.http1.response import LAST_CHUNK, chunk
from tests.protocol.http1.delivery import BASE, Facts, facts


@dataclass
class Request:
    """One request as the parsers read it."""

    head: Facts
    body: bytes
    trailers: list[tuple[str, str]]
    end: int
    """The offset in the stream of the first byte after it."""


@dataclass
class Stream:
    """What the parsers read from one connection."""

    requests: list[Request] = field(default_factory=list)
    status: int | None = None
    """Of the refusal that ended it; None without a refusal."""
    reason: str | None = field(default=None, compare=False)
    """The message of the refusal; if the input exceeds two limits, the delivery decides which of them it names."""
    pending: tuple[Facts, bytes] | None = None
    """The head of a request with an incomplete body, and its content so far (b"" if the body was refused)."""
    closed: bool = False
    """Whether the last request asked for the connection to be closed."""


def read_stream(pieces: Iterable[bytes], limits: Limits) -> Stream:
    stream = Stream()
    try:
        _read(pieces, limits, stream)
    except RemoteError as error:
        stream.status = error.status
        stream.reason = error.message
    return stream


def _read(pieces: Iterable[bytes], limits: Limits, stream: Stream) -> None:
    reader = HeadReader(limits)
    head: Head | None = None
    decoder: LengthDecoder | ChunkedDecoder = LengthDecoder(0)
    content: list[bytes] = []
    fed = 0
    for data in pieces:
        fed += len(data)
        while data:
            if head is None:
                block = reader.feed(data)
                if block is None:
                    break
                head = parse_head(block, BASE, limits)
                data = reader.rest
                decoder = ChunkedDecoder(limits) if head.length is None else LengthDecoder(head.length)
                content = []
                stream.pending = facts(head), b""
            if not decoder.complete:
                content.append(decoder.feed(data))
                data = decoder.rest
            if decoder.complete:
                trailers = list(decoder.trailers or ())
                stream.requests.append(Request(facts(head), b"".join(content), trailers, fed - len(data)))
                stream.pending = None
                if not head.keep_alive:
                    stream.closed = True
                    return
                head = None
    if head is not None:
        stream.pending = facts(head), b"".join(content)


def write_head(head: Facts) -> bytes:
    """Write a head in its plainest form: one line for each field of the environ."""
    lines = [f"{head['method']} {head['target']} HTTP/1.{head['minor']}"]
    for key, value in head["environ"].items():
        if key.startswith("HTTP_"):
            lines.append(f"{key[5:].replace('_', '-')}: {value}")
        elif key in ("CONTENT_TYPE", "CONTENT_LENGTH"):
            lines.append(f"{key.replace('_', '-')}: {value}")
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


def write_chunked(body: bytes, trailers: list[tuple[str, str]]) -> bytes:
    if not trailers:
        return b"".join(chunk(body)) + LAST_CHUNK
    lines = "".join(f"{name}: {value}\r\n" for name, value in trailers)
    return b"".join(chunk(body)) + b"0\r\n" + lines.encode("latin-1") + b"\r\n"


def write_request(request: Request) -> bytes:
    head = write_head(request.head)
    if request.head["length"] is None:
        return head + write_chunked(request.body, request.trailers)
    return head + request.body


def plain(head: Facts) -> Facts:
    """Facts without the spaces that joining repeated fields leaves at the end of a value: no field line has them."""
    environ = {key: value.strip(" \t") if isinstance(value, str) else value for key, value in head["environ"].items()}
    return {**head, "environ": environ}
