"""The honest client: one request on a new connection, timed from the connect to the last byte of the response."""

from __future__ import annotations

import contextlib
import re
import socket
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

_LENGTH = re.compile(rb"^content-length:[ \t]*(\d+)", re.IGNORECASE | re.MULTILINE)


@dataclass(frozen=True)
class Response:
    """The result of one request."""

    seconds: float
    outcome: str
    """The status ("200"), "timeout", or the name of the error ("ConnectionResetError", "truncated")."""


def request(method: str = "GET", path: str = "/", body: bytes = b"", *, keep_alive: bool = False) -> bytes:
    """The bytes of a request."""
    head = f"{method} {path} HTTP/1.1\r\nHost: localhost\r\n"
    if not keep_alive:
        head += "Connection: close\r\n"
    if method != "GET":
        head += f"Content-Length: {len(body)}\r\n"
    return head.encode() + b"\r\n" + body


def ask(address: tuple[str, int], message: bytes, cap: float) -> Response:
    """Send a whole request and read the whole response within ``cap`` seconds."""
    start = time.perf_counter()

    def time_left() -> float:
        seconds = cap - (time.perf_counter() - start)
        if seconds <= 0:
            raise TimeoutError
        return seconds

    try:
        outcome = _exchange(address, message, time_left)
    except TimeoutError:
        outcome = "timeout"
    except OSError as error:
        outcome = type(error).__name__
    return Response(time.perf_counter() - start, outcome)


def batch(address: tuple[str, int], message: bytes, *, count: int, cap: float, timeouts: int = 1) -> list[Response]:
    """Send ``count`` requests one after another; stop early when ``timeouts`` of them have timed out."""
    responses: list[Response] = []
    for _ in range(count):
        responses.append(ask(address, message, cap))
        if sum(response.outcome == "timeout" for response in responses) >= timeouts:
            break
    return responses


def complete(received: bytes) -> bool | None:
    """Whether this is a whole response. None: it has no Content-Length and ends with the connection."""
    head, end, body = received.partition(b"\r\n\r\n")
    if not end:
        return False
    length = _LENGTH.search(head)
    return len(body) >= int(length[1]) if length else None


def outcomes(responses: Sequence[Response]) -> str:
    """Every outcome but 200 as text: "503", "503 and timeout"; empty when all were 200."""
    return " and ".join(sorted({response.outcome for response in responses} - {"200"}))


def _exchange(address: tuple[str, int], message: bytes, time_left: Callable[[], float]) -> str:
    with socket.create_connection(address, time_left()) as sock:
        sock.settimeout(time_left())
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # an early refusal may have arrived already
            sock.sendall(message)
        received = b""
        while not complete(received):
            sock.settimeout(time_left())
            piece = sock.recv(65536)
            if not piece:
                return received[9:12].decode() if complete(received) is None else "truncated"
            received += piece
        return received[9:12].decode()
