"""A client of one connection whose requests take the straight line or not: the same program, to compare what comes out.

It runs without pytest, too (:mod:`tests.apps.http.straightload`).
"""

from __future__ import annotations

import contextlib
import re
import select
import socket
from collections import deque
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, cast
from unittest import mock

from reserve.apps.http import straightforms
from reserve.apps.http.app import HTTPApp
from reserve.apps.http.settings import HTTPSettings
from reserve.engine.connections.connection import Connection
from reserve.engine.connections.driver import AGAIN, RUN, STORE, Close, Wait
from reserve.engine.connections.straightline import DECLINED, MORE, StraightLine
from reserve.engine.polling.poller import READ
from reserve.gateways.streams import ErrorStream
from reserve.gateways.wsgi import WSGIGateway
from reserve.testing import FakeClock
from reserve.testing.memoryserver import MemoryServer

COMPILED = [None, "Python", *(["C"] if straightforms.is_compiled() else [])]
"""For tests that compare: None is the general path."""
_DATE = re.compile(rb"Date: [^\r]+\r\n")


def make_line(form: str, context: HTTPApp, server: MemoryServer) -> StraightLine[Connection]:
    """The straight line of an application, in this form."""
    with mock.patch.object(straightforms, "form", return_value=form):
        return straightforms.make_straight_line(context, cast(Any, server))


class PairServer(MemoryServer):
    """A server in memory whose connections are real sockets."""

    def connection_closed(self, connection: Connection) -> None:
        pass


