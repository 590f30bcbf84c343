"""The application that the adversity rows need: plain WSGI (PEP 3333), the same for every server.

By path: ``/list``, ``/generator`` and ``/file`` answer 40 MB, ``/sleep/30`` sleeps, ``/upload`` reads the whole body;
every other path is hello.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from benchmarks.apps import hello

BLOCK = bytes(1 << 20)
PIECE = bytes(1 << 16)
BIG = 40 * len(BLOCK)
"""Octets of a big answer: no kernel buffers that much for one connection."""
FILE = "BENCHMARK_FILE"
"""The variable that names a file of BIG octets."""

Environ = dict[str, Any]
Start = Callable[..., Any]


def application(environ: Environ, start_response: Start) -> Iterable[bytes]:
    path: str = environ["PATH_INFO"]
    if path.startswith("/sleep/"):
        time.sleep(float(path.removeprefix("/sleep/")))
        return hello(environ, start_response)
    return _ROUTES.get(path, hello)(environ, start_response)


def _list(environ: Environ, start_response: Start) -> Iterable[bytes]:
    start_response("200 OK", [("Content-Type", "application/octet-stream"), ("Content-Length", str(BIG))])
    return [BLOCK] * (BIG // len(BLOCK))  # one block, forty times: the application itself costs no memory


def _generator(environ: Environ, start_response: Start) -> Iterator[bytes]:
    start_response("200 OK", [("Content-Type", "application/octet-stream")])
    for _ in range(BIG // len(PIECE)):
        yield PIECE


def _file(environ: Environ, start_response: Start) -> Iterable[bytes]:
    start_response("200 OK", [("Content-Type", "application/octet-stream"), ("Content-Length", str(BIG))])
    file = open(os.environ[FILE], "rb")  # noqa: SIM115 -- the server closes it, through the wrapper
    wrapper = environ.get("wsgi.file_wrapper")
    return wrapper(file, len(PIECE)) if wrapper else _pieces(file)


def _pieces(file: Any) -> Iterator[bytes]:
    with file:
        while piece := file.read(len(PIECE)):
            yield piece


def _upload(environ: Environ, start_response: Start) -> Iterable[bytes]:
    while environ["wsgi.input"].read(len(PIECE)):
        pass
    return hello(environ, start_response)


_ROUTES: dict[str, Callable[[Environ, Start], Iterable[bytes]]] = {
    "/list": _list,
    "/generator": _generator,
    "/file": _file,
    "/upload": _upload,
}
