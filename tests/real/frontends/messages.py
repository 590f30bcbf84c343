"""The parts of the messages that the cases send."""

from __future__ import annotations

HOST = b"Host: example.test\r\n"
CANARY = b"GET /canary HTTP/1.1\r\nHost: example.test\r\n\r\n"
"""A request in the content of another one, or after it."""
LAST = b"GET /last HTTP/1.1\r\nHost: example.test\r\nConnection: close\r\n\r\n"
"""The request that ends a connection."""


def post(*lines: bytes, body: bytes = b"", version: bytes = b"HTTP/1.1", host: bytes = HOST) -> bytes:
    """A POST request with these field lines."""
    return b"POST /first " + version + b"\r\n" + host + b"".join(line + b"\r\n" for line in lines) + b"\r\n" + body


def chunked(*chunks: bytes, trailer: bytes = b"") -> bytes:
    """A body in these chunks."""
    return b"".join(b"%x\r\n%s\r\n" % (len(chunk), chunk) for chunk in chunks) + b"0\r\n" + trailer + b"\r\n"
