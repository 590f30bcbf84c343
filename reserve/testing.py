"""What reserve tests itself with, and its users their applications: a clock, a client in memory, a running server.

- :class:`FakeClock` stands still until it is told the time; give it to a server, and no deadline passes by itself.
- :class:`MemoryClient` speaks to an application through the real protocol driver, without sockets and threads.
- :func:`check_adapter` checks that a TLS adapter does all that the engine needs; :class:`AdapterSuite`, one by one.
- :func:`running` serves a handler or a WSGI application on a free port of the loopback interface.
"""

from __future__ import annotations

import contextlib
import http.client
import io
import logging
import socket
import traceback
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, cast

from reserve.adaptersuite import AdapterSuite, check_adapter
from reserve.apps.http.app import HTTPApp
from reserve.apps.http.settings import HTTPSettings
from reserve.engine.budget import Budget
from reserve.engine.clock import Clock
from reserve.engine.connection import Connection
from reserve.engine.deadlines import NEVER
from reserve.engine.driver import AGAIN, RUN, Action, Close, DriverFactory, Wait
from reserve.engine.handler import Handle
from reserve.engine.listeners import listen, release
from reserve.engine.logs import Logs
from reserve.engine.poller import READ
from reserve.engine.server import Peer, Server
from reserve.engine.settings import EngineSettings
from reserve.errors import ClientDisconnected
from reserve.gateways.exchange import Application
from reserve.gateways.wsgi import WSGIGateway

__all__ = [
    "AdapterSuite",
    "FakeClock",
    "MemoryClient",
    "MemorySocket",
    "Response",
    "RunningServer",
    "check_adapter",
    "running",
]


class FakeClock:
    """A :class:`~reserve.engine.clock.Clock` that stands still.

    :param start: its first reading, in seconds.
    """

    def __init__(self, start: float = 1000.0) -> None:
        self._time = start
        self._wakes: list[Callable[[], None]] = []

    def now(self) -> float:
        return self._time

    def advance(self, seconds: float) -> None:
        """Let ``seconds`` pass at once; every thread that waits for a deadline looks at the clock again."""
        self._time += seconds
        for wake in list(self._wakes):
            wake()

    def timeout(self, deadline: float) -> float | None:
        return 0.0 if deadline <= self._time else None

    def subscribe(self, wake: Callable[[], None]) -> None:
        self._wakes.append(wake)

    def unsubscribe(self, wake: Callable[[], None]) -> None:
        with contextlib.suppress(ValueError):
            self._wakes.remove(wake)


class MemorySocket:
    """The server's end of a connection that exists in memory only.

    :param peer: the client's address.
    """

    family = socket.AF_INET

    def __init__(self, peer: tuple[str, int] = ("127.0.0.1", 50000)) -> None:
        self.peer = peer
        self.incoming = bytearray()
        """What the client has sent and the server has not received."""
        self.outgoing = bytearray()
        """What the server has sent and the client has not taken."""
        self.room: int | None = None
        """Octets that a send still takes (None: any number)."""
        self.segment: int | None = None
        """Octets that one receive gives at most, as if each segment arrived for itself (None: any number)."""
        self.ended = False
        """The client has shut down its side."""
        self.shut: set[int] = set()
        """How the server has shut it down (SHUT_RD, SHUT_WR, SHUT_RDWR)."""

    def fileno(self) -> int:
        return -1

    def getsockname(self) -> tuple[str, int]:
        return "127.0.0.1", 80

    def recv(self, size: int, flags: int = 0) -> bytes:
        if not self.incoming:
            if self.ended:
                return b""
            raise BlockingIOError
        data = bytes(self.incoming[: size if self.segment is None else min(size, self.segment)])
        if not flags & socket.MSG_PEEK:
            del self.incoming[: len(data)]
        return data

    def send(self, data: bytes | memoryview) -> int:
        if self.room == 0:
            raise BlockingIOError
        count = len(data) if self.room is None else min(len(data), self.room)
        self.outgoing += data[:count]
        if self.room is not None:
            self.room -= count
        return count

    def shutdown(self, how: int) -> None:
        self.shut.add(how)

    def setsockopt(self, *option: Any) -> None:
        """Accept every option; there is nothing to set."""

    def detach(self) -> int:
        return -1


class _MemoryLogs(Logs):
    """Kept as a list, in the order of events."""

    def __init__(self) -> None:
        self.lines: list[tuple[int, str]] = []

    def info(self, text: str, kind: str = "") -> None:
        self.lines.append((logging.INFO, text))

    def warning(self, text: str, kind: str = "") -> None:
        self.lines.append((logging.WARNING, text))

    def error(self, text: str) -> None:
        self.lines.append((logging.ERROR, text))

    def failure(self, text: str, error: BaseException) -> None:
        trace = "".join(traceback.format_exception(type(error), error, error.__traceback__)).rstrip()
        self.error(f"{text}\n{trace}")


