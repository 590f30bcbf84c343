"""A client with one connection to an application, in memory. Everything runs on the thread of the test."""

from __future__ import annotations

import http.client
import io
import socket
from collections.abc import Iterable
from dataclasses import dataclass
from typing import cast

from reserve.apps.http.app import HTTPApp
from reserve.apps.http.context import HTTPContext
from reserve.apps.http.settings import HTTPSettings
from reserve.engine.connections.application import Application
from reserve.engine.connections.driver import AGAIN, RUN, STORE, Action, Close, Wait
from reserve.engine.drivers.handler import Handle, HandlerApplication
from reserve.engine.polling.poller import READ
from reserve.engine.polling.timers import NEVER
from reserve.gateways.exchange import WSGIApplication
from reserve.gateways.wsgi import WSGIGateway
from reserve.testing.clock import FakeClock
from reserve.testing.memoryserver import MemoryConnection, MemoryServer, MemorySocket

__all__ = ["MemoryClient", "Response"]


_MOST_AT_END = 100
"""Runs of a handler after the end of the stream: one that does not notice the end would run for ever."""


@dataclass(frozen=True, slots=True)
class Response:
    """One response, decoded."""

    status: int
    reason: str
    headers: list[tuple[str, str]]
    body: bytes

    def header(self, name: str) -> str | None:
        """The value of the first field ``name``, which may be in any case; None: there is no such field."""
        return next((value for key, value in self.headers if key.lower() == name.lower()), None)


