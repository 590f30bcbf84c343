"""Tens of thousands of mixed requests from many clients at once on one server, each octet of each response verified.

``python -m tests.apps.http.stress REQUESTS [LEADS]`` without pytest: on a build of CPython without the GIL, under
``-X dev``, or on one with ThreadSanitizer. It prints how many responses were verified, and how many servers stopped.

A response has a fixed number of octets, in which only the date and the number that the request has sent differ. So one
response to a request of each kind, received before all others, says what the others have to be.
"""

from __future__ import annotations

import contextlib
import random
import re
import socket
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

from reserve.apps.http.settings import HTTPSettings
from reserve.engine.polling.processors import has_gil
from reserve.engine.server import Hooks
from reserve.testing import running

_ZERO = b"000000000000"
_DATE = re.compile(rb"\r\nDate: [^\r]{29}\r\n")
_CLOSE = b"Connection: close\r\n"
_FILE = bytes(range(256)) * 600
_DRAIN = 60.0
"""Seconds that a client waits for octets, and a server for its last requests. Only a failure reaches it."""


def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> Any:
    """Each path is a kind of response, with the number in the query."""
    number = environ["QUERY_STRING"].encode()
    body = environ["wsgi.input"].read()
    path = environ["PATH_INFO"]
    start_response("200 OK", [("Content-Type", "application/octet-stream"), ("X-Number", number.decode())])
    if path == "/file":
        return environ["wsgi.file_wrapper"](open(environ["reserve.test.file"], "rb"))
    if path == "/stream":
        return (number + b"." * size for size in (1, 1000, 70_000))
    if path == "/large":
        return [number * 10_000]
    return [number, body, number]


def _kinds() -> dict[str, Callable[[bytes, bytes], bytes]]:
    """What makes each kind of request, from its number and a line of its head."""

    def get(path: bytes) -> Callable[[bytes, bytes], bytes]:
        return lambda number, line: b"GET %b?%b HTTP/1.1\r\nHost: a\r\n%b\r\n" % (path, number, line)

    def post(size: int) -> Callable[[bytes, bytes], bytes]:
        def make(number: bytes, line: bytes) -> bytes:
            body = number + b"b" * size
            length = b"Content-Length: %d\r\n" % len(body)
            return b"POST /post?%b HTTP/1.1\r\nHost: a\r\n%b%b\r\n%b" % (number, length, line, body)

        return make

    def chunked(number: bytes, line: bytes) -> bytes:
        head = b"POST /post?%b HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n%b\r\n" % (number, line)
        return head + b"c\r\n%b\r\n5\r\nhello\r\n0\r\n\r\n" % number

    return {
        "hello": get(b"/"),
        "stream": get(b"/stream"),
        "large": get(b"/large"),
        "file": get(b"/file"),
        "post": post(20),
        "upload": post(30_000),
        "chunked": chunked,
    }


KINDS = _kinds()
_WEIGHTS = (12, 1, 1, 1, 4, 1, 2)


class Load:
    """The clients of one server after another; each client is a thread."""

    def __init__(self, requests: int, clients: int) -> None:
        self.left = requests
        self.clients = clients
        self.verified = 0
        self.servers = 0
        self.problems: list[str] = []
        self._lock = threading.Lock()

    def run(self, secure: bool, per_server: int, folder: str, adapter: Any) -> None:
        """One server, which is stopped while its clients go on, after so many responses."""
        log: list[str] = []
        path = Path(folder, f"access-{self.servers}")
        http = HTTPSettings(access_log=True, access_log_file=str(path))
        hooks = Hooks(error_log=lambda level, text: log.append(text))
        before, stops_at = self.verified, self.verified + min(per_server, max(self.left, 100))
        enough, stopping = threading.Event(), threading.Event()
        options: dict[str, Any] = {"ssl_adapter": adapter} if secure else {}
        file = Path(folder, "file")
        file.write_bytes(_FILE)

        def with_file(environ: dict[str, Any], start_response: Callable[..., Any]) -> Any:
            environ["reserve.test.file"] = str(file)
            return app(environ, start_response)

        with running(with_file, http=http, hooks=hooks, threads=6, **options) as served:
            make = _secure(served.address) if secure else _plain(served.address)
            expected = _templates(make)

            def client(seed: int) -> None:
                try:
                    self._client(make, expected, random.Random(seed), stops_at, enough, stopping)
                except BaseException as error:
                    self.problems.append(f"client {seed}: {error!r}")
                    enough.set()

            threads = [
                threading.Thread(target=client, args=(self.servers * 1000 + number,)) for number in range(self.clients)
            ]
            for thread in threads:
                thread.start()
            if not enough.wait(20 * _DRAIN):
                self.problems.append(f"only {self.verified - before} responses came")
            stopping.set()
            served.server.stop(_DRAIN)
            for thread in threads:
                thread.join(_DRAIN)
                if thread.is_alive():
                    self.problems.append("a client waits for ever")
            if served.server.stats().connections:
                self.problems.append("connections are left")
            if served.server.aborted:
                self.problems.append("the stop was not clean")
        done = self.verified - before
        lines = path.read_text().count("\n")
        if lines < done + 2 * len(KINDS):
            self.problems.append(f"the access log has {lines} lines for {done + 2 * len(KINDS)} responses")
        self.problems += [line for line in log if "no longer" not in line]
        self.left -= done
        self.servers += 1

    def _client(
        self,
        make: Callable[[], socket.socket],
        expected: dict[str, tuple[bytes, bytes]],
        source: random.Random,
        stops_at: int,
        enough: threading.Event,
        stopping: threading.Event,
    ) -> None:
        while not (stopping.is_set() or self.problems):
            try:
                sock = make()
            except OSError:
                if not stopping.is_set():
                    raise
                return
            with contextlib.closing(sock):
                for _ in range(source.choice((1, 2, 30))):
                    count = source.choice((1, 1, 1, 4, 16))  # more than one: pipelined
                    batch = [(kind, b"%012d" % source.randrange(10**12)) for kind in _some(source, count)]
                    with contextlib.suppress(OSError):  # the server may have stopped: what it has sent says so
                        sock.sendall(b"".join(KINDS[kind](number, b"") for kind, number in batch))
                    if not self._receive(sock, batch, expected, stops_at, enough, stopping):
                        break

    def _receive(
        self,
        sock: socket.socket,
        batch: list[tuple[str, bytes]],
        expected: dict[str, tuple[bytes, bytes]],
        stops_at: int,
        enough: threading.Event,
        stopping: threading.Event,
    ) -> bool:
        """Verify the responses. False: the server, which stops, has closed the connection."""
        for kind, number in batch:
            kept, closed = (template.replace(_ZERO, number) for template in expected[kind])
            data = _exactly(sock, len(kept))
            if data and data != kept:
                data += _exactly(sock, len(closed) - len(kept))
            if data not in (kept, closed) or (data == closed and not stopping.is_set()):
                if data or not stopping.is_set():
                    at = next((at for at, (a, b) in enumerate(zip(data, kept, strict=False)) if a != b), len(data))
                    raise AssertionError(
                        f"{kind} {number!r}: octet {at} of {len(data)}: {data[max(0, at - 60) : at + 60]!r}"
                    )
                return False
            with self._lock:
                self.verified += 1
                if self.verified >= stops_at:
                    enough.set()
            if data == closed:
                return False
        return True


