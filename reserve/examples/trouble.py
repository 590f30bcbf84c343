"""An application with every trouble that a server has, to see in its numbers: ``reserve app http wsgi trouble``.

Each path makes one trouble; the query says how much of it, up to a limit. The page ``watching.md`` of the documentation
shows which number tells of which trouble, and which option helps. For trying only: any client can end the process.

============================ ===========================================================================
``/``                        responds at once
``/wait?seconds=1``          waits, as for a database (at most 60)
``/listen?seconds=1``        waits, and says with ``reserve.waiting`` that it only waits (at most 60)
``/compute?seconds=1``       needs this much time of a processor (at most 60)
``/hold?seconds=1``          computes in C without releasing the GIL: no other thread runs (at most 60)
``/error``                   raises an exception
``/large?megabytes=1``       responds with this much (at most 100)
``/leak?megabytes=1``        keeps this much memory for ever (at most 100)
``/exit``                    ends its process, as a crash in C code does
============================ ===========================================================================
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import time
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING
from urllib.parse import parse_qs

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

__all__ = ["application"]

_MOST_SECONDS = 60.0
_MOST_MEGABYTES = 100.0
_MEGABYTE = 1 << 20
_PIECE = 65536
_CRASHED = 70
"""The exit code of ``/exit``: EX_SOFTWARE of sysexits.h."""

_leaked: list[bytes] = []

Trouble = Callable[["WSGIEnvironment"], Iterable[bytes]]


def application(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """The WSGI callable."""
    trouble = _TROUBLES.get(environ["PATH_INFO"])
    if trouble is None:
        start_response("404 Not Found", [("Content-Type", "text/plain")])
        return [f"there is: {' '.join(_TROUBLES)}\n".encode()]
    try:
        body = trouble(environ)
    except ValueError as error:
        start_response("400 Bad Request", [("Content-Type", "text/plain")])
        return [f"{error}\n".encode()]
    start_response("200 OK", [("Content-Type", "text/plain")])
    return body


def _amount(environ: WSGIEnvironment, name: str, most: float) -> float:
    """A number of the query; 1 if it is not there."""
    text = parse_qs(environ.get("QUERY_STRING", "")).get(name, ["1"])[-1]
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= most:  # also NaN
        raise ValueError(f"{name} is a number from 0 to {most:g}")
    return value


def _nothing(environ: WSGIEnvironment) -> Iterable[bytes]:
    return [b"no trouble\n"]


def _wait(environ: WSGIEnvironment) -> Iterable[bytes]:
    time.sleep(_amount(environ, "seconds", _MOST_SECONDS))
    return [b"waited\n"]


def _listen(environ: WSGIEnvironment) -> Iterable[bytes]:
    seconds = _amount(environ, "seconds", _MOST_SECONDS)
    waiting = environ.get("reserve.waiting", contextlib.nullcontext)  # another server has no such key
    with waiting():
        time.sleep(seconds)
    return [b"listened\n"]


def _compute(environ: WSGIEnvironment) -> Iterable[bytes]:
    end = time.thread_time() + _amount(environ, "seconds", _MOST_SECONDS)
    while time.thread_time() < end:
        pass
    return [b"computed\n"]


def _hold(environ: WSGIEnvironment) -> Iterable[bytes]:
    seconds = _amount(environ, "seconds", _MOST_SECONDS)
    ctypes.PyDLL(None).usleep(int(seconds * 1_000_000))  # PyDLL, unlike CDLL, keeps the GIL
    return [b"held\n"]


def _error(environ: WSGIEnvironment) -> Iterable[bytes]:
    raise RuntimeError("this is the error of /error")


def _large(environ: WSGIEnvironment) -> Iterable[bytes]:
    size = int(_amount(environ, "megabytes", _MOST_MEGABYTES) * _MEGABYTE)
    # New bytes each time: the same object again would need no more memory.
    return (b"x" * min(_PIECE, size - sent) for sent in range(0, size, _PIECE))


def _leak(environ: WSGIEnvironment) -> Iterable[bytes]:
    _leaked.append(bytes([1]) * int(_amount(environ, "megabytes", _MOST_MEGABYTES) * _MEGABYTE))
    return [b"kept\n"]


def _exit(environ: WSGIEnvironment) -> Iterable[bytes]:
    os._exit(_CRASHED)


_TROUBLES: dict[str, Trouble] = {
    "/": _nothing,
    "/wait": _wait,
    "/listen": _listen,
    "/compute": _compute,
    "/hold": _hold,
    "/error": _error,
    "/large": _large,
    "/leak": _leak,
    "/exit": _exit,
}
