"""The generic application: ``handle(socket, client_address, server)``, called on a worker, and :class:`Park`, which
lets a connection wait without a worker.

:class:`HandlerDriver` drives one such connection. Its :meth:`~HandlerDriver.run` calls the handler, which may block as
long as it needs; its other methods never block on the socket.
"""

from __future__ import annotations

import socket
import sys
from collections.abc import Callable
from functools import partial
from typing import Any, Literal, Protocol

from reserve.engine.connections.application import Application
from reserve.engine.connections.connection import Connection
from reserve.engine.connections.driver import CLOSE, LINGER, RUN, Action, Driver, Wait
from reserve.engine.connections.outbox import Outbox
from reserve.engine.connections.peers import address_of, name_of
from reserve.engine.connections.states import CLOSE_IDLE
from reserve.engine.drivers.handshake import step_handshake
from reserve.engine.drivers.starttls import StartTLS
from reserve.engine.polling.poller import READ, WRITE
from reserve.engine.polling.timers import NEVER
from reserve.errors import ApplicationError, UsageError, safe_str, short_repr, type_name

__all__ = ["Handle", "HandlerApplication", "HandlerDriver", "Park"]

Handle = Callable[[socket.socket, "tuple[str, int]", Any], Any]
"""Called with the connected socket, the client's (host, port), and the :class:`reserve.Server`, on a worker.

Returns None (the connection is closed), a :class:`Park`, or what ``server.start_tls`` returned.
"""


class _Peekable(Protocol):
    """The part of ``socket.makefile("rb")`` and ``("rwb")`` that :class:`Park` uses."""

    def peek(self, size: int = 0, /) -> bytes: ...


class Park:
    """Returned by a handler: the connection waits, and no thread waits with it.

    :param resume: called without arguments, on a worker, when the socket is readable. (Also at the end of the stream
        and after an error, which ``recv`` then reports.) It may return what a handler may: None (close) or the next
        Park.
    :param timeout: seconds to wait at most, ``math.inf``: no limit. None (the default): the connection counts as idle.
        It waits for the setting ``idle_timeout`` without any traffic (bytes that ``server.send`` sends count, too), and
        when new clients need its place (``max_connections``), the connections that have been idle longest are closed.
        With a timeout of its own it is not idle.
    :param until: ``"readable"`` (the default) or ``"writable"``.
    :param reader: a binary ``socket.makefile``: bytes in its buffer count as readable.
    :param may_be_early: ``resume`` may be called when nothing has arrived, too, which is rare: the server does not look
        before each call, which saves a system call. For a non-blocking socket, whose ``recv`` raises BlockingIOError
        then; without effect under TLS.
    :param on_timeout: called instead of ``resume`` when the time is over; may return what a handler may. None: the
        connection is closed.
    :param on_close: ``on_close(reason)``, called exactly once, when the connection ends for any reason: ``"done"``
        (None was returned), ``"timeout"``, ``"error"`` (a handler raised), ``"lost"`` (the peer reset or closed it),
        ``"capacity"`` (it was idle, and a new client needed its place), ``"stop"``. A later Park of the same connection
        replaces it.

    Workers call all of them. There is one exception: if a connection is still open at the deadline of a stop, a thread
    of the shutdown calls its ``on_close``, because the workers have ended; or none, if other calls take too long.
    Raises UsageError for invalid arguments.
    """

    __slots__ = ("may_be_early", "on_close", "on_timeout", "reader", "resume", "timeout", "until")

    def __init__(
        self,
        resume: Callable[[], Any],
        *,
        timeout: float | None = None,
        until: Literal["readable", "writable"] = "readable",
        reader: _Peekable | None = None,
        may_be_early: bool = False,
        on_timeout: Callable[[], Any] | None = None,
        on_close: Callable[[str], Any] | None = None,
    ) -> None:
        for name, value in ("resume", resume), ("on_timeout", on_timeout), ("on_close", on_close):
            if not callable(value) and (value is not None or name == "resume"):
                raise UsageError(f"Park({name}={short_repr(value)}): it is {_CALLABLES[name]}")
        if until not in ("readable", "writable"):
            raise UsageError(f"Park(until={short_repr(until)}): it is 'readable' or 'writable'")
        if reader is not None and not hasattr(reader, "peek"):
            raise UsageError(
                f"Park(reader={short_repr(reader)}): it has no peek(); pass what socket.makefile('rb') returned"
            )
        if timeout is not None and not _is_seconds(timeout):
            raise UsageError(f"Park(timeout={short_repr(timeout)}): seconds, zero or more, or None")
        self.resume = resume
        self.timeout = timeout
        self.until = until
        self.reader = reader
        self.may_be_early = may_be_early
        self.on_timeout = on_timeout
        self.on_close = on_close


