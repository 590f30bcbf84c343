"""Reads the requests of one connection, as a driver does, from pieces of any size."""

from __future__ import annotations

from typing import Any, NamedTuple

from reserve.errors import ClientDisconnected, RemoteError
from reserve.protocol.codec import Decoder
from reserve.protocol.fastcgi.codec import FastCGICodec
from reserve.protocol.http1.limits import Limits
from tests.protocol.fastcgi.messages import Record, records
from tests.protocol.http1.delivery import deliver

LIMITS = Limits()
BASE: dict[str, Any] = {"SCRIPT_NAME": "", "REMOTE_ADDR": "", "wsgi.url_scheme": "http"}
CODEC = FastCGICodec(50)


class Request(NamedTuple):
    """One complete request."""

    number: int
    keep: bool
    environ: dict[str, Any]
    content: bytes


class Read(NamedTuple):
    """What came of the input."""

    requests: list[Request]
    end: str
    """``idle``: between two requests; ``head``, ``body``: a request is not complete; ``aborted``; or the refusal."""
    replies: list[Record]
    """What was sent meanwhile, apart from responses."""


def read(pieces: list[bytes], limits: Limits = LIMITS) -> Read:
    """Read requests up to the first refusal."""
    sent = bytearray()
    requests: list[Request] = []
    reader = CODEC.make_reader(limits, sent.extend)
    decoder: Decoder | None = None
    head: Any = None
    content = b""
    end = ""
    try:
        for piece in pieces:
            while piece:
                if decoder is None:
                    block = reader.feed(piece)
                    if block is None:
                        break
                    assert (reader.started, reader.buffered, reader.prefix) == (False, 0, b"")
                    piece = reader.rest
                    head = CODEC.parse_head(block, BASE, limits)
                    content = b""
                    decoder = None if head.length == 0 else CODEC.make_decoder(head, limits, sent.extend)
                if decoder is not None:
                    if piece:
                        content += decoder.feed(piece)
                        piece = decoder.rest
                    if not decoder.complete:
                        break
                    assert decoder.received == len(content)
                    decoder = None
                requests.append(Request(head.request_id, head.keep_alive, head.environ, content))
        end = "body" if decoder is not None else "head" if reader.started else "idle"
    except RemoteError as error:
        assert not reader.started
        end = f"{error.status} {error.message}"
    except ClientDisconnected:
        end = "aborted"
    return Read(requests, end, records(bytes(sent)))


def read_all(data: bytes, limits: Limits = LIMITS) -> Read:
    """The same result for every delivery of the data."""
    return deliver(data, lambda pieces: read(pieces, limits))