class MemoryClient:
    """One connection to an application, in memory: deterministic, without sockets, threads and waiting.

    It calls the protocol driver as the engine does: steps it while there is something to read, runs the application
    when the driver asks for it, and flushes the output before anything else happens. The test owns it and calls its
    methods.

    :param app: a WSGI application; with ``wsgi=False`` a plain handler; or an
        :class:`~reserve.engine.connections.application.Application` of any protocol.
    :param settings: of the HTTP application; default: those of ``HTTPSettings()``. There is no access log.
    :param clock: decides about every deadline; :meth:`advance` advances it. Default: one of its own.
    :param server: :attr:`server` of another client, so that a handler can send from one to the other; its clock is the
        clock of both. Default: one of its own.

    Handlers get as much of a socket and of a server as they need to receive, to send and to park: ``recv``, ``send``,
    ``sendall``, ``makefile``, timeouts and ``shutdown``; ``server.send``, ``peer``, ``log``, ``settings`` and
    ``stopping``. What a handler raises, the test gets. One that waits for its client in ``recv`` or ``sendall`` gets an
    AssertionError: use :func:`~reserve.testing.running` for it, as for TLS.

    An application that has to wait for its client gets ClientDisconnected: for more of a streamed body than was sent,
    or for room beyond ``max_response_spool``. While it waits, the test cannot send or read. Use
    :func:`~reserve.testing.running` for such applications.
    """

    def __init__(
        self,
        app: WSGIApplication | Handle | Application,
        settings: HTTPSettings | None = None,
        clock: FakeClock | None = None,
        *,
        wsgi: bool = True,
        server: MemoryServer | None = None,
    ) -> None:
        if server is None:
            server = MemoryServer(clock if clock is not None else FakeClock())
        self.server = server
        self.clock = cast(FakeClock, server.clock)
        if isinstance(app, Application):
            factory: Application = app
        elif wsgi:
            factory = HTTPApp(WSGIGateway(cast(WSGIApplication, app)), settings)
        else:
            engine = server.settings
            factory = HandlerApplication(
                cast(Handle, app),
                timeout=engine.handler_timeout,
                max_output=engine.max_output,
                idle_timeout=engine.idle_timeout,
            )
        if isinstance(factory, HTTPContext):
            factory.gateway.use_log(self.server.log.failure, self.server.log.warning)
        self.socket = MemorySocket()
        self._connection = MemoryConnection(self.server, cast(socket.socket, self.socket), self.socket.peer)
        self._driver = self._connection.driver = factory.make_driver(self._connection)
        self._wait: Wait | None = None
        self._closing = False
        self._write_deadline = NEVER
        self.closed = False
        """The server has closed its end."""
        server.connections[self.socket] = self._connection, self._step
        self._carry_out(self._driver.step(0, self.clock.now()))
        server.deliver()

    @property
    def log(self) -> list[str]:
        """The lines of the server's error log, with tracebacks."""
        return [text for _, text in self.server.log.lines]

    def send(self, data: bytes) -> bytes:
        """Send bytes. Returns everything that the server has sent and that no call has returned before."""
        self.socket.incoming += data
        if not self.closed and self._flushed():
            self._carry_out(self._driver.step(READ, self.clock.now()))
        self.server.deliver()
        return self.take()

    def end(self) -> bytes:
        """Shut down the client's side; returns as :meth:`send` does."""
        self.socket.ended = True
        return self.send(b"")

    def read(self, room: int | None) -> bytes:
        """Have the socket take ``room`` more bytes (None: any number) from now on; returns as :meth:`send` does.

        0 before the first request makes a client that does not read.
        """
        self.socket.room = room
        return self.send(b"")

    def stop(self) -> bytes:
        """Begin to stop the server; returns as :meth:`send` does."""
        self.server.retiring = self.server.stopping = True
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
            self._carry_out(self._driver.expired(self._wait.kind, now))
        self.server.deliver()
        return self.take()

    def take(self) -> bytes:
        """Return what the server has sent and no call has returned before, to this client by others as well."""
        data = bytes(self.socket.outgoing)
        self.socket.outgoing.clear()
        return data

    def request(
        self, method: str, target: str, headers: Iterable[tuple[str, str]] = (), body: bytes | None = None
    ) -> Response:
        """Send one request and decode its response. Host and Content-Length are added when they are missing.

        Raises ``http.client.HTTPException`` when the response is not complete.
        """
        fields = list(headers)
        names = {name.lower() for name, _ in fields}
        if "host" not in names:
            fields.insert(0, ("Host", "testserver"))
        if body is not None and not names & {"content-length", "transfer-encoding"}:
            fields.append(("Content-Length", str(len(body))))
        head = f"{method} {target} HTTP/1.1\r\n" + "".join(f"{name}: {value}\r\n" for name, value in fields) + "\r\n"
        raw = self.send(head.encode("latin-1") + (body or b""))
        response = http.client.HTTPResponse(cast(socket.socket, _ReceivedSocket(raw)), method=method)
        try:
            response.begin()
            return Response(response.status, response.reason, response.getheaders(), response.read())
        finally:
            response.close()

    def close(self) -> None:
        """Close the connection from the client's side, and have the driver free what it holds."""
        if not self.closed:
            self.end()
        if not self.closed:
            self._finish("lost")
        self.server.deliver()

    def _step(self) -> None:
        """A handler has sent something to this connection."""
        if self._flushed():
            self._carry_out(self._driver.step(0, self.clock.now()))

    def _flushed(self) -> bool:
        """Send what waits in the output; False while there is no room for all of it, or when the connection closed."""
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

    def _carry_out(self, action: Action) -> None:
        """Carry out what the driver decided, and step it until it waits."""
        incoming = self.socket.incoming
        runs_at_end = 0
        while True:
            if isinstance(action, Close):
                self._closing = True
                if self._connection.output is None:
                    self._finish("done")
                else:
                    self._flushed()
                return
            if action is RUN or action is STORE:
                if action is RUN:
                    runs_at_end += self.socket.ended and not incoming
                    if runs_at_end > _MOST_AT_END:
                        raise AssertionError("the handler goes on receiving after the end of the stream")
                    self._run()
                else:
                    self._driver.store()
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

    def _run(self) -> None:
        """Run the driver, and call what the application wants to have called afterwards."""
        server = self.server
        server.running = self._connection
        try:
            self._driver.run()
        finally:
            server.running = None
            while server.after_run:
                try:
                    server.after_run.pop(0)()
                except Exception as error:
                    server.log.failure("a function of reserve.after_response failed", error)

    def _finish(self, reason: str) -> None:
        self.closed = True
        del self.server.connections[self.socket]
        if self._driver.on_close(reason):
            self._connection.final_run = True
            self._driver.run()
        if self._connection.output is not None:
            self._connection.output.close()
            self._connection.output = None


class _ReceivedSocket:
    """Bytes that were received, with as much of a socket as ``http.client`` needs."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def makefile(self, mode: str) -> io.BytesIO:
        return io.BytesIO(self._data)
