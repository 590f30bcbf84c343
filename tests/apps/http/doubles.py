"""Doubles that several tests need: WSGI applications, settings to serve them with, and a disk that fails."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from reserve.apps.http.settings import HTTPSettings
from reserve.engine.server import Hooks
from tests.waiting import PATIENCE

QUIET = HTTPSettings(access_log=False)
STREAM = HTTPSettings(access_log=False, stream_bodies=True)


def hello(environ: Any, start_response: Any) -> list[bytes]:
    """Respond ``hello `` and the body of the request."""
    start_response("200 OK", [])
    return [b"hello " + environ["wsgi.input"].read()]


def hooks_logging_to(lines: list[str]) -> Hooks:
    """Hooks that append the text of each line of the error log to ``lines``."""
    return Hooks(error_log=lambda level, text: lines.append(text))


def respond_served(environ: Any, start_response: Any) -> list[bytes]:
    environ["wsgi.input"].read()
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"served"]


class Gate:
    """An application whose requests to /wait block until :meth:`release`; it responds to all others at once.

    :param app: makes the responses; by default they are ``served``.
    """

    def __init__(self, app: Any = respond_served) -> None:
        self._app = app
        self.entered = threading.Semaphore(0)
        self._released = threading.Event()
        self.paths: list[str] = []
        """Of the requests that it was called for, in order."""

    def __call__(self, environ: Any, start_response: Any) -> Any:
        self.paths.append(environ["PATH_INFO"])
        if environ["PATH_INFO"] == "/wait":
            self.entered.release()
            assert self._released.wait(PATIENCE)
        return self._app(environ, start_response)

    def wait_entered(self, count: int = 1) -> None:
        """Wait until ``count`` more requests to /wait block."""
        for _ in range(count):
            assert self.entered.acquire(timeout=PATIENCE)

    def release(self) -> None:
        """Let every request to /wait go on, also those to come."""
        self._released.set()


class Recorder:
    """Keeps the environ and the body of each request; responds with the path and the body."""

    def __init__(self) -> None:
        self.environs: list[dict[str, Any]] = []
        self.bodies: list[bytes] = []

    @property
    def paths(self) -> list[str]:
        return [environ["PATH_INFO"] for environ in self.environs]

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        body = environ["wsgi.input"].read()
        self.environs.append(environ)
        self.bodies.append(body)
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [environ["PATH_INFO"].encode() + b" " + body]


def returning(status: str, headers: list[tuple[str, str]], *pieces: Any, kind: Callable[[Any], Any] = list) -> Any:
    """An application that returns ``kind(pieces)``."""

    def app(environ: Any, start_response: Any) -> Any:
        start_response(status, list(headers))
        return kind(pieces)

    return app


def generated(pieces: Iterable[Any]) -> Iterator[bytes]:
    """Yield the pieces; raise one that is an exception."""
    for piece in pieces:
        if isinstance(piece, Exception):
            raise piece
        yield piece


def failing(number: int) -> Callable[..., Any]:
    """A function that fails as a call of the system does, with the error ``number``."""

    def fail(*arguments: Any, **options: Any) -> Any:
        raise OSError(number, os.strerror(number))

    return fail
