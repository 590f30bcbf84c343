"""Drives one WebSocket connection: receives and sends off the workers, and runs the handler on them, or beside them.

The thread that owns the connection calls :meth:`WebSocketDriver.step`; it receives, and gives the bytes to the session.
A handler that parks runs on a worker, for its messages (:meth:`WebSocketDriver.run`). A handler with a thread of its
own waits for messages on that thread, which never owns the connection. Whatever any thread sends goes to the outbox, in
the order in which the session has made the frames.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from reserve.apps.websocket.handlers import Handler
from reserve.apps.websocket.websocket import ConnectionClosed, WebSocket
from reserve.engine.connections.driver import AGAIN, CLOSE, LINGER, RUN, Action, Driver, Wait
from reserve.engine.connections.outbox import Outbox
from reserve.engine.connections.peers import name_of_client
from reserve.engine.connections.states import CLOSE_IDLE
from reserve.engine.polling.poller import READ
from reserve.engine.polling.timers import NEVER
from reserve.errors import ApplicationError, ClientDisconnected, ReserveError, safe_str, type_name
from reserve.wait import connection_reset

if TYPE_CHECKING:
    from reserve.apps.http.settings import HTTPSettings
    from reserve.engine.connections.connection import Connection
    from reserve.protocol.websocket.session import Session

__all__ = ["WebSocketDriver"]

_SMALLEST_RECEIVE = 4096
_LARGEST_RECEIVE = 65536
_RECEIVES = 8
"""Calls of recv in one step: the other connections wait during the step."""
_RUNS = 16
"""Messages that one run passes to the handler: then the other connections have their turn."""
_NO_MEMORY = "the server has no memory for the message"
_RETRY = 1.0
"""Seconds after which a thread that waits for room looks again: others may have freed memory."""


class WebSocketDriver(Driver):
    """Drives one connection; owned by it. Any thread may call :meth:`send`, :meth:`close`, :meth:`ping` and
    :meth:`recv`; the connection's owner calls everything else.

    :param session: the protocol, after the handshake.
    :param environ: of the request.
    :param client: the address of the client, where a frontend that is trusted has named it; empty: that of the peer.
    :param received: what the client has sent after its request.
    :param log: writes the line of the access log, at the end; given the bytes that were sent.
    """

    __slots__ = (
        "_behind",
        "_calls",
        "_client",
        "_close_deadline",
        "_condition",
        "_connection",
        "_handler",
        "_has_closed",
        "_has_opened",
        "_idle_since",
        "_log",
        "_message_begun",
        "_message_received",
        "_outbox",
        "_own_thread",
        "_paused",
        "_pong_deadline",
        "_received",
        "_received_at",
        "_runner",
        "_sent",
        "_session",
        "_settings",
        "_told_stop",
        "_wait",
        "ws",
    )

    def __init__(
        self,
        connection: Connection,
        session: Session,
        handler: Handler,
        settings: HTTPSettings,
        environ: dict[str, Any],
        path: str,
        subprotocol: str | None,
        client: str,
        received: bytes,
        log: Callable[[int], None],
    ) -> None:
        self._connection = connection
        self._session = session
        self._handler = handler
        self._settings = settings
        self._client = client
        self._received = received
        self._log: Callable[[int], None] | None = log
        self._condition = threading.Condition(threading.Lock())
        """Guards the session. Notified when a message has come, when there is room to send, and at the end."""
        self._outbox = Outbox(connection, connection.server.settings.max_output)
        self._calls = handler.make_calls()
        self._runner = 0
        """The thread inside :meth:`run`."""
        self._own_thread = 0
        """The thread of a handler that has one."""
        self._has_opened = handler.has_thread
        self._has_closed = False
        self._behind = False
        """The handler has kept the connection from receiving: that time does not count against the client."""
        self._paused = False
        """Nothing is received until the handler has taken messages."""
        self._told_stop = False
        self._sent = 0
        """Bytes of frames."""
        now = connection.server.clock.now()
        self._received_at = self._idle_since = now
        self._message_begun = now
        self._message_received = 0
        self._pong_deadline: float | None = None
        self._close_deadline: float | None = None
        self._wait = Wait("idle", READ, NEVER)
        self.ws = WebSocket(self, environ, path, subprotocol)

    def begin(self, head: bytes) -> bool:
        """Before the first step: send the response to the handshake, and start the thread of a handler that has one.
        False: there are too many such threads, and nothing was sent.
        """
        self._outbox.add(head)
        connection = self._connection
        if self._handler.has_thread and not connection.server.run_beside(connection, self._run_thread):
            self._outbox.close()
            return False
        return True

    # ---- the driver ----

    def step(self, events: int, now: float) -> Action:
        connection, session = self._connection, self._session
        if connection.server.stopping and not self._told_stop and (self._handler.has_thread or not self._wants_run()):
            self._told_stop = True
            self.close(1001, "the server stops")
        wants_run = self._wants_run()
        with self._condition:
            ended = session.ended  # with the lock: the last bytes are in the outbox then
            self._condition.notify_all()  # there may be room to send
        if self._outbox.pieces:
            self._outbox.push()
        if connection.output is not None:
            return self._wait  # what is sent already has to leave first
        if wants_run:
            return self._run_or_fail()
        if ended:
            return LINGER
        if session.unfinished:
            with self._condition:
                session.proceed()
                self._flush_session()
                self._condition.notify_all()
            if self._outbox.pieces:
                self._outbox.push()
            return self._again(now)
        if self._handler.has_thread and self._pauses():
            if connection_reset(connection.fd):
                return CLOSE
            if not self._count_held():
                return self._fail(1013, _NO_MEMORY)
            self._behind = True
            self._wait.kind, self._wait.events, self._wait.deadline = "handler", 0, NEVER
            return self._wait
        if events & CLOSE_IDLE and self._wait.kind == "idle" and not session.incomplete:
            return self._fail(1001, "the server needs the place of idle connections")
        return self._receive(now)

    def idle_since(self) -> float:
        return self._idle_since

    def expired(self, kind: str, now: float) -> Action:
        settings = self._settings
        if kind == "idle":
            if self._outbox.pieces:
                return self.step(0, now)
            with self._condition:
                self._session.ping()
                self._flush_session()
            self._pong_deadline = now + settings.ws_pong_timeout
            self._outbox.push()
            return self._next_wait(now)
        if kind == "pong":
            return self._fail(1011, "no pong came in time")
        if kind == "message":
            return self._fail(1008, "the message came too slowly")
        return CLOSE

    def refuse(self, reason: str) -> bytes | None:
        if reason == "lost":
            return None
        with self._condition:
            self._session.fail(1013, "the server is overloaded")
            return self._session.output()

    def describe(self) -> str:
        return f"WebSocket {self.ws.path[:200]}"

    def client(self) -> str:
        return self._client

    def run(self) -> None:
        """Pass what has come to a handler that parks."""
        ws = self.ws
        if self._connection.final_run:
            self._call(lambda: self._calls.closed(ws))
            return
        self._behind = True
        self._runner = threading.get_ident()
        try:
            if not self._has_opened:
                self._has_opened = True
                if not self._call(lambda: self._calls.open(ws)):
                    return
            for _ in range(_RUNS):
                message = self._take_message()
                if message is None:
                    break
                if not self._call(lambda message=message: self._calls.message(ws, message)):  # type: ignore[misc]
                    break
        finally:
            self._runner = 0
            if self._connection.body_memory:
                self._count_held()

    def on_close(self, reason: str) -> bool:
        with self._condition:
            self._session.receive_eof()
            self._has_closed = True
            self._condition.notify_all()
        self._outbox.close()
        log, self._log = self._log, None
        if log is not None:
            log(self._sent)
        return self._has_opened and not self._handler.has_thread

    # ---- the parts of a step ----

    def _wants_run(self) -> bool:
        """Whether a handler that parks has something to do. What comes after its last message is handled now."""
        if self._handler.has_thread:
            return False
        session = self._session
        if self._has_opened and session.message is None and session.pending:
            with self._condition:
                session.proceed()
                self._flush_session()
        return not self._has_opened or session.message is not None

    def _take_message(self) -> str | bytes | None:
        """The next message; None: no more has arrived."""
        session = self._session
        with self._condition:
            if session.message is None and session.pending:
                session.proceed()
                self._flush_session()
            message, session.message = session.message, None
        return message

    def _pauses(self) -> bool:
        """Whether the thread of the handler has to take a message before more is received."""
        with self._condition:
            self._paused = self._session.message is not None or self._session.pending
            return self._paused

    def _receive(self, now: float) -> Action:
        connection, session = self._connection, self._session
        if self._behind:
            self._behind = False
            self._message_begun = self._received_at = now
        size = _SMALLEST_RECEIVE
        for _ in range(_RECEIVES):
            data, self._received = self._received, b""
            emptied = False
            if not data:
                try:
                    data = connection.recv(size)
                except (BlockingIOError, InterruptedError):
                    break
                emptied = len(data) < size
                size = min(size * 2, _LARGEST_RECEIVE)
            with self._condition:
                if data:
                    session.receive(data)
                    if session.message is not None or self._message_received == 0:
                        self._message_begun, self._message_received = now, 0
                    self._message_received += len(data)
                else:
                    session.receive_eof()
                self._flush_session()
                if session.message is not None or not session.is_open:
                    self._condition.notify_all()
            self._received_at = self._idle_since = now
            self._pong_deadline = None
            if self._outbox.pieces:
                self._outbox.push()
            if self._wants_run():
                return self._run_or_fail()
            if not data:
                return CLOSE
            if session.ended:
                return AGAIN
            if connection.output is not None or session.unfinished or (self._handler.has_thread and self._pauses()):
                return self._again(now)
            if emptied:
                break
        else:
            return self._again(now)
        if not session.incomplete:
            self._message_received = 0
        if not self._count_held():
            return self._fail(1013, _NO_MEMORY)
        return self._next_wait(now)

    def _run_or_fail(self) -> Action:
        """Have a worker pass messages to the handler. What waits for a worker counts as what waits for the client."""
        if self._session.held > _SMALLEST_RECEIVE and not self._count_held():
            return self._fail(1013, _NO_MEMORY)
        return RUN

    def _count_held(self) -> bool:
        """Count the client's bytes in memory into the server's budget; False: there is no room for them."""
        connection, held = self._connection, self._session.held
        grown = held - connection.body_memory
        if not grown:
            return True
        if grown > 0 and held > _SMALLEST_RECEIVE and not connection.server.budget.memory_for(grown):
            return False
        connection.body_memory = held
        connection.settle()
        return True

    def _again(self, now: float) -> Action:
        """Go on after the other connections, but not without end: a client may send and never answer our close."""
        if self._connection.output is not None:
            return self._wait
        wait = self._next_wait(now)
        return CLOSE if wait.kind == "close" and wait.deadline <= now else AGAIN

    def _next_wait(self, now: float) -> Wait:
        """Decide what the connection waits for, and how long."""
        wait, session = self._wait, self._session
        wait.events = READ
        if not session.is_open:
            if self._close_deadline is None:
                self._close_deadline = now + self._settings.ws_close_timeout
            wait.kind, wait.deadline = "close", self._close_deadline
        elif session.incomplete:
            wait.kind = "message"
            wait.deadline = self._message_begun + self._settings.body_allowance(self._message_received)
        elif self._pong_deadline is not None:
            wait.kind, wait.deadline = "pong", self._pong_deadline
        else:
            interval = self._settings.ws_ping
            wait.kind, wait.deadline = "idle", self._received_at + interval if interval else NEVER
        return wait

    def _fail(self, code: int, reason: str) -> Action:
        """Send a close frame as the last bytes, and close."""
        with self._condition:
            self._session.fail(code, reason)
            self._flush_session()
            self._condition.notify_all()
        if self._outbox.pieces:
            self._outbox.push()
        return LINGER

    def _flush_session(self) -> None:
        """With the lock: queue what the session wants to send."""
        data = self._session.output()
        if data:
            self._sent += len(data)
            self._outbox.add(data)

    # ---- the handler ----

    def _call(self, function: Callable[[], Any]) -> bool:
        """Call the handler; False when it raised, and the connection ends."""
        try:
            function()
            return True
        except (ConnectionError, TimeoutError) as error:
            self._connection.server.log.info(
                f"{name_of_client(self._connection)}: {type_name(error)}: {safe_str(error)}",
                f"WebSocket handlers whose client failed: {type_name(error)}",
            )
        except BaseException as error:
            self._connection.server.log.failure(
                f"{self.describe()} from {name_of_client(self._connection)}: the handler failed", error
            )
        with self._condition:
            self._session.fail(1011, "the handler failed")
            self._flush_session()
        return False

    def _run_thread(self) -> None:
        """The thread of a handler that has one."""
        self._own_thread = threading.get_ident()
        if self._call(lambda: self._handler.target(self.ws)):
            self.close(1000, "")
        else:
            self._notify()

    def _notify(self) -> None:
        if not self._has_closed:
            self._connection.server.notify(self._connection)

    # ---- by any thread ----

    @property
    def server(self) -> Any:
        return self._connection.server.facade

    @property
    def is_open(self) -> bool:
        return self._session.is_open and not self._has_closed

    @property
    def close_info(self) -> tuple[int, str]:
        """The code and the reason of the close."""
        with self._condition:
            return self._session.close

    def send(self, message: Any) -> None:
        """See :meth:`WebSocket.send`."""
        session = self._session
        with self._condition:
            if self._has_closed or not session.is_open:
                raise ConnectionClosed(f"{self.ws!r} is closed")
            session.send(message)
            data = session.output()
            while True:
                try:
                    self._outbox.post(data, whole=True)
                    break
                except ReserveError:
                    if threading.get_ident() != self._own_thread:
                        raise
                self._condition.wait(_RETRY)
                if self._has_closed or not session.is_open:
                    raise ConnectionClosed(f"{self.ws!r} is closed")
            self._sent += len(data)
        self._send_now()

    def ping(self, data: bytes) -> None:
        """See :meth:`WebSocket.ping`."""
        with self._condition:
            self._session.ping(data)
            self._flush_session()
        self._send_now()

    def close(self, code: int, reason: str) -> None:
        """See :meth:`WebSocket.close`."""
        with self._condition:
            if not self._has_closed:
                self._session.begin_close(code, reason)
                self._session.proceed()
                self._flush_session()
            self._condition.notify_all()
        self._send_now()

    def _send_now(self) -> None:
        """Send what is in the outbox, if this is the thread of the run; else have the owner send it."""
        if threading.get_ident() == self._runner:
            try:
                self._outbox.push()
            except ClientDisconnected as error:
                raise ConnectionClosed(str(error)) from None
        else:
            self._notify()

    def recv(self, timeout: float | None) -> str | bytes:
        """See :meth:`WebSocket.recv`."""
        if not self._handler.has_thread:
            raise ApplicationError(
                "recv() and iteration are for a handler that is an ordinary function and has a thread of its own; one "
                "that parks gets its messages from on_message(ws, message) or from yield"
            )
        session = self._session
        until = None if timeout is None else time.monotonic() + timeout
        while True:
            message = self._take_message()
            with self._condition:
                resume = self._paused and message is None
                self._paused = self._paused and not resume
            if resume or self._outbox.pieces:
                self._notify()
            if message is not None:
                return message
            with self._condition:
                if session.message is not None or session.pending:
                    continue
                if self._has_closed or not session.is_open:
                    raise ConnectionClosed(f"{self.ws!r} is closed")
                remaining = None if until is None else until - time.monotonic()
                if (remaining is not None and remaining <= 0) or not self._condition.wait(remaining):
                    raise TimeoutError(f"no message came within {timeout:g} s")
