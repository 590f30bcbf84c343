"""The application of the adversity rows, the same for every server.

The path selects the response: ``/list``, ``/generator`` and ``/file`` have 40 MB, ``/sleep/30`` comes after 30 seconds,
``/upload`` comes after the whole body has been read; every other path is hello.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator

from benchmarks.apps import Environ, StartResponse, hello, send_file

BLOCK = bytes(1 << 20)
PIECE = bytes(1 << 16)
BIG = 40 * len(BLOCK)
"""Bytes of a big response: no kernel buffers that much for one connection."""
FILE = "BENCHMARK_FILE"
"""The environment variable that names a file of BIG bytes."""


def application(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    path: str = environ["PATH_INFO"]
    if path.startswith("/sleep/"):
        time.sleep(float(path.removeprefix("/sleep/")))
        return hello(environ, start_response)
    return _ROUTES.get(path, hello)(environ, start_response)


def _list(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    start_response("200 OK", [("Content-Type", "application/octet-stream"), ("Content-Length", str(BIG))])
    return [BLOCK] * (BIG // len(BLOCK))  # the same block forty times, so that the application itself needs no memory


def _generator(environ: Environ, start_response: StartResponse) -> Iterator[bytes]:
    start_response("200 OK", [("Content-Type", "application/octet-stream")])
    for _ in range(BIG // len(PIECE)):
        yield PIECE


def _file(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    return send_file(environ, start_response, os.environ[FILE], size=BIG, block=len(PIECE))


def _upload(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    while environ["wsgi.input"].read(len(PIECE)):
        pass
    return hello(environ, start_response)


_ROUTES: dict[str, Callable[[Environ, StartResponse], Iterable[bytes]]] = {
    "/list": _list,
    "/generator": _generator,
    "/file": _file,
    "/upload": _upload,
}
