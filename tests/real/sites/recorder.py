"""Record every request in a file, and put the id and the target of the request into the response."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Iterator
from typing import Any

BLOCK = b"0123456789abcdef" * 4096


def launch(args: list[str]) -> Callable[..., Iterable[bytes]]:
    """Return the application; the last argument names its file."""
    file = os.open(args[-1], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)

    def write(record: dict[str, Any]) -> bytes:
        text = json.dumps(record).encode()
        os.write(file, text + b"\n")  # one call, so that the lines of several threads do not mix
        return text

    def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        path = environ["PATH_INFO"]
        body = environ["wsgi.input"]
        digest, length = hashlib.sha256(), 0
        while path != "/unread" and (block := body.read(65536)):
            digest.update(block)
            length += len(block)
        record = write(
            {
                "id": environ.get("HTTP_X_REQUEST_ID"),
                "method": environ["REQUEST_METHOD"],
                "uri": environ["REQUEST_URI"],
                "length": length,
                "sha256": digest.hexdigest(),
                "peer": f"{environ['REMOTE_ADDR']}:{environ['REMOTE_PORT']}",
                "environ": {name: value for name, value in environ.items() if isinstance(value, str)},
            }
        )
        # nginx accepts response heads up to 4 KiB.
        fields = [
            ("X-Seen", environ.get("HTTP_X_REQUEST_ID", "none")),
            ("X-Uri", environ["REQUEST_URI"][:200]),
        ]
        if path.startswith("/status/"):
            start_response(f"{path[8:11]} As Asked", fields)
            return []
        if path == "/generated":
            start_response("200 OK", fields)
            return (record[index : index + 50] for index in range(0, len(record), 50))
        if path == "/download":
            start_response("200 OK", [*fields, ("Content-Length", str(len(BLOCK) * 512))])
            return iter([BLOCK] * 512)
        if path == "/endless":
            start_response("200 OK", fields)
            return Endless(lambda: write({"closed": environ["REQUEST_URI"]}))
        start_response("200 OK", [*fields, ("Content-Length", str(len(record)))])
        return [record]

    return application


class Endless:
    """A body without an end; the server closes it when the client has disconnected."""

    def __init__(self, closed: Callable[[], object]) -> None:
        self.close = closed

    def __iter__(self) -> Iterator[bytes]:
        while True:
            yield BLOCK
