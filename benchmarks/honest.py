"""The honest client: one request on a fresh connection, timed from the connect to the last octet of the answer."""

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
    """How one request went."""

    seconds: float
    outcome: str
    """The status ("200"), "timeout", or the name of the error ("ConnectionResetError", "cut short")."""


def request(method: str = "GET", path: str = "/", body: bytes = b"") -> bytes:
    head = f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
    if method != "GET":
        head += f"Content-Length: {len(body)}\r\n"
    return head.encode() + b"\r\n" + body


def ask(address: tuple[str, int], words: bytes, cap: float) -> Response:
    """Send a whole request and read the whole answer within ``cap`` seconds."""
    began = time.perf_counter()

    def left() -> float:
        rest = cap - (time.perf_counter() - began)
        if rest <= 0:
            raise TimeoutError
        return rest

    try:
        outcome = _exchange(address, words, left)
    except TimeoutError:
        outcome = "timeout"
    except OSError as error:
        outcome = type(error).__name__
    return Response(time.perf_counter() - began, outcome)


def batch(address: tuple[str, int], words: bytes, *, count: int, cap: float, timeouts: int = 1) -> list[Response]:
    """Ask one after another, until so many timed out."""
    answers: list[Response] = []
    for _ in range(count):
        answers.append(ask(address, words, cap))
        if sum(answer.outcome == "timeout" for answer in answers) >= timeouts:
            break
    return answers


def complete(received: bytes) -> bool | None:
    """Is this a whole answer? None: it has no Content-Length and ends with the connection."""
    head, end, body = received.partition(b"\r\n\r\n")
    if not end:
        return False
    length = _LENGTH.search(head)
    return len(body) >= int(length[1]) if length else None


def outcomes(answers: Sequence[Response]) -> str:
    """Every outcome but 200, for a person: "503", "503 and timeout"; empty when all were 200."""
    return " and ".join(sorted({answer.outcome for answer in answers} - {"200"}))


def _exchange(address: tuple[str, int], words: bytes, left: Callable[[], float]) -> str:
    with socket.create_connection(address, left()) as sock:
        sock.settimeout(left())
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # an early refusal may be there all the same
            sock.sendall(words)
        received = b""
        while not complete(received):
            sock.settimeout(left())
            piece = sock.recv(65536)
            if not piece:
                return received[9:12].decode() if complete(received) is None else "cut short"
            received += piece
        return received[9:12].decode()
