"""Records as a web server sends them, and what it makes of the records that it receives."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from reserve.protocol.fastcgi.records import (
    BEGIN_REQUEST,
    END_REQUEST,
    HEADER,
    HEADER_SIZE,
    PARAMS,
    RESPONDER,
    STDERR,
    STDIN,
    STDOUT,
    encode_pair,
)

VARIABLES = {
    "REQUEST_METHOD": "GET",
    "REQUEST_URI": "/a%20b?c=d",
    "SCRIPT_NAME": "/a b",
    "QUERY_STRING": "c=d",
    "SERVER_PROTOCOL": "HTTP/1.1",
    "REMOTE_ADDR": "192.0.2.7",
    "SERVER_NAME": "a.test",
    "SERVER_PORT": "80",
    "HTTP_HOST": "a.test",
}


class Record(NamedTuple):
    """One record that was received."""

    kind: int
    number: int
    content: bytes
    padding: int


class Outcome(NamedTuple):
    """The response to one request."""

    stdout: bytes
    stderr: bytes
    app_status: int
    protocol_status: int


def raw(kind: int, number: int = 1, content: bytes = b"", *, padding: int = 0, version: int = 1) -> bytes:
    """One record with any header."""
    return HEADER.pack(version, kind, number, len(content), padding) + content + b"\xaa" * padding


def begin(number: int = 1, *, keep: bool = True, role: int = RESPONDER) -> bytes:
    """BEGIN_REQUEST."""
    return raw(BEGIN_REQUEST, number, struct.pack(">HB5x", role, keep))


def pairs(variables: Mapping[str, str] | Iterable[tuple[str, str]]) -> bytes:
    """Names and values, in latin-1."""
    items = variables.items() if isinstance(variables, Mapping) else variables
    return b"".join(encode_pair(name.encode("latin-1"), value.encode("latin-1")) for name, value in items)


def stream(kind: int, data: bytes, number: int = 1, *, size: int = 65535, padding: int = 0) -> bytes:
    """A complete stream, in records with at most ``size`` bytes of content."""
    pieces = [data[at : at + size] for at in range(0, len(data), size)]
    return b"".join(raw(kind, number, piece, padding=padding) for piece in [*pieces, b""])


def head(number: int = 1, *, keep: bool = True, **variables: str) -> bytes:
    """BEGIN_REQUEST and PARAMS, with :data:`VARIABLES` and others."""
    return begin(number, keep=keep) + stream(PARAMS, pairs({**VARIABLES, **variables}), number)


def request(body: bytes | None = None, number: int = 1, *, keep: bool = True, **variables: str) -> bytes:
    """One complete request; with a body it is a POST with a CONTENT_LENGTH."""
    if body is not None:
        variables = {"REQUEST_METHOD": "POST", "CONTENT_LENGTH": str(len(body)), **variables}
    return head(number, keep=keep, **variables) + stream(STDIN, body or b"", number)


def records(data: bytes) -> list[Record]:
    """All records in ``data``, which has to end with a complete one."""
    result = []
    at = 0
    while at < len(data):
        version, kind, number, length, padding = HEADER.unpack_from(data, at)
        assert version == 1
        at += HEADER_SIZE
        content = data[at : at + length]
        at += length + padding
        assert at <= len(data), f"the last record is not complete: {content!r:.100}"
        result.append(Record(kind, number, content, padding))
    return result


def outcome(data: bytes, number: int = 1) -> Outcome:
    """The response in ``data``, which has nothing but that, as the specification wants it."""
    streams: dict[int, list[bytes]] = {STDOUT: [], STDERR: []}
    *received, last = records(data)
    assert {record.number for record in [*received, last]} == {number}
    assert last.kind == END_REQUEST
    app_status, protocol_status = struct.unpack(">IB3x", last.content)
    for record in received:
        pieces = streams[record.kind]
        assert b"" not in pieces, "a record after the end of its stream"
        pieces.append(record.content)
    assert streams[STDOUT][-1:] in ([b""], []), "STDOUT has no end"
    assert not streams[STDERR] or streams[STDERR][-1] == b"", "STDERR has no end"
    return Outcome(b"".join(streams[STDOUT]), b"".join(streams[STDERR]), app_status, protocol_status)