_CALLABLES = {
    "resume": "a function without parameters",
    "on_timeout": "a function without parameters, or None",
    "on_close": "a function of the reason, or None",
}


def _is_seconds(value: object) -> bool:
    """Whether a value can be added to the time of a clock: an int of any size could not."""
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        return False
    try:
        return float(value) >= 0  # False for NaN
    except OverflowError:
        return False


class HandlerApplication(Application):
    """A plain ``handle`` as an application; made by the server that the handle was passed to.

    :param timeout: seconds of the socket timeout that a handler starts with (``--handler-timeout``).
    :param max_output: bytes that ``server.send`` may leave waiting on one connection (``--max-output``).
    :param idle_timeout: seconds that a connection may be parked without traffic, if its Park has no timeout; 0: no
        limit (``--idle-timeout``).
    """

    def __init__(self, handle: Handle, *, timeout: float, max_output: int, idle_timeout: float = 0.0) -> None:
        self.handle = handle
        self.timeout = timeout
        self.max_output = max_output
        self.idle_timeout = idle_timeout
        own = getattr(handle, "client_speaks_first", None)
        module = sys.modules.get(getattr(handle, "__module__", None) or "")
        self.client_speaks_first = bool(getattr(module, "client_speaks_first", False) if own is None else own)
        """True: the handler runs when the client has sent something; False: at once. Set on the handle or module."""

    def make_driver(self, connection: Connection) -> HandlerDriver:
        return HandlerDriver(self, connection)


