"""Feeds the parsers the same bytes in different pieces: the outcome must not depend on how the input is split."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from reserve.errors import RemoteError
from reserve.protocol.http1.body import ChunkedDecoder, LengthDecoder
from reserve.protocol.http1.head import Head, HeadReader, parse_head
from reserve.protocol.http1.limits import Limits

LIMITS = Limits()
BASE: dict[str, Any] = {"SCRIPT_NAME": "", "wsgi.url_scheme": "http"}
NEXT = b"GET /next HTTP/1.1\r\nHost: b\r\n\r\n"
"""A request that follows the one that is tested."""

Facts = dict[str, Any]
"""The attributes of a head."""
Outcome = TypeVar("Outcome")


def deliveries(data: bytes) -> Iterator[list[bytes]]:
    """The data whole, byte by byte, and cut in two at every place (at about 200 places when it is long)."""
    yield [data]
    yield [data[i : i + 1] for i in range(len(data))]
    for cut in range(1, len(data), len(data) // 200 + 1):
        yield [data[:cut], data[cut:]]


def deliver(data: bytes, read: Callable[[list[bytes]], Outcome]) -> Outcome:
    """Return the outcome of all deliveries, which must be the same."""
    outcomes = [(pieces, read(pieces)) for pieces in deliveries(data)]
    expected = outcomes[0][1]
    for pieces, outcome in outcomes:
        assert outcome == expected, f"another outcome when delivered as {pieces!r:.300}"
    return expected


def facts(head: Head) -> Facts:
    return {name: getattr(head, name) for name in Head.__slots__}


def read_heads(pieces: list[bytes], limits: Limits = LIMITS) -> list[Any]:
    """The facts of each head; a refusal is its status, and ends the list."""
    reader = HeadReader(limits)
    heads: list[Any] = []
    try:
        for piece in pieces:
            block = reader.feed(piece)
            while block is not None:
                heads.append(facts(parse_head(block, BASE, limits)))
                block = reader.feed(reader.rest)
    except RemoteError as error:
        assert not reader.started
        return [*heads, error.status]
    return heads


def one_head(data: bytes, limits: Limits = LIMITS) -> Facts:
    """The facts of one head, or its refusal as ``{"status": 400}``; the same with another request after it."""
    alone = deliver(data, lambda pieces: read_heads(pieces, limits))
    followed = deliver(data + NEXT, lambda pieces: read_heads(pieces, limits))
    assert len(alone) == 1, alone
    assert alone == followed[:1]
    assert isinstance(alone[0], int) or followed[1]["target"] == "/next"
    if isinstance(alone[0], int):
        return {"status": alone[0]}
    head: Facts = alone[0]
    return head


def head_of(line: str, *fields: str, limits: Limits = LIMITS) -> Facts:
    """:func:`one_head` of a request line and field lines."""
    return one_head(("\r\n".join((line, *fields)) + "\r\n\r\n").encode("latin-1"), limits)


def get(*fields: str) -> Facts:
    """:func:`one_head` of a GET with a Host field and these field lines."""
    return head_of("GET / HTTP/1.1", "Host: a.test", *fields)


def read_body(
    make: Callable[[], ChunkedDecoder | LengthDecoder], pieces: list[bytes]
) -> tuple[bytes, bool, bytes, int, list[tuple[str, str]]] | int:
    """Content, complete, rest, received, trailers; or the status of a refusal."""
    decoder = make()
    try:
        content = b"".join([decoder.feed(piece) for piece in pieces])
    except RemoteError as error:
        return error.status
    return content, decoder.complete, decoder.rest, decoder.received, decoder.trailers or []


def chunked(data: bytes, limits: Limits = LIMITS) -> Any:
    """:func:`read_body` of a chunked body."""
    return deliver(data, lambda pieces: read_body(lambda: ChunkedDecoder(limits), pieces))


def read_messages(pieces: list[bytes], limits: Limits = LIMITS, *, refuse_underscores: bool = False) -> list[Any]:
    """Requests with their bodies: facts, content and trailers of each, then ``None`` if one is incomplete.

    A refusal is its status and reason, and ends the list.
    """
    reader = HeadReader(limits)
    decoder: ChunkedDecoder | LengthDecoder | None = None
    content = b""
    messages: list[Any] = []
    try:
        for piece in pieces:
            while piece:
                if decoder is None:
                    block = reader.feed(piece)
                    if block is None:
                        break
                    piece = reader.rest
                    head = parse_head(block, BASE, limits, refuse_underscores=refuse_underscores)
                    decoder = ChunkedDecoder(limits) if head.length is None else LengthDecoder(head.length)
                    content = b""
                if not decoder.complete:
                    content += decoder.feed(piece)
                    piece = decoder.rest
                if decoder.complete:
                    messages.append((facts(head), content, list(decoder.trailers or [])))
                    decoder = None
    except RemoteError as error:
        return [*messages, (error.status, error.message)]
    return [*messages, None] if decoder is not None or reader.started else messages


def is_refusal(message: Any) -> bool:
    """Whether an item of :func:`read_messages` is a refusal."""
    return isinstance(message, tuple) and isinstance(message[0], int)
