"""The classes of the rows, and functions that make their examples."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

__all__ = ["BARE", "Acceptance", "Example", "Group", "Refusal", "chunks", "fields", "line", "raw"]

HOST = b"Host: a.test\r\n"
BARE = b"GET / HTTP/1.1\r\n"
"""The start of a head without a Host field."""


class Example(NamedTuple):
    """What a client sends, and the part of it that the page shows."""

    sent: bytes
    shown: bytes


def raw(data: bytes) -> Example:
    """Exactly these bytes."""
    return Example(data, data)


def line(data: bytes) -> Example:
    """A request line, followed by a Host field."""
    return Example(data + b"\r\n" + HOST + b"\r\n", data)


def fields(data: bytes, start: bytes = b"POST /x HTTP/1.1\r\n" + HOST, body: bytes = b"") -> Example:
    """Field lines after ``start``: by default a request line and a Host field."""
    return Example(start + data + b"\r\n\r\n" + body, data)


def chunks(data: bytes) -> Example:
    """The chunked body of a request."""
    return Example(b"POST /x HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n" + data, data)


@dataclass(frozen=True, slots=True)
class Refusal:
    """One kind of request that the server refuses: a row of the page."""

    name: str
    example: Example | None
    """None: it depends on time or on the state of the server, not on the bytes alone."""
    status: int
    reason: str
    """The body of the response and the line in the log: the rule with its section, or the limit with its option."""
    settings: Mapping[str, str] = field(default_factory=dict)
    """Options without which the server accepts it."""


@dataclass(frozen=True, slots=True)
class Acceptance:
    """One kind of request that is legal, often forgotten, and accepted: a row of the page."""

    name: str
    example: Example
    rule: str
    gets: tuple[dict[str, Any], ...]
    """What the application gets of each request: environ keys, ``body``, ``trailers``; None: the key is missing."""
    closes: bool = False
    """Whether the client asks for the connection to be closed after the last response."""


class Group(NamedTuple):
    """The rows of one table of the page, and what they protect against."""

    why: str
    rows: tuple[Refusal, ...]
