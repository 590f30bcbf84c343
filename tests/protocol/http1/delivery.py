"""Brings the same octets in different pieces: whatever a parser says, it says for every delivery."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from reserve.errors import RemoteError
from reserve.protocol.http1.body import ChunkedDecoder, LengthDecoder
from reserve.protocol.http1.head import Head, HeadReader, parse_head
from reserve.protocol.http1.limits import Limits

LIMITS = Limits()
BASE: dict[str, Any] = {"SCRIPT_NAME": "", "wsgi.url_scheme": "http"}
Outcome = TypeVar("Outcome")


def deliveries(data: bytes) -> Iterator[list[bytes]]:
    """Whole, octet by octet, and cut in two at every place (at some 200 places when it is long)."""
    yield [data]
    yield [data[i : i + 1] for i in range(len(data))]
    for cut in range(1, len(data), len(data) // 200 + 1):
        yield [data[:cut], data[cut:]]


def deliver(data: bytes, read: Callable[[list[bytes]], Outcome]) -> Outcome:
    """The one outcome of all deliveries."""
    outcomes = [(pieces, read(pieces)) for pieces in deliveries(data)]
    expected = outcomes[0][1]
    for pieces, outcome in outcomes:
        assert outcome == expected, f"another outcome when delivered as {pieces!r:.300}"
    return expected


def read_heads(pieces: list[bytes], limits: Limits = LIMITS) -> list[Any]:
    """Heads without bodies, then what is left; a refusal is its status and ends the list."""
    reader = HeadReader(limits)
    found: list[Any] = []
    try:
        for piece in pieces:
            block = reader.feed(piece)
            while block is not None:
                found.append(facts(parse_head(block, BASE, limits)))
                block = reader.feed(reader.rest)
    except RemoteError as error:
        assert not reader.started
        return [*found, error.status]
    return found


def facts(head: Head) -> dict[str, Any]:
    return {name: getattr(head, name) for name in Head.__slots__}


def one_head(data: bytes, limits: Limits = LIMITS) -> dict[str, Any]:
    """The facts of one head, the same alone and with another request behind it."""
    behind = b"GET /behind HTTP/1.1\r\nHost: b\r\n\r\n"
    alone = deliver(data, lambda pieces: read_heads(pieces, limits))
    followed = deliver(data + behind, lambda pieces: read_heads(pieces, limits))
    assert len(alone) == 1, alone
    assert alone == followed[:1]
    assert isinstance(alone[0], int) or followed[1]["target"] == "/behind"
    if isinstance(alone[0], int):
        return {"status": alone[0]}
    result: dict[str, Any] = alone[0]
    return result


def head_of(line: str, *fields: str, limits: Limits = LIMITS) -> dict[str, Any]:
    return one_head(("\r\n".join((line, *fields)) + "\r\n\r\n").encode("latin-1"), limits)


def get(*fields: str) -> dict[str, Any]:
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
    return content, decoder.complete, decoder.rest, decoder.received, getattr(decoder, "trailers", [])


def chunked(data: bytes, limits: Limits = LIMITS) -> Any:
    return deliver(data, lambda pieces: read_body(lambda: ChunkedDecoder(limits), pieces))


class Work:
    """Counts the octets that a parser looks at or copies in its buffers."""

    def __init__(self) -> None:
        self.octets = 0
        work = self

        class Buffer(bytearray):
            def find(self, *args: Any) -> int:
                found = super().find(*args)
                work.octets += (len(self) if found < 0 else found + 1) - (args[1] if len(args) > 1 else 0)
                return found

            def __getitem__(self, key: Any) -> Any:
                got = super().__getitem__(key)
                work.octets += len(got) if isinstance(key, slice) else 1
                return got

            def __delitem__(self, key: Any) -> None:
                work.octets += len(self)
                super().__delitem__(key)

            def __bytes__(self) -> bytes:
                work.octets += len(self)
                return memoryview(self).tobytes()

            def decode(self, *args: Any) -> str:
                work.octets += len(self)
                return super().decode(*args)

        self.buffer = Buffer


def quantified_neighbours(pattern: str | bytes) -> Iterator[str]:
    """Every place in a pattern where two quantifiers that stand side by side can match the same octet."""
    try:
        from re import _parser as parser  # type: ignore[attr-defined]
    except ImportError:
        import sre_parse as parser
    octets = [bytes([i]) if isinstance(pattern, bytes) else chr(i) for i in range(256)]

    def members(items: Any) -> set[int]:
        """The octets with which some match of ``items`` may start, or continue when they repeat."""
        found: set[int] = set()
        for op, arg in items:
            name = str(op)
            if name == "LITERAL":
                found.add(arg)
            elif name == "IN":
                negated = str(arg[0][0]) == "NEGATE"
                inside: set[int] = set()
                for kind, value in arg:
                    if str(kind) == "LITERAL":
                        inside.add(value)
                    elif str(kind) == "RANGE":
                        inside.update(range(value[0], value[1] + 1))
                found |= set(range(len(octets))) - inside if negated else inside
            elif name == "NOT_LITERAL":
                found |= set(range(len(octets))) - {arg}
            elif name == "SUBPATTERN":
                found |= members(arg[-1])
            elif name == "MAX_REPEAT":
                found |= members(arg[2])
            elif name == "BRANCH":
                for branch in arg[1]:
                    found |= members(branch)
        return found

    def walk(items: Any) -> Iterator[str]:
        before: set[int] = set()
        for op, arg in items:
            name = str(op)
            inner = arg[-1] if name == "SUBPATTERN" else None
            if name == "MAX_REPEAT" and arg[1] != 1:
                here = members(arg[2])
                if before & here:
                    yield f"{arg!r} after another quantifier"
                before = here
                yield from walk(arg[2])
            elif inner is not None and len(inner) == 1 and str(inner[0][0]) == "MAX_REPEAT" and inner[0][1][1] != 1:
                here = members(inner)
                if before & here:
                    yield f"{inner!r} after another quantifier"
                before = here
            else:
                before = set()
                if inner is not None:
                    yield from walk(inner)
                elif name == "MAX_REPEAT":
                    yield from walk(arg[2])
                elif name == "BRANCH":
                    for branch in arg[1]:
                        yield from walk(branch)

    yield from walk(parser.parse(pattern))


def read_messages(pieces: list[bytes], limits: Limits = LIMITS, *, refuse_underscores: bool = False) -> list[Any]:
    """Requests with their bodies: facts, content, trailers of each, one ``None`` for what has not ended; a refusal is
    its status and reason, and ends the list.
    """
    reader = HeadReader(limits)
    decoder: ChunkedDecoder | LengthDecoder | None = None
    content = b""
    found: list[Any] = []
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
                    found.append((facts(head), content, list(getattr(decoder, "trailers", []))))
                    decoder = None
    except RemoteError as error:
        return [*found, (error.status, error.message)]
    return [*found, None] if decoder is not None or reader.started else found
