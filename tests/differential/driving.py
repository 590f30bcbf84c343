"""Sends a stream to the HTTP driver, and compares what the application and the client get with what the parsers read.

The client is h11, so that another implementation checks the responses.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

import h11

from reserve.gateways.exchange import StartResponse
from reserve.protocol.http1.fields import TOKEN_CLASS
from reserve.protocol.http1.response import CONTINUE
from reserve.testing import MemoryClient
from tests.differential.oracles import LIMITS
from tests.fuzz.stream import read_stream
from tests.fuzz.targets import unpack

HEAD_REQUEST = re.compile(rf"HEAD(?!{TOKEN_CLASS})").match

Received = tuple[str, str, str | None, bytes]
"""Method, target, host and body of a request."""


class Recorder:
    """An application that records its requests, and responds with their number."""

    def __init__(self) -> None:
        self.received: list[Received] = []

    def __call__(self, environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        body = environ["wsgi.input"].read()
        assert int(environ.get("CONTENT_LENGTH") or 0) == len(body)
        self.received.append((environ["REQUEST_METHOD"], environ["REQUEST_URI"], environ.get("HTTP_HOST"), body))
        content = b"%d" % len(self.received)
        start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(content)))])
        return [content]


def responses(data: bytes, methods: list[str]) -> tuple[list[tuple[int, bytes]], bytes]:
    """Status and body of each final response, as h11 reads them, and what follows the last one."""
    client = h11.Connection(h11.CLIENT)
    final: list[tuple[int, bytes]] = []
    if data:
        client.receive_data(data)
    for method in methods:
        client.send(h11.Request(method=method, target="/", headers=[("Host", "a")]))
        client.send(h11.EndOfMessage())
        status, body = 0, b""
        while True:
            event = client.next_event()
            if isinstance(event, h11.Response):
                status = event.status_code
            elif isinstance(event, h11.Data):
                body += bytes(event.data)
            elif isinstance(event, h11.EndOfMessage):
                break
            else:
                assert isinstance(event, h11.InformationalResponse), f"{event!r} instead of response {len(final)}"
        final.append((status, body))
        if client.their_state is not h11.DONE:
            break
        client.start_next_cycle()
    return final, client.trailing_data[0]


def check(data: bytes) -> int:
    """Return the number of requests."""
    _, payload, pieces = unpack(data)
    expected = read_stream([payload], LIMITS)
    application = Recorder()
    client = MemoryClient(application)
    received = b""
    for piece in pieces:
        if piece and not client.closed:
            received += client.send(piece)
    assert application.received == [
        (request.head["method"], request.head["target"], request.head["environ"].get("HTTP_HOST"), request.body)
        for request in expected.requests
    ]
    methods = [request.head["method"] for request in expected.requests]
    statuses = [200] * len(methods)
    if expected.status is not None:
        refused = payload[expected.requests[-1].end :] if expected.requests else payload
        head_request = HEAD_REQUEST(refused.lstrip(b"\r\n").decode("latin-1")) is not None
        methods.append("HEAD" if head_request else "GET")
        statuses.append(expected.status)
    final, trailing = responses(received, methods)
    waiting = expected.status is None and expected.pending is not None and expected.pending[0]["expect_continue"]
    assert trailing in ((b"", CONTINUE) if waiting else (b"",))
    assert [status for status, _ in final] == statuses
    for number, (method, (status, body)) in enumerate(zip(methods, final, strict=True), 1):
        if status == 200:
            assert body == (b"" if method == "HEAD" else b"%d" % number)
    assert client.closed == (expected.closed or expected.status is not None)
    client.close()
    return len(expected.requests)
