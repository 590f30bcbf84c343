"""Clients of a frontend on plain sockets: they send bytes, and receive until the frontend closes the connection."""

from __future__ import annotations

import http.client
import io
import select
import socket
from collections.abc import Sequence

from tests.real.frontends.cases import Case
from tests.real.frontends.messages import LAST
from tests.real.frontends.proxies import Frontend
from tests.waiting import PATIENCE


def play(frontend: Frontend, case: Case) -> bytes:
    """Send the data of a case on a new connection; return all that is received."""
    data = case.data + LAST if case.ending == "last" else case.data
    with frontend.connect() as sock:
        return _exchange(sock, data, case.ending)


def get(frontend: Frontend, target: str) -> bytes:
    """Send one valid request on a new connection; return the response with its head."""
    request = f"GET {target} HTTP/1.1\r\nHost: example.test\r\nConnection: close\r\n\r\n"
    with frontend.connect() as sock:
        return _exchange(sock, request.encode(), "last")


def _exchange(sock: socket.socket, data: bytes, ending: str) -> bytes:
    """Send and receive at the same time: a frontend that responds early may read on only after its response is read."""
    sock.setblocking(False)
    unsent, received, sending = memoryview(data), bytearray(), True
    while True:
        readable, writable, _ = select.select([sock], [sock] if sending else [], [], PATIENCE)
        assert readable or writable, f"the frontend neither responds nor closes; so far: {bytes(received[-300:])!r}"
        if writable:
            try:
                unsent = unsent[sock.send(unsent) :]
            except (BrokenPipeError, ConnectionResetError):
                sending = False  # the frontend has closed; its last response can still be read
            if sending and not unsent:
                sending = False
                if ending == "abort":
                    return bytes(received)
                if ending == "half":
                    sock.shutdown(socket.SHUT_WR)
        if readable:
            try:
                piece = sock.recv(65536)
            except ConnectionResetError:
                return bytes(received)
            if not piece:
                return bytes(received)
            received += piece


class _SocketLike(io.BytesIO):
    """Received bytes in the form of a socket, which HTTPResponse wants. It stays open between two responses."""

    def makefile(self, *_: object) -> _SocketLike:
        return self

    def close(self) -> None:
        pass


def response_targets(data: bytes, methods: Sequence[str]) -> list[str]:
    """Parse the responses to requests with these methods.

    For each response the result has the target that the application put into it, or the status; then any error.
    """
    source = _SocketLike(data)
    targets = []
    for method in methods:
        response = http.client.HTTPResponse(source, method=method)  # type: ignore[arg-type]
        try:
            response.begin()
            response.read()
        except (http.client.HTTPException, ValueError) as error:
            return [*targets, f"no response: {error}"]
        targets.append(response.headers["X-Uri"] or str(response.status))
    rest = source.read()
    return [*targets, f"then {rest[:80]!r}"] if rest else targets
