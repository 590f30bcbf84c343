"""The applications that every server hosts: plain WSGI (PEP 3333)."""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Callable, Iterable, Iterator
from typing import IO, Any

__all__ = [
    "Environ",
    "StartResponse",
    "hello",
    "posted",
    "send_file",
    "tls_app",
    "waits_always",
    "waits_often",
    "waits_rarely",
]

Environ = dict[str, Any]
StartResponse = Callable[..., Any]

_BODY = b"Hello, world!\n"
_FIELDS = [("Content-Type", "text/plain; charset=utf-8"), ("Content-Length", str(len(_BODY)))]
_LARGE = 100_000_000
_number = itertools.count()


def hello(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    """The smallest useful application, so that a measurement shows the cost of the server."""
    start_response("200 OK", list(_FIELDS))
    return [_BODY]


def waits_rarely(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    """:func:`hello`; 1 request in 1000 waits 50 ms, as for a slow query."""
    if next(_number) % 1000 == 0:
        time.sleep(0.05)
    return hello(environ, start_response)


def waits_often(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    """:func:`hello`; 1 request in 20 waits 20 ms."""
    if next(_number) % 20 == 0:
        time.sleep(0.02)
    return hello(environ, start_response)


def waits_always(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    """:func:`hello`; each request waits 10 ms."""
    time.sleep(0.01)
    return hello(environ, start_response)


def posted(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    """:func:`hello` after the request's body was read; 400 to a body that is shorter than its length."""
    length = int(environ.get("CONTENT_LENGTH") or 0)
    if length and len(environ["wsgi.input"].read(length)) != length:
        start_response("400 Bad Request", [("Content-Length", "0")])
        return []
    return hello(environ, start_response)


def tls_app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    """:func:`hello`; at ``/100M`` that many bytes of the file that the variable ``TLS_FILE`` names."""
    if environ["PATH_INFO"] != "/100M":
        return hello(environ, start_response)
    return send_file(environ, start_response, os.environ["TLS_FILE"], size=_LARGE, block=262_144)


def send_file(environ: Environ, start_response: StartResponse, path: str, *, size: int, block: int) -> Iterable[bytes]:
    """Respond with the content of a file of ``size`` bytes, through ``wsgi.file_wrapper`` where the server has it."""
    start_response("200 OK", [("Content-Type", "application/octet-stream"), ("Content-Length", str(size))])
    file = open(path, "rb")  # noqa: SIM115 -- the server closes the file, through the wrapper
    wrapper = environ.get("wsgi.file_wrapper")
    pieces: Iterable[bytes] = wrapper(file, block) if wrapper else _pieces(file, block)
    return pieces


def _pieces(file: IO[bytes], block: int) -> Iterator[bytes]:
    with file:
        while piece := file.read(block):
            yield piece