class HandlerDriver(Driver):
    """Drives one connection of a plain handler; owned by the connection.

    :meth:`post` is called by any thread, everything else by the connection's owner.
    """

    __slots__ = (
        "_application",
        "_call",
        "_connection",
        "_finished",
        "_idle_since",
        "_on_close",
        "_outbox",
        "_park",
        "_ran",
        "_reason",
        "_sent",
        "_start_tls",
        "_timeout",
        "_wait",
    )

    def __init__(self, application: HandlerApplication, connection: Connection) -> None:
        self._application = application
        self._connection = connection
        self._call: Callable[[], Any] | None = None
        self._park: Park | None = None
        self._on_close: Callable[[str], Any] | None = None
        self._finished = False
        self._ran = False
        """The handler has just run."""
        self._reason = ""
        self._idle_since = 0.0
        self._sent = False
        """There was traffic since the idle time began: a run of the handler, or what ``server.send`` has sent."""
        self._timeout: float | None = application.timeout
        self._start_tls: StartTLS | None = None
        self._wait = Wait("first", READ, NEVER)
        self._outbox = Outbox(connection, application.max_output)
        if not application.client_speaks_first:
            self._call = self._start
        else:
            self._wait.deadline = connection.server.clock.now() + application.timeout

    # ---- the driver ----

    def step(self, events: int, now: float) -> Action:
        if self._call is not None:
            return RUN
        connection = self._connection
        ran, self._ran = self._ran, False
        if connection.detached:
            return CLOSE
        if self._outbox.pieces and self._start_tls is None:  # else it would be sent in plain text
            self.push()
        if self._finished:
            return CLOSE
        if self._start_tls is not None:
            return self._continue_handshake(self._start_tls)
        if connection.output is not None:
            # What server.send() queued is sent first: a handler that ran now could send before it.
            return self._wait
        stopping, park, wait = connection.server.stopping, self._park, self._wait
        if events & READ and park is not None and park.may_be_early and connection.tls is None and not stopping:
            self._call = park.resume
            return RUN
        # Right after a run nothing has arrived as a rule, and the poller reports what arrives.
        polled = ran and not stopping and wait.events == READ and connection.tls is None
        if not (polled and (park is None or park.reader is None)) and self._is_ready(poll=not polled):
            self._call = self._start if park is None else park.resume
            return RUN
        if stopping:
            self._reason = "stop"
            return CLOSE
        if wait.kind == "idle":
            if self._sent:
                self._begin_idle(now)
            elif events & CLOSE_IDLE:
                self._reason = "capacity"
                return CLOSE
        return wait

    def idle_since(self) -> float:
        return self._idle_since

    def expired(self, kind: str, now: float) -> Action:
        if kind == "handshake":
            self._connection.server.tls.handshake_failed()
        if kind == "idle" and self._outbox.pieces:  # it is not idle: the traffic is about to leave
            return self.step(0, now)
        park = self._park
        if park is not None and park.on_timeout is not None:
            self._call = park.on_timeout
            return RUN
        self._reason = "timeout"
        return CLOSE

    def run(self) -> None:
        connection = self._connection
        if connection.final_run:
            on_close, self._on_close = self._on_close, None
            if on_close is not None:
                on_close(self._reason)
            return
        call, self._call = self._call, None
        assert call is not None
        self._park = None
        if self._timeout != 0.0:  # else it is non-blocking, as it was for the engine
            connection.sock.settimeout(self._timeout)
        result = None
        try:
            result = call()
        except (ConnectionError, TimeoutError) as error:
            # As a rule the peer is the cause, not the handler: log one line, no traceback.
            kind = type_name(error)
            connection.server.log.info(
                f"{name_of(address_of(connection.peer))}: {kind}: {safe_str(error)}",
                f"handlers whose client failed: {kind}",
            )
            self._reason = "lost"
        if result is None:
            self._finished = True
        elif isinstance(result, Park):
            self._adopt(result)
        elif isinstance(result, StartTLS):
            self._start_tls = result
            self._wait.kind = "handshake"
            self._wait.deadline = connection.server.clock.now() + connection.server.settings.handshake_timeout
        else:
            raise ApplicationError(
                f"a handler returns None, reserve.Park or what server.start_tls returned, not {type_name(result)}"
            )
        if not connection.detached:
            self._ran = True
            self._timeout = connection.sock.gettimeout() if connection.sock.fileno() >= 0 else None
            if self._timeout != 0.0:
                self._make_nonblocking()

    def on_close(self, reason: str) -> bool:
        self._reason = self._reason or reason
        self._park = self._call = None
        self._outbox.close()
        return self._on_close is not None

    # ---- server.send ----

    def post(self, data: bytes) -> None:
        """Queue bytes for the peer. Any thread; the owner sends them. See :meth:`Outbox.post`."""
        self._outbox.post(data)

    def push(self) -> None:
        """By the owner: send what was queued. See :meth:`Outbox.push`."""
        self._outbox.push()
        self._sent = True

    # ---- the application ----

    def _start(self) -> Any:
        connection = self._connection
        return self._application.handle(connection.sock, address_of(connection.peer), connection.server.facade)

    def _adopt(self, park: Park) -> None:
        self._park = park
        if park.on_close is not None:
            self._on_close = park.on_close
        wait = self._wait
        wait.events = READ if park.until == "readable" else WRITE
        if park.timeout is None:
            wait.kind = "idle"
            self._sent = True  # the step that follows begins the idle time
        else:
            wait.kind = "park"
            wait.deadline = self._connection.server.clock.now() + park.timeout

    def _begin_idle(self, now: float) -> None:
        """There was traffic just now, in one direction or the other."""
        timeout = self._application.idle_timeout
        self._idle_since = now
        self._wait.deadline = now + timeout if timeout > 0 else NEVER
        self._sent = False

    def _continue_handshake(self, start_tls: StartTLS) -> Action:
        """By the leader, not on a worker: go on with the handshake that ``server.start_tls`` began."""
        connection = self._connection
        server = connection.server
        try:
            complete = step_handshake(connection, start_tls.tls, self._wait)
        except OSError as error:
            server.tls.handshake_failed()
            text = f"the TLS handshake failed: {safe_str(error)}"
            server.log.info(f"{name_of(address_of(connection.peer))}: {text}", "TLS handshakes that failed")
            self._reason = "lost"
            return LINGER
        if not complete:
            return self._wait
        server.tls.handshake_done(start_tls.tls)
        connection.trust_tls()
        self._start_tls = None
        self._call = partial(start_tls.then, start_tls.tls)
        return RUN

    def _make_nonblocking(self) -> None:
        """Make the socket non-blocking for the engine. If the handler has closed it, the connection ends."""
        try:
            self._connection.sock.setblocking(False)
        except OSError:
            self._finished = True

    def _is_ready(self, *, poll: bool) -> bool:
        """Say whether what this connection waits for has happened; checked because every event may be spurious.

        :param poll: False: do not ask the socket for bytes, because the connection parks anyway when there are none: a
            system call in vain costs a command of Redis a tenth.
        """
        connection = self._connection
        park = self._park
        try:
            if park is not None and park.reader is not None and park.reader.peek(1):
                return True
        except OSError:
            return True  # the handler sees it when it reads
        if self._wait.events == WRITE:
            return connection.writable_now()
        if connection.tls is not None:
            return connection.tls.readable_now()
        if not poll:
            return False
        try:
            connection.sock.recv(1, socket.MSG_PEEK)
        except (BlockingIOError, InterruptedError):
            return False
        except OSError:
            pass  # the handler sees it when it receives
        return True
