"""The applications that every server hosts, one for each kind of work, in plain WSGI (PEP 3333).

Servers import this module from its folder, which is on their path, so that reserve can be the installed package.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator
from typing import IO, Any

Environ = dict[str, Any]
StartResponse = Callable[..., Any]

_BODY = b"Hello, world!"
_FIELDS = [("Content-Type", "text/plain; charset=utf-8"), ("Content-Length", str(len(_BODY)))]
_LARGE = b"x" * 65536
_PIECE = b"x" * 4096
_BLOCK = 1 << 18
STEPS = "BENCHMARK_STEPS"
"""The variable with the rounds of :func:`spin` that take one millisecond."""
FILE = "BENCHMARK_FILE"
"""The variable that names the file of :func:`send_file`."""


def spin(rounds: int) -> int:
    """Compute, without releasing the GIL on purpose."""
    number = 1
    for _ in range(rounds):
        number = (number * 1103515245 + 12345) & 0x7FFFFFFF
    return number


def hello(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    start_response("200 OK", list(_FIELDS))
    return [_BODY]


def post(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    """Read the whole body of the request."""
    length = int(environ.get("CONTENT_LENGTH") or 0)
    while length > 0:
        piece = environ["wsgi.input"].read(min(length, _BLOCK))
        if not piece:
            start_response("400 Bad Request", [("Content-Length", "0")])
            return []
        length -= len(piece)
    return hello(environ, start_response)


def large(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(_LARGE)))])
    return [_LARGE]


def generated(environ: Environ, start_response: StartResponse) -> Iterator[bytes]:
    """1 MiB in 256 pieces, of a length that only this function knows."""
    start_response("200 OK", [("Content-Type", "text/plain")])
    for _ in range(256):
        yield _PIECE


def sleeping(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    """Sleep as many milliseconds as the path says; ``/`` does not sleep."""
    milliseconds = environ["PATH_INFO"][1:]
    if milliseconds:
        time.sleep(int(milliseconds) / 1000)
    return hello(environ, start_response)


def computing(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    """Compute as many milliseconds as the path says."""
    spin(int(environ["PATH_INFO"][1:] or 0) * int(os.environ[STEPS]))
    return hello(environ, start_response)


def send_file(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    """A file, through ``wsgi.file_wrapper`` where the server has it."""
    path = os.environ[FILE]
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(os.path.getsize(path)))])
    file = open(path, "rb")  # noqa: SIM115 -- the server closes the file, through the wrapper
    wrapper = environ.get("wsgi.file_wrapper")
    pieces: Iterable[bytes] = wrapper(file, _BLOCK) if wrapper else _pieces(file)
    return pieces


def _pieces(file: IO[bytes]) -> Iterator[bytes]:
    with file:
        while piece := file.read(_BLOCK):
            yield piece