def _some(source: random.Random, count: int) -> list[str]:
    return source.choices(list(KINDS), _WEIGHTS, k=count)


def _exactly(sock: socket.socket, count: int) -> bytes:
    """So many bytes, without the date, or fewer at the end of the connection."""
    data = bytearray()
    while len(data) < count:
        try:
            piece = sock.recv(min(count - len(data), 1 << 17))
        except (ConnectionError, BrokenPipeError):
            break
        if not piece:
            break
        data += piece
    return _DATE.sub(b"\r\nDate: " + b"-" * 29 + b"\r\n", bytes(data))


def _templates(make: Callable[[], socket.socket]) -> dict[str, tuple[bytes, bytes]]:
    """The response to each kind of request, for a connection that is kept, and for one that is closed after it."""
    found = {}
    for kind, request in KINDS.items():
        both = []
        for line in (b"", _CLOSE):
            with contextlib.closing(make()) as sock:
                sock.sendall(request(_ZERO, line))
                if line:
                    both.append(_exactly(sock, 1 << 30))
                else:
                    sock.settimeout(_DRAIN)
                    both.append(_one(sock))
        kept, closed = both
        assert closed.replace(_CLOSE, b"", 1) == kept, (kind, kept[:300], closed[:300])
        found[kind] = kept, closed
    return found


def _one(sock: socket.socket) -> bytes:
    """One response, up to the end that its own head tells."""
    data = b""
    while b"\r\n\r\n" not in data:
        data += sock.recv(1 << 17)
    head, _, body = data.partition(b"\r\n\r\n")
    length = re.search(rb"Content-Length: (\d+)", head)
    while (len(body) < int(length[1])) if length else (not body.endswith(b"0\r\n\r\n")):
        body += sock.recv(1 << 17)
    return _DATE.sub(b"\r\nDate: " + b"-" * 29 + b"\r\n", head + b"\r\n\r\n" + body)


def _plain(address: Any) -> Callable[[], socket.socket]:
    return lambda: socket.create_connection(address[:2], timeout=_DRAIN)


def _secure(address: Any) -> Callable[[], socket.socket]:
    from tests import tls

    def make() -> socket.socket:
        sock = socket.create_connection(address[:2], timeout=_DRAIN)
        try:
            return tls.client_context().wrap_socket(sock, server_hostname="localhost")
        except BaseException:
            sock.close()
            raise

    return make


@contextlib.contextmanager
def leads(count: int) -> Iterator[None]:
    """Servers that are made in the block have so many leads, also with the GIL."""
    with (
        mock.patch("reserve.engine.runtime.parallel_threads", return_value=count),
        mock.patch("reserve.engine.scheduler.monitor.parallel_threads", return_value=count),
    ):
        yield


def stress(requests: int, count: int, *, clients: int = 8, with_tls: bool = True) -> Load:
    """Verify so many responses, on servers that are stopped in between.

    :param count: leads of each server.
    """
    load = Load(requests, clients)
    adapter = None
    if with_tls:
        from tests import tls

        adapter = tls.adapter()
    with leads(count), tempfile.TemporaryDirectory() as folder:
        while (load.left > 0 or load.servers < 3) and not load.problems:
            secure = with_tls and load.servers % 3 == 2
            load.run(secure, max(500, requests // 8), folder, adapter)
    return load


def main(arguments: list[str]) -> int:
    requests, count = int(arguments[0]), int(arguments[1]) if len(arguments) > 1 else 4
    load = stress(requests, count, with_tls="--plain" not in arguments)
    for problem in load.problems[:20]:
        print(problem)
    print(
        f"{'FAILED' if load.problems else 'passed'}: {load.verified} responses verified, {load.servers} servers, "
        f"{count} leads, {'with' if has_gil() else 'without'} the GIL"
    )
    return 1 if load.problems else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
