"""Writes down every request that arrives, in a file, and says in the answer which one it answers."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Iterator
from typing import Any

BLOCK = b"0123456789abcdef" * 4096


def launch(args: list[str]) -> Callable[..., Iterable[bytes]]:
    """Serve with the file named by the last argument."""
    record = os.open(args[-1], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)

    def write(line: dict[str, Any]) -> bytes:
        text = json.dumps(line).encode()
        os.write(record, text + b"\n")  # in one piece: threads do not mix
        return text

    def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        path = environ["PATH_INFO"]
        body = environ["wsgi.input"]
        digest, length = hashlib.sha256(), 0
        while path != "/unread" and (block := body.read(65536)):
            digest.update(block)
            length += len(block)
        found = write(
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
        fields = [
            ("X-Seen", environ.get("HTTP_X_REQUEST_ID", "none")),
            ("X-Uri", environ["REQUEST_URI"][:200]),
        ]  # nginx takes heads up to 4 KiB
        if path.startswith("/status/"):
            start_response(f"{path[8:11]} As Asked", fields)
            return []
        if path == "/generated":
            start_response("200 OK", fields)
            return (found[index : index + 50] for index in range(0, len(found), 50))
        if path == "/download":
            start_response("200 OK", [*fields, ("Content-Length", str(len(BLOCK) * 512))])
            return iter([BLOCK] * 512)
        if path == "/endless":
            start_response("200 OK", fields)
            return Endless(lambda: write({"closed": environ["REQUEST_URI"]}))
        start_response("200 OK", [*fields, ("Content-Length", str(len(found)))])
        return [found]

    return application


class Endless:
    """Blocks until the client is gone."""

    def __init__(self, closed: Callable[[], object]) -> None:
        self.close = closed

    def __iter__(self) -> Iterator[bytes]:
        while True:
            yield BLOCK
