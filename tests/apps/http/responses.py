"""Takes the bytes that a server has sent apart into responses, strictly: what is left over is the caller's to judge."""

from __future__ import annotations

import re
import socket
from dataclasses import dataclass


@dataclass(frozen=True)
class Response:
    status: int
    fields: dict[str, str]
    """By lower-case name; a repeated one fails the test."""
    body: bytes
    whole: bool
    """The end of the body was seen."""

    @property
    def text(self) -> str:
        return self.body.decode()


def split(raw: bytes, methods: str = "") -> list[Response]:
    """All responses in ``raw``. ``methods``: one letter for each, where ``H`` (HEAD) makes a difference."""
    found = []
    while raw:
        response, raw = take(raw, head=methods[len(found) : len(found) + 1] == "H")
        found.append(response)
    return found


def take(raw: bytes, *, head: bool = False) -> tuple[Response, bytes]:
    """The first response, and what follows it."""
    block, end, rest = raw.partition(b"\r\n\r\n")
    assert end, raw
    line, *lines = block.decode("latin-1").split("\r\n")
    version, status = line.split(" ")[:2]
    assert version == "HTTP/1.1", line
    fields: dict[str, str] = {}
    for name, value in (one.split(": ", 1) for one in lines):
        assert name.lower() not in fields, lines
        fields[name.lower()] = value
    code = int(status)
    if head or code < 200 or code in (204, 304):
        return Response(code, fields, b"", True), rest
    if "content-length" in fields:
        assert "transfer-encoding" not in fields
        length = int(fields["content-length"])
        return Response(code, fields, rest[:length], len(rest) >= length), rest[length:]
    if "transfer-encoding" in fields:
        return _chunked(code, fields, rest)
    assert fields["connection"] == "close", "only the end of the connection can end this response"
    return Response(code, fields, rest, True), b""


def _chunked(code: int, fields: dict[str, str], rest: bytes) -> tuple[Response, bytes]:
    pieces: list[bytes] = []
    at = 0
    while (end := rest.find(b"\r\n", at)) >= 0:
        count = int(rest[at:end], 16)
        at = end + 2 + count
        pieces.append(rest[end + 2 : at])
        if len(rest) < at + 2:
            break
        assert rest[at : at + 2] == b"\r\n"
        at += 2
        if not count:
            return Response(code, fields, b"".join(pieces), True), rest[at:]
    return Response(code, fields, b"".join(pieces), False), b""


def receive(client: socket.socket, *, head: bool = False) -> Response:
    """One response from a connection that may go on behind it; not a whole one when the connection ends too early."""
    raw = bytearray()
    while b"\r\n\r\n" not in raw:
        raw += (data := client.recv(65536))
        assert data, bytes(raw)
    start = raw.index(b"\r\n\r\n") + 4
    fields = bytes(raw[:start])
    length = re.search(rb"\r\nContent-Length: ([0-9]+)\r\n", fields)
    chunked = b"\r\nTransfer-Encoding: chunked\r\n" in fields
    while not head and not (length and len(raw) >= start + int(length[1])):
        if chunked and raw.endswith(b"0\r\n\r\n") and take(bytes(raw))[0].whole:
            break
        data = client.recv(65536)
        if not data:
            break
        raw += data
    response, rest = take(bytes(raw), head=head)
    assert not rest, rest
    return response


def request(
    method: str = "GET", target: str = "/", *fields: str, body: bytes | None = None, minor: int = 1, chunks: int = 0
) -> bytes:
    """The bytes of one request. ``chunks``: the body goes in chunks of so many bytes."""
    lines = [f"{method} {target} HTTP/1.{minor}", "Host: test", *fields]
    payload = body or b""
    if chunks:
        lines.append("Transfer-Encoding: chunked")
        pieces = [payload[at : at + chunks] for at in range(0, len(payload), chunks)]
        payload = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"
    elif body is not None:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + payload
