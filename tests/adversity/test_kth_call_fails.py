"""The k-th system call on a connection fails, for every k until a run meets no fault.

Whatever fails: the client gets the right response, or the beginning of it, and never a wrong one; nothing leaks; the
next request is served. The clock stands still, so that no deadline cleans up.
"""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from reserve.apps.http import straightforms, straightline
from reserve.apps.http.settings import HTTPSettings
from reserve.engine import acceptor
from tests.adversity.holding import Watched, honest, watched
from tests.apps.http.responses import request, split, take
from tests.waiting import eventually

LARGE = b"0123456789abcdef" * 16384
HTTP = HTTPSettings(access_log=False)
SHORT = "a short count"
HARMLESS = {errno.EINTR, errno.EAGAIN, SHORT}
FAULTS: dict[str, int | str] = {
    **{name: getattr(errno, name) for name in ("EINTR", "EAGAIN", "ECONNRESET", "EPIPE", "EMFILE", "ENOBUFS")},
    "a short count": SHORT,
}


class Faults:
    """Counts the calls of the accepted sockets and makes one of them fail."""

    def __init__(self) -> None:
        self._fault: int | str = 0
        self._remaining = 0
        self.met: str | None = None
        """The call that has failed."""

    def arm(self, number: int, fault: int | str) -> None:
        self.met = None
        self._fault = fault
        self._remaining = number

    def disarm(self) -> None:
        self._remaining = 0

    def call(self, name: str, real: Callable[[], Any], short: Callable[[], Any] | None = None) -> Any:
        """Make the call, unless it has to fail. A close that fails has closed all the same."""
        if self._remaining:
            self._remaining -= 1
            if not self._remaining:
                self.met = name
                if self._fault is SHORT:
                    return (short or real)()
                if name in ("close", "detach"):
                    real()
                assert isinstance(self._fault, int)
                raise OSError(self._fault, os.strerror(self._fault))
        return real()


class FaultySocket(socket.socket):
    """An accepted socket whose calls may fail."""

    faults: Faults

    def recv(self, size: int, flags: int = 0) -> bytes:
        real = super().recv
        return self.faults.call("recv", lambda: real(size, flags), lambda: real(1, flags))  # type: ignore[no-any-return]

    def send(self, data: Any, flags: int = 0) -> int:
        real = super().send
        return self.faults.call("send", lambda: real(data, flags), lambda: real(data[:1], flags))  # type: ignore[no-any-return]

    def shutdown(self, how: int) -> None:
        real = super().shutdown
        self.faults.call("shutdown", lambda: real(how))

    def setblocking(self, flag: bool) -> None:
        real = super().setblocking
        self.faults.call("setblocking", lambda: real(flag))

    def getsockname(self) -> Any:
        real = super().getsockname
        return self.faults.call("getsockname", real)


class FaultyListener:
    """A listener whose accepted sockets are :class:`FaultySocket`."""

    def __init__(self, listener: socket.socket, faults: Faults) -> None:
        self._listener = listener
        self._faults = faults

    def __getattr__(self, name: str) -> Any:
        return getattr(self._listener, name)

    def __hash__(self) -> int:
        return hash(self._listener)

    def __eq__(self, other: object) -> bool:
        return other is self or other is self._listener  # the server looks up the endpoint of its listener

    def accept(self) -> tuple[socket.socket, Any]:
        sock, peer = self._faults.call("accept", self._listener.accept)
        faulty = FaultySocket(fileno=sock.detach())
        faulty.faults = self._faults
        return faulty, peer


@pytest.fixture
def faults(monkeypatch: pytest.MonkeyPatch) -> Faults:
    """Every call of an accepted socket, and of the functions that are called with its number."""
    mine = Faults()
    monkeypatch.setattr(straightforms, "form", lambda: "Python")  # the form in C makes its calls in C
    read, write = os.read, os.write

    def faulty_read(fd: int, size: int) -> bytes:
        return mine.call("recv", lambda: read(fd, size), lambda: read(fd, 1))  # type: ignore[no-any-return]

    def faulty_write(fd: int, data: bytes) -> int:
        return mine.call("send", lambda: write(fd, data), lambda: write(fd, data[:1]))  # type: ignore[no-any-return]

    monkeypatch.setattr(straightline, "read", faulty_read)
    monkeypatch.setattr(straightline, "write", faulty_write)
    sendfile, close = os.sendfile, socket.close

    def faulty_sendfile(out: int, source: int, offset: int, count: int) -> int:
        return mine.call(  # type: ignore[no-any-return]
            "sendfile", lambda: sendfile(out, source, offset, count), lambda: sendfile(out, source, offset, 1)
        )

    monkeypatch.setattr(os, "sendfile", faulty_sendfile)
    monkeypatch.setattr(socket, "close", lambda fd: mine.call("close", lambda: close(fd)))
    monkeypatch.setattr(acceptor, "_PAUSE", 0.005)  # real seconds, because descriptors are not really missing
    real_init = acceptor.Acceptor.__init__

    def init(self: Any, listeners: Any, *arguments: Any, **options: Any) -> None:
        real_init(self, [FaultyListener(one, mine) for one in listeners], *arguments, **options)  # type: ignore[misc]

    monkeypatch.setattr(acceptor.Acceptor, "__init__", init)
    return mine