class _MemoryConnection(Connection):
    """One that cannot wait."""

    __slots__ = ()

    def wait(self, timeout: float | None, *, write: bool = False, wake: int = -1) -> bool:
        what = "read" if write else "send"
        raise ClientDisconnected(f"the application waits for its client to {what}, and a client in memory cannot")


class _MemoryServer:
    """What a driver asks of its server."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.settings = EngineSettings()
        self.stopping = False
        self.healthy = True
        self.crowded = False
        self.budget = Budget(self.settings.buffer_memory, self.settings.spool_disk)
        self.logs = _MemoryLogs()

    def flush_meanwhile(self, connection: Connection) -> None:
        connection.give_back()

    def address_of(self, connection: Connection) -> tuple[str, int]:
        return cast("tuple[str, int]", connection.peer)

    def peer_of(self, connection: Connection) -> Peer:
        return Peer(connection.peer, None, None, None)


@dataclass(frozen=True, slots=True)
class Response:
    """One answer, decoded."""

    status: int
    reason: str
    headers: list[tuple[str, str]]
    body: bytes

    def header(self, name: str) -> str | None:
        """The first field of this name, in any case."""
        return next((value for key, value in self.headers if key.lower() == name.lower()), None)


class MemoryClient:
    """One connection to an application, in memory: deterministic, without sockets, threads and waiting.

    It speaks to the protocol driver as the engine does: steps it while there is something to read, runs the
    application when the driver asks for it, and flushes the output before anything else happens.

    :param app: a WSGI application, or anything with a driver of its own (``make_driver``).
    :param settings: for HTTP; by default those of a server. An access log is not kept in memory.
    :param clock: read for every deadline; :meth:`advance` lets it pass.

    An application that has to wait for its client, for more of a streamed body than was sent or for room beyond
    ``max_response_spool``, sees a client that went away: nobody could send or read meanwhile. :func:`running` is for
    such.
    """

    def __init__(
        self,
        app: Application | DriverFactory,
        settings: HTTPSettings | None = None,
        clock: FakeClock | None = None,
    ) -> None:
        self.clock = clock if clock is not None else FakeClock()
        self.server = _MemoryServer(self.clock)
        factory = app if hasattr(app, "make_driver") else HTTPApp(WSGIGateway(app), settings)
        if isinstance(factory, HTTPApp):
            factory.gateway.use_log(self.server.logs.failure)
        self.socket = MemorySocket()
        server, sock = cast(Server, self.server), cast(socket.socket, self.socket)
        self._connection = _MemoryConnection(server, sock, self.socket.peer)
        self._driver = self._connection.driver = factory.make_driver(self._connection)
        self._wait: Wait | None = None
        self._closing = False
        self._write_deadline = NEVER
        self.closed = False
        """The server has closed its end."""
        self._play(self._driver.step(0, self.clock.now()))

    @property
    def log(self) -> list[str]:
        """What the server has written to its error log, tracebacks included."""
        return [text for _, text in self.server.logs.lines]

    def send(self, data: bytes) -> bytes:
        """Send octets and return everything that the server has answered so far and that was not taken before."""
        self.socket.incoming += data
        if not self.closed and self._flushed():
            self._play(self._driver.step(READ, self.clock.now()))
        return self.take()

    def end(self) -> bytes:
        """Shut down the client's side; returns as :meth:`send` does."""
        self.socket.ended = True
        return self.send(b"")

    def read(self, room: int | None) -> bytes:
        """Have the socket take ``room`` more octets (None: any number) from now on; returns as :meth:`send` does.

        0 at the beginning makes a client that does not read.
        """
        self.socket.room = room
        return self.send(b"")

    def stop(self) -> bytes:
        """Begin to stop the server; returns as :meth:`send` does."""
        self.server.stopping = True
        return self.send(b"")

    def advance(self, seconds: float) -> bytes:
        """Let time pass; returns as :meth:`send` does."""
        self.clock.advance(seconds)
        now = self.clock.now()
        if self.closed:
            return self.take()
        if self._connection.output is not None:
            if now >= self._write_deadline:
                self._finish("timeout")
        elif self._wait is not None and self._wait.deadline <= now:
            self._play(self._driver.expired(self._wait.kind, now))
        return self.take()

    def take(self) -> bytes:
        """What the server has sent since it was last taken."""
        data = bytes(self.socket.outgoing)
        self.socket.outgoing.clear()
        return data

    def request(
        self, method: str, target: str, headers: Iterable[tuple[str, str]] = (), body: bytes | None = None
    ) -> Response:
        """Send one request and decode its answer. Host and Content-Length are added when they are missing.

        Raises ``http.client.HTTPException`` when the answer is not whole.
        """
        fields = list(headers)
        names = {name.lower() for name, _ in fields}
        if "host" not in names:
            fields.insert(0, ("Host", "testserver"))
        if body is not None and not names & {"content-length", "transfer-encoding"}:
            fields.append(("Content-Length", str(len(body))))
        head = f"{method} {target} HTTP/1.1\r\n" + "".join(f"{name}: {value}\r\n" for name, value in fields) + "\r\n"
        raw = self.send(head.encode("latin-1") + (body or b""))
        answer = http.client.HTTPResponse(cast(socket.socket, _Replay(raw)), method=method)
        try:
            answer.begin()
            return Response(answer.status, answer.reason, answer.getheaders(), answer.read())
        finally:
            answer.close()

    def close(self) -> None:
        """End the connection from the client's side, and let the driver give back what it holds."""
        if not self.closed:
            self.end()
        if not self.closed:
            self._finish("lost")

    def _flushed(self) -> bool:
        """Send what waits in the output; False while there is no room for all of it, or when that was the end."""
        connection = self._connection
        output = connection.output
        if output is None:
            return True
        done, sent = output.flush(connection.sock)
        if done:
            connection.output = None
            if self._closing:
                self._finish("done")
            return not self.closed
        if sent or self._write_deadline == NEVER:
            self._write_deadline = self.clock.now() + self.server.settings.write_timeout
        return False

    def _play(self, action: Action) -> None:
        incoming = self.socket.incoming
        while True:
            if isinstance(action, Close):
                self._closing = True
                if self._connection.output is None:
                    self._finish("done")
                else:
                    self._flushed()
                return
            if action is RUN:
                self._driver.run()
                action = Wait("", READ)
                unread = -1
            elif action is AGAIN:
                action = Wait("", READ)
                unread = -1
            else:
                assert isinstance(action, Wait)
                self._wait = action
                unread = len(incoming)
            if not self._flushed():
                return
            if unread >= 0 and not incoming and not self.socket.ended:
                return
            action = self._driver.step(READ if incoming else 0, self.clock.now())
            if isinstance(action, Wait) and len(incoming) == unread:
                raise AssertionError("the driver waits for input, and does not read what is there")

    def _finish(self, reason: str) -> None:
        self.closed = True
        if self._driver.closed(reason):
            self._connection.ending = True
            self._driver.run()
        if self._connection.output is not None:
            self._connection.output.close()
            self._connection.output = None


