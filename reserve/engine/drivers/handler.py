"""The generic application: ``handle(socket, client_address, server)`` on a worker, and :class:`Park` for "no thread
needed until then".

:class:`HandlerDriver` drives one such connection. Its :meth:`~HandlerDriver.run` calls the application and may block
as long as the application likes; everything else looks at the socket without blocking.
"""

from __future__ import annotations

import socket
import sys
import threading
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, Protocol

from reserve.engine.connections.connection import Connection
from reserve.engine.connections.driver import CLOSE, LINGER, RUN, Action, Wait
from reserve.engine.connections.peers import name_of
from reserve.engine.drivers.starttls import StartTLS
from reserve.engine.polling.poller import READ, WRITE
from reserve.engine.polling.timers import NEVER
from reserve.errors import ApplicationError, ReserveError, UsageError, WantRead, WantWrite, counted
from reserve.wait import wait_for

if TYPE_CHECKING:
    from reserve.engine.server import Server

__all__ = ["Handle", "HandlerDriver", "HandlerFactory", "Park"]

Handle = Callable[[socket.socket, "tuple[str, int]", "Server"], Any]
"""Called with the connected socket, the client's (host, port), and the server. Returns None or a :class:`Park`."""


class _Peekable(Protocol):
    """What ``socket.makefile("rb")`` and ``("rwb")`` return, as far as it is used here."""

    def peek(self, size: int = 0, /) -> bytes: ...


class Park:
    """Returned by a handler: the connection waits, and no thread with it.

    :param resume: called without arguments, on a worker, when the socket is readable (or at its end, or failed: then
        ``recv`` says so). It may return what a handler may: None (close) or the next Park.
    :param timeout: seconds to wait at most; None: for ever.
    :param until: ``"readable"`` or ``"writable"``.
    :param reader: a binary ``socket.makefile``: octets in its buffer count as readable.
    :param on_timeout: called instead of ``resume`` when the time is up; may return what a handler may. Without it the
        connection closes.
    :param on_close: ``on_close(reason)``, called exactly once, when the connection has ended, however it did:
        ``"done"`` (None was returned), ``"timeout"``, ``"error"`` (a handler raised), ``"lost"`` (the peer broke
        off), ``"stop"``. A later Park of the same connection replaces it.

    All of them run on workers; only ``on_close`` of a connection that is cut at the end of a stop may run on the accept
    thread, because the workers have gone home. Raises UsageError for arguments that cannot work.
    """

    __slots__ = ("on_close", "on_timeout", "reader", "resume", "timeout", "until")

    def __init__(
        self,
        resume: Callable[[], Any],
        *,
        timeout: float | None = None,
        until: Literal["readable", "writable"] = "readable",
        reader: _Peekable | None = None,
        on_timeout: Callable[[], Any] | None = None,
        on_close: Callable[[str], Any] | None = None,
    ) -> None:
        if until not in ("readable", "writable"):
            raise UsageError(f"Park(until={until!r}): it is 'readable' or 'writable'")
        if reader is not None and not hasattr(reader, "peek"):
            raise UsageError(f"Park(reader={reader!r}): it has no peek(); pass what socket.makefile('rb') returned")
        if timeout is not None and timeout < 0:
            raise UsageError(f"Park(timeout={timeout!r}): seconds, zero or more, or None")
        self.resume = resume
        self.timeout = timeout
        self.until = until
        self.reader = reader
        self.on_timeout = on_timeout
        self.on_close = on_close


class HandlerFactory:
    """Makes the driver of each connection of one ``handle``."""

    def __init__(self, handle: Handle, *, timeout: float, max_output: int) -> None:
        self.handle = handle
        self.timeout = timeout
        self.max_output = max_output
        own = getattr(handle, "client_speaks_first", None)
        module = sys.modules.get(getattr(handle, "__module__", None) or "")
        self.client_speaks_first = bool(getattr(module, "client_speaks_first", False) if own is None else own)

    def make_driver(self, connection: Connection) -> HandlerDriver:
        return HandlerDriver(self, connection)


