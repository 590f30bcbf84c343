"""Call the blog without a server: a client that runs the WSGI callable through ``wsgiref.validate``."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode
from wsgiref.util import setup_testing_defaults
from wsgiref.validate import validator

import pytest

from reserve.examples.blog import launch

BOUNDARY = "----form-boundary-7"


@dataclass
class Response:
    """The response to one request; ``pieces`` are what the application yielded."""

    status: int
    headers: dict[str, str]
    pieces: list[bytes]

    @property
    def body(self) -> bytes:
        return b"".join(self.pieces)

    @property
    def text(self) -> str:
        return self.body.decode()


class Client:
    """A client of one WSGI callable; each call of a method is one request, on the thread of the caller."""

    def __init__(self, app: Any) -> None:
        self.app = app

    def request(self, method: str, address: str, body: bytes = b"", **environ: Any) -> Response:
        """Send a request; ``environ`` adds to or replaces what the method sets."""
        path, _, query = address.partition("?")
        environ = {
            "REQUEST_METHOD": method,
            "SCRIPT_NAME": "",
            "PATH_INFO": path,
            "QUERY_STRING": query,
            "wsgi.input": io.BytesIO(body),
            "wsgi.errors": io.StringIO(),
            **environ,
        }
        if method == "POST" and "wsgi.input_terminated" not in environ:
            environ.setdefault("CONTENT_LENGTH", str(len(body)))
        setup_testing_defaults(environ)
        started: list[Any] = []

        def start_response(
            status: str, headers: list[tuple[str, str]], exc_info: Any = None
        ) -> Callable[[bytes], None]:
            started.append((status, headers))
            return lambda data: None

        pieces = validator(self.app)(environ, start_response)
        try:
            body_pieces = list(pieces)
        finally:
            pieces.close()  # type: ignore[attr-defined]
        ((status, headers),) = started
        assert len({name.lower() for name, _ in headers}) == len(headers), "a field was sent twice"
        return Response(status=int(status[:3]), headers=dict(headers), pieces=body_pieces)

    def get(self, address: str, **environ: Any) -> Response:
        return self.request("GET", address, **environ)

    def post(self, address: str, fields: dict[str, str], **environ: Any) -> Response:
        environ.setdefault("CONTENT_TYPE", "application/x-www-form-urlencoded")
        return self.request("POST", address, urlencode(fields).encode(), **environ)

    def upload(self, fields: dict[str, str], picture: bytes, filename: str = "a.png", **environ: Any) -> Response:
        """Send a post with a picture as multipart/form-data."""
        lines = [
            f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode()
            for name, value in fields.items()
        ]
        lines.append(
            f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="picture"; filename="{filename}"\r\n'
            "Content-Type: text/html\r\n\r\n".encode()
        )
        body = b"".join([*lines, picture, f"\r\n--{BOUNDARY}--\r\n".encode()])
        environ.setdefault("CONTENT_TYPE", f"multipart/form-data; boundary={BOUNDARY}")
        return self.request("POST", "/write", body, **environ)


@pytest.fixture(scope="session")
def blog_client() -> type[Client]:
    """The class of clients, for tests that launch a blog themselves."""
    return Client


@pytest.fixture
def blog(tmp_path: Path) -> Client:
    """A client of a new blog with the sample posts."""
    return Client(launch(["reserve http wsgi blog", "--data", str(tmp_path)]))
