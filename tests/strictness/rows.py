"""What a row of the tables is made of: see the package."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

__all__ = ["BARE", "Acceptance", "Group", "Octets", "Refusal", "chunks", "fields", "line", "whole"]

HOST = b"Host: a.test\r\n"
BARE = b"GET / HTTP/1.1\r\n"
"""The start of a head that has no Host field yet."""


class Octets(NamedTuple):
    """What a client sends, and the part of it that matters."""

    sent: bytes
    shown: bytes


def whole(data: bytes) -> Octets:
    """Exactly these octets."""
    return Octets(data, data)


def line(data: bytes) -> Octets:
    """A request line, with a Host field behind it."""
    return Octets(data + b"\r\n" + HOST + b"\r\n", data)


def fields(data: bytes, start: bytes = b"POST /x HTTP/1.1\r\n" + HOST, body: bytes = b"") -> Octets:
    """Field lines behind a request line and (unless ``start`` says otherwise) a Host field."""
    return Octets(start + data + b"\r\n\r\n" + body, data)


def chunks(data: bytes) -> Octets:
    """The body of a request in chunks."""
    return Octets(b"POST /x HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n" + data, data)


@dataclass(frozen=True, slots=True)
class Refusal:
    """One thing that is refused."""

    name: str
    octets: Octets | None
    """None: no octets alone make it happen; time does, or the state of the server."""
    status: int
    reason: str
    """The body of the answer and the line in the log: the rule with its section, or the limit with its option."""
    settings: Mapping[str, str] = field(default_factory=dict)
    """Options without which it is not refused."""


@dataclass(frozen=True, slots=True)
class Acceptance:
    """One thing that is legal, often forgotten, and taken."""

    name: str
    octets: Octets
    rule: str
    gets: tuple[dict[str, Any], ...]
    """For each request what the application gets: environ keys, ``body``, ``trailers``; None: the key is not there."""
    closes: bool = False
    """Whether the connection ends behind the last answer, because its client says so."""


class Group(NamedTuple):
    """Rows that belong together, and what they protect against."""

    why: str
    rows: tuple[Refusal, ...]
