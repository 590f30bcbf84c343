"""The applications that every server under measurement hosts."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from typing import Any

__all__ = ["hello", "tls_app"]

_BODY = b"Hello, world!\n"
_FIELDS = [("Content-Type", "text/plain; charset=utf-8"), ("Content-Length", str(len(_BODY)))]


def hello(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """The least that an application can do: what is left is the server."""
    start_response("200 OK", list(_FIELDS))
    return [_BODY]


_LARGE = 100_000_000
_PIECE = bytes(262_144)


def tls_app(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """The same, and at ``/100M`` that many octets of the file that the variable ``TLS_FILE`` names."""
    if environ["PATH_INFO"] != "/100M":
        return hello(environ, start_response)
    start_response("200 OK", [("Content-Type", "application/octet-stream"), ("Content-Length", str(_LARGE))])
    file = open(os.environ["TLS_FILE"], "rb")  # noqa: SIM115  # the server closes it
    return environ["wsgi.file_wrapper"](file, 262_144) if "wsgi.file_wrapper" in environ else _pieces()


def _pieces() -> Iterable[bytes]:
    left = _LARGE
    while left:
        piece = _PIECE[:left]
        left -= len(piece)
        yield piece