class HandlerDriver:
    """One connection of a plain handler."""

    __slots__ = (
        "_call",
        "_connection",
        "_factory",
        "_finished",
        "_on_close",
        "_outbox",
        "_outbox_lock",
        "_outbox_size",
        "_park",
        "_reason",
        "_timeout",
        "_upgrade",
        "_wait",
    )

    def __init__(self, factory: HandlerFactory, connection: Connection) -> None:
        self._factory = factory
        self._connection = connection
        self._call: Callable[[], Any] | None = None
        self._park: Park | None = None
        self._on_close: Callable[[str], Any] | None = None
        self._finished = False
        self._reason = ""
        self._timeout: float | None = factory.timeout
        self._upgrade: StartTLS | None = None
        self._wait = Wait("first", READ, NEVER)
        self._outbox: deque[bytes] = deque()
        self._outbox_size = 0
        self._outbox_lock = threading.Lock()
        if not factory.client_speaks_first:
            self._call = self._start
        else:
            self._wait.deadline = connection.server.clock.now() + factory.timeout

    # ---- the driver ----

    def step(self, events: int, now: float) -> Action:
        if self._call is not None:
            return RUN
        if self._connection.detached:
            return CLOSE
        if self._outbox and self._upgrade is None:  # nobody may read it on the way
            self.push()
        if self._finished:
            return CLOSE
        if self._upgrade is not None:
            return self._shake_hands(self._upgrade)
        if self._connection.output is not None:
            # What was pushed leaves first: a handler that ran now could send past it.
            return self._wait
        if self._happened():
            self._call = self._start if self._park is None else self._park.resume
            return RUN
        if self._connection.server.stopping:
            self._reason = "stop"
            return CLOSE
        return self._wait

    def expired(self, kind: str, now: float) -> Action:
        if kind == "handshake":
            self._connection.server.tls.handshake_failed()
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
        connection.sock.settimeout(self._timeout)
        result = None
        try:
            result = call()
        except (ConnectionError, TimeoutError) as error:
            # The peer's doing as a rule, and no fault of the handler: one line, no traceback.
            server, kind = connection.server, type(error).__name__
            server.log.info(
                f"{name_of(server.address_of(connection))}: {kind}: {error}", f"handlers whose client failed: {kind}"
            )
            self._reason = "lost"
        if result is None:
            self._finished = True
        elif isinstance(result, Park):
            self._adopt(result)
        elif isinstance(result, StartTLS):
            self._upgrade = result
            self._wait.kind = "handshake"
            self._wait.deadline = connection.server.clock.now() + connection.server.settings.handshake_timeout
        else:
            raise ApplicationError(
                f"a handler returns None, reserve.Park or what server.start_tls returned, not {type(result).__name__}"
            )
        if not connection.detached:
            self._timeout = connection.sock.gettimeout() if connection.sock.fileno() >= 0 else None
            self._make_nonblocking()

    def refuse(self, reason: str) -> bytes | None:
        return None

    def expire_run(self) -> bool:
        return False  # what is an answer, and when it begins, only the handler knows; it has a socket timeout

    def refuse_during_run(self, reason: str) -> bytes | None:
        return None

    def describe(self) -> str:
        return ""

    def revoke(self) -> bool:
        return False

    def closed(self, reason: str) -> bool:
        self._reason = self._reason or reason
        self._park = self._call = None
        return self._on_close is not None

    # ---- server.send ----

    def post(self, data: bytes) -> None:
        """Queue octets for the peer. Any thread; the owner sends them. Raises ReserveError when too much waits."""
        with self._outbox_lock:
            output = self._connection.output  # read once: its owner may be done with it at any moment
            waiting = self._outbox_size + (output.size if output is not None else 0)
            if waiting + len(data) > self._factory.max_output:
                raise ReserveError(
                    f"waiting for a peer that does not read: {counted(waiting, 'octet')}; {len(data)} more would pass "
                    f"--max-output {self._factory.max_output}"
                )
            self._outbox.append(data)
            self._outbox_size += len(data)

    def push(self) -> None:
        """By the owner: send what was queued, as far as there is room. Raises ClientDisconnected."""
        with self._outbox_lock:
            pieces = list(self._outbox)
            self._outbox.clear()
            self._outbox_size = 0
        for piece in pieces:
            self._connection.write(piece)

    # ---- the application ----

    def _start(self) -> Any:
        connection = self._connection
        server = connection.server
        return self._factory.handle(connection.sock, server.address_of(connection), server)

    def _adopt(self, park: Park) -> None:
        self._park = park
        if park.on_close is not None:
            self._on_close = park.on_close
        wait = self._wait
        wait.kind = "park"
        wait.events = READ if park.until == "readable" else WRITE
        wait.deadline = NEVER if park.timeout is None else self._connection.server.clock.now() + park.timeout

    def _shake_hands(self, upgrade: StartTLS) -> Action:
        """Off the workers: go on with the handshake that ``server.start_tls`` began."""
        connection = self._connection
        server = connection.server
        wait = self._wait
        try:
            upgrade.tls.handshake_now()
        except WantRead:
            wait.events = READ
        except WantWrite:
            wait.events = WRITE
        except OSError as error:
            server.tls.handshake_failed()
            text = f"the TLS handshake failed: {error}"
            server.log.info(f"{name_of(server.address_of(connection))}: {text}", "TLS handshakes that failed")
            self._reason = "lost"
            return LINGER
        else:
            server.tls.handshake_done(upgrade.tls)
            connection.trust_tls()
            self._upgrade = None
            self._call = partial(upgrade.then, upgrade.tls)
            return RUN
        return wait

    def _make_nonblocking(self) -> None:
        """The engine never blocks on it. A handler that closed its socket itself has ended the connection."""
        try:
            self._connection.sock.setblocking(False)
        except OSError:
            self._finished = True

    def _happened(self) -> bool:
        """Is what this connection waits for there? Looked up, because every event may be spurious."""
        connection = self._connection
        park = self._park
        try:
            if park is not None and park.reader is not None and park.reader.peek(1):
                return True
        except OSError:
            return True  # the handler sees it when it reads
        if self._wait.events == WRITE:
            return wait_for(connection.fd, 0, write=True)
        if connection.tls is not None:
            return connection.tls.readable_now()
        try:
            connection.sock.recv(1, socket.MSG_PEEK)
        except (BlockingIOError, InterruptedError):
            return False
        except OSError:
            pass  # the handler sees it when it receives
        return True
