"""The applications that every server under measurement hosts."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

__all__ = ["hello"]

_BODY = b"Hello, world!\n"
_FIELDS = [("Content-Type", "text/plain; charset=utf-8"), ("Content-Length", str(len(_BODY)))]


def hello(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """The least that an application can do: what is left is the server."""
    start_response("200 OK", list(_FIELDS))
    return [_BODY]