class StraightClient:
    """One connection to a WSGI application, without threads. The test owns it, and closes it.

    The driver and the line are called as the engine does. The first request may take the line, too.

    :param form: of the straight line; None: there is none.
    :param segments: one receive gets one piece of :meth:`send_segments`, as if the next one arrived a moment later.
        Pieces have at most 4096 bytes.
    """

    def __init__(
        self,
        app: Any,
        form: str | None,
        settings: HTTPSettings | None = None,
        *,
        log: bool = True,
        segments: bool = False,
    ) -> None:
        self.errors: list[str] = []
        """What the application has written to ``wsgi.errors``, by line."""
        stream = SimpleNamespace(write=self.errors.append, flush=lambda: None)
        self.http = HTTPApp(WSGIGateway(app, errors=ErrorStream(cast(Any, stream))), settings)
        self.server = PairServer(FakeClock())
        self.http.gateway.use_log(self.server.log.failure, self.server.log.warning)
        self._records: deque[Any] = deque()
        if log:  # the line in C may append to the records itself
            double = SimpleNamespace(put=self._records.append, records=self._records, limit=1000, asleep=False)
            self.http.access_log = cast(Any, double)
        self.client, self._sock = socket.socketpair(type=socket.SOCK_SEQPACKET if segments else socket.SOCK_STREAM)
        for sock in (self.client, self._sock):
            sock.setblocking(False)
        self.connection = Connection(cast(Any, self.server), self._sock, ("127.0.0.1", 50000))
        self.driver: Any = self.http.make_driver(self.connection)
        self.connection.driver = self.driver
        self._line = None if form is None else make_line(form, self.http, self.server)
        self._wait = Wait("keep-alive", READ, 0.0)
        self._received = bytearray()
        self.outcomes: list[float | int] = []
        """What the line has returned."""
        self.closed = False
        self.begin_wait()

    @property
    def records(self) -> list[Any]:
        """Of the access log, without their times."""
        return [tuple(record)[1:] for record in self._records]

    @property
    def straight(self) -> int:
        """How many requests the line has served to the end."""
        return sum(type(outcome) is float or outcome == MORE for outcome in self.outcomes)

    @property
    def log(self) -> list[str]:
        """The error log, each line without its traceback."""
        return [text.partition("\n")[0] for _, text in self.server.log.lines]

    def begin_wait(self) -> None:
        """Let the connection wait for a request as if it had had one."""
        self.driver._wait.kind = "keep-alive"
        self._wait = self.driver._wait
        self._wait.deadline = self.connection.deadline = self.server.clock.now() + self.http.settings.keep_alive

    def use_line(self, form: str) -> None:
        """Make the straight line anew, as a reload of the settings does."""
        self._line = make_line(form, self.http, self.server)

    def use_small_buffer(self) -> None:
        """From now on the server's socket takes only a few kilobytes at once."""
        self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)

    def send(self, *pieces: bytes) -> bytes:
        """Send bytes, each piece as if it arrived on its own. Returns what the server has sent, without ``Date``."""
        for piece in pieces:
            view = memoryview(piece)
            while view and not self.closed:
                with contextlib.suppress(BlockingIOError):
                    view = view[self.client.send(view) :]
                self._go_on()
        self._drain()
        data, self._received = bytes(self._received), bytearray()
        return _DATE.sub(b"", data)

    def send_segments(self, *pieces: bytes) -> bytes:
        """Send pieces that all arrive before the server looks, each for one receive."""
        for piece in pieces:
            assert self.client.send(piece) == len(piece) <= 4096
        self._go_on()
        return self.send()

    def end(self) -> bytes:
        """Shut down the client's side."""
        self.client.shutdown(socket.SHUT_WR)
        self._go_on()
        return self.send()

    def close(self) -> None:
        self.client.close()
        if not self.closed:
            self._close("lost")
        self._sock.close()

    def _go_on(self) -> None:
        more = False
        while not self.closed and (more or self._readable()):
            if self._line is not None and self._wait.kind == "keep-alive" and self.driver.straight is not None:
                outcome = self._called(lambda: cast(Any, self._line)(self.connection, self.server.clock.now()))
                if self.closed:
                    return
                self.outcomes.append(outcome)
                more = outcome == MORE
                if type(outcome) is float or more:
                    assert (self.driver.unparsed != b"") == more
                    if self.connection.closing is not None:
                        self._close("done")
                    continue
                assert outcome == DECLINED or self.driver.straight_response is None
                self.driver.leave_straight_line(self.connection.deadline)
            self._step()

    def _step(self) -> None:
        """Step the driver until it waits for more than there is."""
        while not self.closed:
            self._flush()
            action = self.driver.step(READ, self.server.clock.now())
            if action is RUN:
                self._called(self.driver.run)
            elif action is STORE:
                self.driver.store()
            elif isinstance(action, Close):
                self._flush()
                self._close("done")
            elif action is not AGAIN:
                assert isinstance(action, Wait)
                self._wait = action
                self.connection.deadline = action.deadline
                if not self._readable() or action.kind == "keep-alive":
                    return

    def _called(self, run: Callable[[], Any]) -> Any:
        """Call what runs the application, and what it wants to have called afterwards."""
        server = self.server
        server.running = self.connection
        outcome = None
        try:
            outcome = run()
        except BaseException as error:
            server.log.failure(f"the run failed: {error!r}", error)
            self._close("error")
        finally:
            server.running = None
            while server.after_run:
                server.after_run.pop(0)()
        return outcome

    def _readable(self) -> bool:
        return bool(select.select([self._sock], [], [], 0)[0])

    def _flush(self) -> None:
        """Send what waits in the output to a client that reads."""
        for _ in range(100_000):
            output = self.connection.output
            if output is None:
                return
            if output.flush(self._sock)[0]:
                self.connection.output = None
            self._drain()
        raise AssertionError("the output does not leave")

    def _drain(self) -> None:
        while True:
            try:
                data = self.client.recv(1 << 20)
            except (BlockingIOError, OSError):
                return
            if not data:
                return
            self._received += data

    def _close(self, reason: str) -> None:
        self.closed = True
        self.driver.on_close(reason)
        if self.connection.output is not None:
            self.connection.output.close()
            self.connection.output = None
        self.connection.drop_driver()
        self._sock.shutdown(socket.SHUT_RDWR)

    def observed(self) -> dict[str, Any]:
        """All that must be the same with the straight line and without it."""
        stats = self.server.request_metrics.read()
        return {
            "closed": self.closed,
            "reset": self.connection.must_reset,
            "records": self.records,
            "responses": stats.responses,
            "received": stats.bytes_received,
            "sent": stats.bytes_sent,
            "errors": self.errors,
            "log": self.log,
            "deadline": None if self.closed else self.connection.deadline,
            "phase": None if self.closed else (self._wait.kind, self.driver.describe(), self.driver.running_since()),
        }
