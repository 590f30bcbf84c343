"""Clients that send requests all the time and check every byte of the responses, while a server restarts.

Each client has a thread of its own. A request *fails* if its response is not complete and right, or if the connection
is closed before the first byte of a response although the server did not say ``Connection: close`` before. So a client
here never repeats a request, and a restart that loses nothing causes no failure at all.
"""

from __future__ import annotations

import hashlib
import socket
import ssl
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

__all__ = ["APPLICATION", "SteadyLoad", "Tally", "write_application"]

APPLICATION = '''
"""The application of the restarts: a constant, the hash of an upload, and a download of a pattern in pieces."""

import hashlib
import os

VERSION = "1"


def application(environ, start_response):
    path = environ["PATH_INFO"]
    if path == "/upload":
        digest, body = hashlib.sha256(), environ["wsgi.input"]
        while piece := body.read(65536):
            digest.update(piece)
        text = digest.hexdigest().encode()
    elif path == "/download":
        start_response("200 OK", [("Content-Type", "application/octet-stream")])
        return (bytes([number]) * 32768 for number in range(64))
    else:
        text = f"{VERSION} {os.getpid()}".encode()
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(text)))])
    return [text]
'''
"""The source of the application that the clients expect. Its ``VERSION`` may be any word."""

_DOWNLOAD = hashlib.sha256(b"".join(bytes([number]) * 32768 for number in range(64))).digest()
_TIMEOUT = 30.0
_PAUSE = 0.002
"""Seconds between two requests of a client, so that the clients do not use all processors."""


@dataclass
class Tally:
    """What the clients have seen so far. The threads of the clients add to it under its lock."""

    sent: int = 0
    connections: int = 0
    told: int = 0
    """Responses that announced the end of a connection that the client would have kept."""
    failures: list[str] = field(default_factory=list)
    answered_by: Counter[str] = field(default_factory=Counter)
    """Responses by version and process, as ``1 4711``."""
    lock: threading.Lock = field(default_factory=threading.Lock)


class _Closed(Exception):
    """The connection ended before the response was complete."""


class _Connection:
    """One connection of a client, with a buffer of what was received."""

    def __init__(self, connect: Callable[[], socket.socket]) -> None:
        self.sock = connect()
        self._buffer = b""
        self.used = 0
        self.pause = 0.0
        """Seconds before each receive: a slow reader."""

    def request(self, head: bytes, body: Iterable[bytes] = ()) -> tuple[bool, bytes]:
        """Send a request; return whether the server ends the connection, and the content of the response."""
        self.sock.sendall(head)
        for piece in body:
            self.sock.sendall(piece)
        lines = self._until(b"\r\n\r\n").decode("latin-1").split("\r\n")
        if " 200 " not in lines[0]:
            raise _Closed(f"the response is {lines[0]}")
        fields = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])}
        if fields.get("transfer-encoding") == "chunked":
            content = bytearray()
            while size := int(self._until(b"\r\n"), 16):
                content += self._exactly(size)
                self._exactly(2)
            self._exactly(2)
        else:
            content = bytearray(self._exactly(int(fields["content-length"])))
        self.used += 1
        return fields.get("connection") == "close", bytes(content)

    def _until(self, end: bytes) -> bytes:
        while end not in self._buffer:
            self._receive()
        found, _, self._buffer = self._buffer.partition(end)
        return found

    def _exactly(self, size: int) -> bytes:
        while len(self._buffer) < size:
            self._receive()
        found, self._buffer = self._buffer[:size], self._buffer[size:]
        return found

    def _receive(self) -> None:
        if self.pause:
            time.sleep(self.pause)
        data = self.sock.recv(65536)
        if not data:
            raise _Closed(f"closed after {len(self._buffer)} bytes of a response")
        self._buffer += data


