"""Writes uwsgi requests."""

from __future__ import annotations

import struct
from collections.abc import Mapping


def packet(content: bytes, modifier1: int = 0, modifier2: int = 0) -> bytes:
    return struct.pack("<BHB", modifier1, len(content), modifier2) + content


def encode(*variables: tuple[str, str]) -> bytes:
    """The variables of a packet."""
    parts = [part.encode("latin-1") for pair in variables for part in pair]
    return b"".join(struct.pack("<H", len(part)) + part for part in parts)


def request(path: str = "/", body: bytes = b"", more: Mapping[str, str] | None = None, method: str = "GET") -> bytes:
    """A complete request as nginx sends it."""
    variables = {
        "QUERY_STRING": "",
        "REQUEST_METHOD": method,
        "CONTENT_LENGTH": str(len(body)) if body else "",
        "REQUEST_URI": path,
        "PATH_INFO": path,
        "SERVER_PROTOCOL": "HTTP/1.1",
        "REMOTE_ADDR": "192.0.2.7",
        **(more or {}),
    }
    return packet(encode(*variables.items())) + body