def app_with(path: Path) -> Any:
    def app(environ: Any, start_response: Any) -> Any:
        path_info = environ["PATH_INFO"]
        if path_info == "/":
            return honest(environ, start_response)
        start_response("200 OK", [])
        if path_info == "/echo":
            return [environ["wsgi.input"].read()]
        if path_info == "/file":
            return environ["wsgi.file_wrapper"](open(path, "rb"))
        return iter([LARGE[at : at + 65536] for at in range(0, len(LARGE), 65536)])

    return app


UPLOAD = b"u" * 200_000
OK = (200, b"honest")
REFUSED = b"request line 'nonsense' is not method, target and version with single spaces (RFC 9112 section 3)\n"
SCENARIOS: dict[str, tuple[bytes, list[tuple[int, bytes]]]] = {
    "GET": (request("GET", "/", "Connection: close"), [OK]),
    "GET, kept": (request(), [OK]),
    "POST": (request("POST", "/echo", body=UPLOAD), [(200, UPLOAD)]),
    "chunked upload": (request("POST", "/echo", body=UPLOAD, chunks=30_000), [(200, UPLOAD)]),
    "large response": (request("GET", "/large"), [(200, LARGE)]),
    "file": (request("GET", "/file"), [(200, LARGE)]),
    "pipelined pair": (request() + request("POST", "/echo", "Connection: close", body=b"2nd"), [OK, (200, b"2nd")]),
    "refusal": (b"nonsense\r\n\r\n", [(400, REFUSED)]),
}


def play(site: Watched, raw: bytes, expected: list[tuple[int, bytes]]) -> list[tuple[int, bytes]]:
    """Be the client; the responses that arrived completely. The rest must be the beginning of the right response."""
    received = bytearray()
    with site.connect(window=16384) as client:
        try:
            client.sendall(raw)
            while len(complete_responses(bytes(received))) < len(expected) and (data := client.recv(65536)):
                received += data
        except (ConnectionResetError, BrokenPipeError):
            pass
    responses = complete_responses(bytes(received))
    assert responses == expected[: len(responses)]
    if len(responses) < len(expected):
        last = after_responses(bytes(received), len(responses))
        if b"\r\n\r\n" in last:
            (cut,) = split(last)
            status, body = expected[len(responses)]
            assert cut.status == status
            assert body.startswith(cut.body)
    return responses


def complete_responses(received: bytes) -> list[tuple[int, bytes]]:
    """The responses that are complete."""
    responses = []
    while b"\r\n\r\n" in received:
        response, received = take(received)
        if not response.whole:
            break
        responses.append((response.status, response.body))
    return responses


def after_responses(received: bytes, count: int) -> bytes:
    """What follows the first ``count`` responses."""
    for _ in range(count):
        _, received = take(received)
    return received


def open_descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_a_server_survives_the_failure_of_each_call(scenario: str, faults: Faults, tmp_path: Path) -> None:
    path = tmp_path / "large"
    path.write_bytes(LARGE)
    raw, expected = SCENARIOS[scenario]
    met: set[str] = set()
    with watched(app_with(path), http=HTTP) as site:
        for listener in site.server._endpoints.listeners:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 65536)
        assert play(site, request(), [OK]) == [OK]
        site.assert_nothing_left()
        before = open_descriptors()
        for name, fault in FAULTS.items():
            for number in range(1, 1000):
                faults.arm(number, fault)
                received = play(site, raw, expected)
                site.assert_nothing_left()  # while the fault is armed: closing a connection may fail, too
                eventually(lambda: open_descriptors() <= before)  # it is closed a moment after it has left the registry
                faults.disarm()
                if faults.met is None:
                    assert received == expected
                    break
                met.add(faults.met)
                if fault in HARMLESS and faults.met not in ("close", "shutdown", "setblocking"):
                    assert received == expected, (name, number, faults.met)
                assert play(site, request(), [OK]) == [OK], (name, number, faults.met)
                site.assert_nothing_left()
            else:
                pytest.fail(f"{name}: the calls do not end")
    assert not [line for line in site.log if "Traceback" in line and not line.startswith("no driver")], site.log
    assert met >= {"accept", "recv", "send", "close", "setblocking"}
    if scenario == "file":
        assert "sendfile" in met