class _Replay:
    """Octets that were received, as far as ``http.client`` needs a socket."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def makefile(self, mode: str) -> io.BytesIO:
        return io.BytesIO(self._data)


class RunningServer:
    """A server on a free port, and what a test needs to talk to it."""

    def __init__(self, server: Server, *, tls: bool = False) -> None:
        self.server = server
        self.address: Any = server.addresses[0]
        """(host, port), or the path of a UNIX socket."""
        self.url = ""
        """``http://host:port`` of a TCP listener, with TLS ``https://host:port``; a path has none."""
        if isinstance(self.address, tuple):
            host, port = self.address = self.address[:2]
            scheme = "https" if tls else "http"
            self.url = f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"

    def connect(self, timeout: float = 10.0) -> socket.socket:
        """Open a client's connection; ``timeout`` seconds guard the test against waiting for ever."""
        if isinstance(self.address, tuple):
            return socket.create_connection(self.address, timeout)
        client = socket.socket(socket.AF_UNIX)
        try:
            client.settimeout(timeout)
            client.connect(self.address)
        except BaseException:
            client.close()
            raise
        return client

    def exchange(self, data: bytes, timeout: float = 10.0) -> bytes:
        """Send octets on a connection of their own and return everything that comes until the server closes it."""
        with self.connect(timeout) as client:
            client.sendall(data)
            return b"".join(iter(lambda: client.recv(65536), b""))


@contextlib.contextmanager
def running(
    app: Application | Handle | DriverFactory,
    *,
    wsgi: bool = True,
    http: HTTPSettings | None = None,
    address: str = "127.0.0.1:0",
    ssl_adapter: Any = None,
    plain: bool = False,
    **server_arguments: Any,
) -> Iterator[RunningServer]:
    """Serve ``app`` while the ``with`` block runs.

    :param app: a WSGI application; with ``wsgi=False`` a plain handler; or anything with ``make_driver``.
    :param http: settings of the HTTP application; by default without an access log.
    :param address: as for :func:`reserve.listen`.
    :param ssl_adapter: speaks TLS there; see :attr:`reserve.Server.ssl_adapter`.
    :param plain: connections begin without TLS all the same, for a handler that calls ``server.start_tls``.
    :param server_arguments: for :class:`~reserve.engine.server.Server`: ``threads=``, ``clock=``, ``poller=`` …
    """
    if wsgi and not hasattr(app, "make_driver"):
        settings = http if http is not None else HTTPSettings(access_log=False)
        app = HTTPApp(WSGIGateway(cast(Application, app)), settings)
    listeners = listen(address)
    try:
        server = Server(listeners, cast(Handle, app), plain=listeners if plain else (), **server_arguments)
        server.ssl_adapter = ssl_adapter
    except BaseException:
        for listener in listeners:
            release(listener)
        raise
    with server:
        server.wait_ready()
        yield RunningServer(server, tls=ssl_adapter is not None and not plain)