class SteadyLoad:
    """The clients; they run while the ``with`` block does.

    :param address: where the server listens: host and port, or the path of a UNIX socket.
    :param tls: the context of clients that use TLS; None: without.
    :param keep_alive: how many clients ask for the constant on kept connections.
    :param others: how many clients there are of each other kind: one connection for each request, uploads, downloads.
    """

    def __init__(
        self,
        address: tuple[str, int] | str,
        *,
        tls: ssl.SSLContext | None = None,
        keep_alive: int = 8,
        others: int = 2,
    ) -> None:
        self._address = address
        self._tls = tls
        self.tally = Tally()
        self._stop = threading.Event()
        kinds = [(self._constant, True)] * keep_alive
        kinds += [(self._constant, False), (self._upload, True), (self._download, True)] * others
        self._threads = [
            threading.Thread(target=self._run, args=(request, keeps), name=f"client-{number}")
            for number, (request, keeps) in enumerate(kinds)
        ]

    def __enter__(self) -> SteadyLoad:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(_TIMEOUT * 2)

    def pass_requests(self, count: int) -> None:
        """Wait until so many more requests were answered, or failed."""
        target = self.tally.sent + count
        deadline = time.monotonic() + _TIMEOUT
        while self.tally.sent < target and time.monotonic() < deadline:
            time.sleep(0.01)

    def _connect(self) -> socket.socket:
        if isinstance(self._address, str):
            sock = socket.socket(socket.AF_UNIX)
            sock.settimeout(_TIMEOUT)
            sock.connect(self._address)
        else:
            sock = socket.create_connection(self._address, _TIMEOUT)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with self.tally.lock:
            self.tally.connections += 1
        return sock if self._tls is None else self._tls.wrap_socket(sock, server_hostname="localhost")

    def _run(self, request: Callable[[_Connection, bytes], tuple[bool, str]], keeps: bool) -> None:
        connection: _Connection | None = None
        fields = b"Host: localhost\r\n" + (b"" if keeps else b"Connection: close\r\n")
        while not self._stop.is_set():
            seen, failure, ends = "", "", True
            try:
                if connection is None:
                    connection = _Connection(self._connect)
                ends, seen = request(connection, fields)
            except (_Closed, OSError, ValueError, KeyError) as error:
                used = connection.used if connection is not None else 0
                failure = f"{request.__name__.strip('_')} after {used} on its connection: {error or repr(error)}"
            with self.tally.lock:
                self.tally.sent += 1
                self.tally.told += bool(keeps and ends and not failure)
                if failure:
                    self.tally.failures.append(failure)
                if seen:
                    self.tally.answered_by[seen] += 1
            if ends and connection is not None:
                connection.sock.close()
                connection = None
            self._stop.wait(_PAUSE)
        if connection is not None:
            connection.sock.close()

    def _constant(self, connection: _Connection, fields: bytes) -> tuple[bool, str]:
        ends, content = connection.request(b"GET / HTTP/1.1\r\n" + fields + b"\r\n")
        return ends, content.decode()

    def _upload(self, connection: _Connection, fields: bytes) -> tuple[bool, str]:
        pieces = [bytes([number]) * 20_000 for number in range(10)]
        size = sum(map(len, pieces))
        head = b"POST /upload HTTP/1.1\r\n" + fields + f"Content-Length: {size}\r\n\r\n".encode()
        ends, content = connection.request(head, self._slowly(pieces))
        if content.decode() != hashlib.sha256(b"".join(pieces)).hexdigest():
            raise _Closed("the upload has arrived changed")
        return ends, ""

    def _download(self, connection: _Connection, fields: bytes) -> tuple[bool, str]:
        connection.pause = 0.003
        ends, content = connection.request(b"GET /download HTTP/1.1\r\n" + fields + b"\r\n")
        if hashlib.sha256(content).digest() != _DOWNLOAD:
            raise _Closed("the download has arrived changed")
        return ends, ""

    def _slowly(self, pieces: list[bytes]) -> Iterator[bytes]:
        for piece in pieces:
            yield piece
            time.sleep(0.01)


def write_application(path: Path, version: str) -> None:
    """Write the application with this version, in one step, so that no process reads half of it."""
    new = path.with_suffix(".new")
    new.write_text(APPLICATION.replace('VERSION = "1"', f'VERSION = "{version}"'), encoding="utf-8")
    new.replace(path)
