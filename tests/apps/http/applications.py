"""WSGI applications, and settings to serve them with, that several tests need."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from reserve.apps.http.settings import HTTPSettings

QUIET = HTTPSettings(access_log=False)


def hello(environ: Any, start_response: Any) -> list[bytes]:
    """Respond ``hello `` and the body of the request."""
    start_response("200 OK", [])
    return [b"hello " + environ["wsgi.input"].read()]


class Recorder:
    """Keeps the environ and the body of each request; responds with the path and the body."""

    def __init__(self) -> None:
        self.environs: list[dict[str, Any]] = []
        self.bodies: list[bytes] = []

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        body = environ["wsgi.input"].read()
        self.environs.append(environ)
        self.bodies.append(body)
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [environ["PATH_INFO"].encode() + b" " + body]


def returning(status: str, headers: list[tuple[str, str]], *pieces: Any, kind: Callable[[Any], Any] = list) -> Any:
    """An application that returns ``kind(pieces)``; with :func:`generated`, a piece that is an exception is raised."""

    def app(environ: Any, start_response: Any) -> Any:
        start_response(status, list(headers))
        return kind(pieces)

    return app


def generated(pieces: Iterable[Any]) -> Iterator[bytes]:
    for piece in pieces:
        if isinstance(piece, Exception):
            raise piece
        yield piece
