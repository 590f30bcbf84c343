"""Writes SCGI requests."""

from __future__ import annotations

from collections.abc import Mapping


def netstring(content: bytes) -> bytes:
    return b"%d:%b," % (len(content), content)


def encode(*variables: tuple[str, str]) -> bytes:
    """The variables of a head."""
    return b"".join(part.encode("latin-1") + b"\0" for pair in variables for part in pair)


def request(path: str = "/", body: bytes = b"", more: Mapping[str, str] | None = None, method: str = "GET") -> bytes:
    """A complete request as nginx sends it."""
    variables = {
        "CONTENT_LENGTH": str(len(body)),
        "SCGI": "1",
        "REQUEST_METHOD": method,
        "REQUEST_URI": path,
        "SERVER_PROTOCOL": "HTTP/1.1",
        "REMOTE_ADDR": "192.0.2.7",
        **(more or {}),
    }
    return netstring(encode(*variables.items())) + body
