"""Makes requests, and decodes the responses of a server: strictly, so that a wrong byte fails the test."""

from __future__ import annotations

import re
import socket
from dataclasses import dataclass

from reserve.testing import RunningServer

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


@dataclass(frozen=True)
class Response:
    """One response, decoded."""

    status: int
    fields: dict[str, str]
    """By lower-case name; a field that is repeated fails the test."""
    body: bytes
    whole: bool
    """The end of the body was received."""

    @property
    def text(self) -> str:
        return self.body.decode()


def split(raw: bytes, methods: str = "") -> list[Response]:
    """All responses in ``raw``.

    :param methods: one letter for each request; ``H`` (HEAD) makes a difference.
    """
    responses: list[Response] = []
    while raw:
        response, raw = take(raw, head=methods[len(responses) : len(responses) + 1] == "H")
        responses.append(response)
    return responses


def only(raw: bytes, methods: str = "") -> Response:
    """The one response in ``raw``, which must be complete."""
    (response,) = split(raw, methods)
    assert response.whole
    return response


def take(raw: bytes, *, head: bool = False) -> tuple[Response, bytes]:
    """The first response, and what follows it.

    :param head: it is the response to a HEAD request.
    """
    block, end, remaining = raw.partition(b"\r\n\r\n")
    assert end, raw
    status_line, *lines = block.decode("latin-1").split("\r\n")
    version, status = status_line.split(" ")[:2]
    assert version == "HTTP/1.1", status_line
    fields: dict[str, str] = {}
    for name, value in (line.split(": ", 1) for line in lines):
        assert name.lower() not in fields, lines
        fields[name.lower()] = value
    code = int(status)
    if head or code < 200 or code in (204, 304):
        return Response(code, fields, b"", True), remaining
    if "content-length" in fields:
        assert "transfer-encoding" not in fields
        length = int(fields["content-length"])
        return Response(code, fields, remaining[:length], len(remaining) >= length), remaining[length:]
    if "transfer-encoding" in fields:
        return _take_chunked(code, fields, remaining)
    assert fields["connection"] == "close", "only the end of the connection can end this response"
    return Response(code, fields, remaining, True), b""


def _take_chunked(code: int, fields: dict[str, str], raw: bytes) -> tuple[Response, bytes]:
    pieces: list[bytes] = []
    at = 0
    while (end := raw.find(b"\r\n", at)) >= 0:
        count = int(raw[at:end], 16)
        at = end + 2 + count
        pieces.append(raw[end + 2 : at])
        if len(raw) < at + 2:
            break
        assert raw[at : at + 2] == b"\r\n"
        at += 2
        if not count:
            return Response(code, fields, b"".join(pieces), True), raw[at:]
    return Response(code, fields, b"".join(pieces), False), b""


def receive(client: socket.socket, *, head: bool = False) -> Response:
    """Receive one response; it is not ``whole`` when the connection ends too early.

    :param head: it is the response to a HEAD request.
    """
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
    response, remaining = take(bytes(raw), head=head)
    assert not remaining, remaining
    return response


def fetch(served: RunningServer, raw: bytes = b"") -> Response:
    """Send one request on a connection of its own."""
    with served.connect() as client:
        client.sendall(raw or request())
        return receive(client)


def request(
    method: str = "GET", target: str = "/", *fields: str, body: bytes | None = None, minor: int = 1, chunks: int = 0
) -> bytes:
    """The bytes of one request.

    :param minor: of the version, HTTP/1.1 or HTTP/1.0.
    :param chunks: bytes of the body in each chunk; 0: the body is not chunked.
    """
    lines = [f"{method} {target} HTTP/1.{minor}", "Host: test", *fields]
    payload = body or b""
    if chunks:
        lines.append("Transfer-Encoding: chunked")
        pieces = [payload[at : at + chunks] for at in range(0, len(payload), chunks)]
        payload = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"
    elif body is not None:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + payload
