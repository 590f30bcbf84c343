"""The classes of the rows, and functions that make their examples."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

__all__ = [
    "BARE",
    "CLOSED",
    "FAILED",
    "INCOMPLETE",
    "OPEN",
    "RESET",
    "Acceptance",
    "Example",
    "Group",
    "Refusal",
    "ResponseGroup",
    "ResponseRow",
    "chunks",
    "failure",
    "fields",
    "line",
    "raw",
]

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


OPEN = ""
CLOSED = "closed"
INCOMPLETE = "closed, incomplete"
RESET = "reset"
"""How a connection is after a response: open for another request, closed after all of it or a part of it, or reset."""

FAILED = "500 Internal Server Error"


@dataclass(frozen=True, slots=True)
class ResponseRow:
    """One thing that an application may do, and what its client and the log get: a row of the page ``responses.md``."""

    name: str
    code: str
    """The body of ``def application(environ, start)``, on one line."""
    body: bytes | None = b"hello"
    """What the client gets of the body; None: all that the example says, which depends on the system."""
    fields: tuple[str, ...] = ()
    """Lines of the head, all those of their names, in this order."""
    absent: tuple[str, ...] = ()
    """Names of fields that the head does not have."""
    status: str = "200 OK"
    log: str = ""
    """A part of the one entry in the error log; empty: there is none."""
    ends: str = OPEN
    method: str = "GET"
    minor: int = 1
    """Of the version in the request: HTTP/1.0 or HTTP/1.1."""
    lines: tuple[str, ...] = ()
    """More lines of the request's head."""


def failure(name: str, code: str, log: str) -> ResponseRow:
    """An error that is known before the head is sent."""
    text = b"The application failed. The server's error log says how.\n"
    return ResponseRow(name, code, text, status=FAILED, log=log, ends=CLOSED)


class ResponseGroup(NamedTuple):
    """The rows of one table of the page ``responses.md``, and what they have in common."""

    why: str
    rows: tuple[ResponseRow, ...]
