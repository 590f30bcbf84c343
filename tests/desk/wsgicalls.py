"""Calls of a WSGI application as a server makes them, through ``wsgiref.validate``."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable
from typing import Any, NamedTuple
from urllib.parse import unquote
from wsgiref.validate import validator

__all__ = ["FORM", "Answer", "ask", "environ_of"]

FORM = "application/x-www-form-urlencoded"


class Answer(NamedTuple):
    """A response as a server would send it."""

    code: int
    headers: list[tuple[str, str]]
    body: bytes

    def header(self, name: str) -> str | None:
        values = [value for key, value in self.headers if key.lower() == name]
        assert len(values) < 2, values
        return values[0] if values else None

    @property
    def text(self) -> str:
        return self.body.decode()


def environ_of(
    method: str = "GET", uri: str = "/", body: bytes | None = None, content_type: str = FORM, **fields: Any
) -> dict[str, Any]:
    """An environ; ``fields`` are more keys of it, of which None removes one."""
    path, _, query = uri.partition("?")
    environ: dict[str, Any] = {
        "REQUEST_METHOD": method,
        "SCRIPT_NAME": "",
        "PATH_INFO": unquote(path, "latin-1"),
        "QUERY_STRING": query,
        "REQUEST_URI": uri,
        "SERVER_NAME": "localhost",
        "SERVER_PORT": "8080",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "HTTP_HOST": "localhost:8080",
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": "http",
        "wsgi.input": io.BytesIO(body or b""),
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": False,
        "wsgi.multiprocess": False,
        "wsgi.run_once": False,
    }
    if body is not None:
        environ |= {"CONTENT_LENGTH": str(len(body)), "CONTENT_TYPE": content_type}
    environ |= fields
    return {key: value for key, value in environ.items() if value is not None}


def ask(
    app: Callable[..., Any],
    method: str = "GET",
    uri: str = "/",
    body: bytes | None = None,
    content_type: str = FORM,
    **fields: Any,
) -> Answer:
    """Send one request; see :func:`environ_of`."""
    started: list[tuple[str, list[tuple[str, str]]]] = []

    def start_response(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Callable[[bytes], None]:
        started.append((status, headers))
        return lambda data: None

    result = validator(app)(environ_of(method, uri, body, content_type, **fields), start_response)
    try:
        content = b"".join(result)
    finally:
        result.close()
    [(status, headers)] = started
    answer = Answer(int(status[:3]), headers, content)
    length = answer.header("content-length")
    if answer.code in (204, 304):
        assert length is None
        assert content == b""
    elif method != "HEAD":
        assert length == str(len(content))
    return answer
