"""Raw clients of a frontend: octets out, octets in until the other side closes."""

from __future__ import annotations

import http.client
import io
import select
import socket
from collections.abc import Sequence

from tests.real.behind.cases import Case
from tests.real.behind.fronts import Front
from tests.real.behind.messages import LAST
from tests.real.serving import PATIENCE


def play(front: Front, case: Case) -> bytes:
    """Send the case on a connection of its own and give all that came back."""
    octets = case.octets + LAST if case.ending == "last" else case.octets
    with front.connect() as sock:
        return _exchange(sock, octets, case.ending)


def ask(front: Front, target: str) -> bytes:
    """One good request; its answer, the head included."""
    request = f"GET {target} HTTP/1.1\r\nHost: example.test\r\nConnection: close\r\n\r\n"
    with front.connect() as sock:
        return _exchange(sock, request.encode(), "last")


def _exchange(sock: socket.socket, octets: bytes, ending: str) -> bytes:
    """Read while sending: a frontend that answers early may not read on before its answer is taken."""
    sock.setblocking(False)
    left, got, sending = memoryview(octets), bytearray(), True
    while True:
        readable, writable, _ = select.select([sock], [sock] if sending else [], [], PATIENCE)
        assert readable or writable, f"the frontend neither answers nor closes; so far: {bytes(got[-300:])!r}"
        if writable:
            try:
                left = left[sock.send(left) :]
            except (BrokenPipeError, ConnectionResetError):
                sending = False  # it has closed; its last words can still be read
            if sending and not left:
                sending = False
                if ending == "abort":
                    return bytes(got)
                if ending == "half":
                    sock.shutdown(socket.SHUT_WR)
        if readable:
            try:
                piece = sock.recv(65536)
            except ConnectionResetError:
                return bytes(got)
            if not piece:
                return bytes(got)
            got += piece


class _Bytes(io.BytesIO):
    """Stays open, and stands for the socket that an HTTPResponse wants."""

    def makefile(self, *_: object) -> _Bytes:
        return self

    def close(self) -> None:
        pass


def answered(octets: bytes, methods: Sequence[str]) -> list[str]:
    """Take the answers to these methods apart: which target each is for, as the application says, or what is wrong."""
    source = _Bytes(octets)
    found = []
    for method in methods:
        answer = http.client.HTTPResponse(source, method=method)  # type: ignore[arg-type]
        try:
            answer.begin()
            answer.read()
        except (http.client.HTTPException, ValueError) as error:
            return [*found, f"no answer: {error}"]
        found.append(answer.headers["X-Uri"] or str(answer.status))
    rest = source.read()
    return [*found, f"then {rest[:80]!r}"] if rest else found
