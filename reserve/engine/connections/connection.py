"""One accepted connection: its socket, its driver, and the token that says which thread owns it.

A connection is in exactly one :class:`~reserve.engine.connections.states.State`. While it waits (PARKED, FLUSHING,
LINGERING) no thread owns it and :attr:`Connection.token` holds its token. The thread that takes the token owns the
connection: if an event, a deadline, a shutdown and ``server.send`` come at once, only one of them gets it. Only the
owner uses the socket, the driver and the output.

An event for a connection that is owned is noted in :attr:`Connection.missed`, a notification in
:attr:`Connection.notice`. The owner puts the token back first and then reads both; the other thread writes first and
then tries to take the token. Both pass the lock that the interpreter has for the token's deque, so one of them handles
the event.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NoReturn, Protocol, cast

from reserve.engine.connections.context import ServerContext
from reserve.engine.connections.driver import Close, Driver
from reserve.engine.connections.output import PIECE, FilePart, Output
from reserve.engine.connections.states import OWNED, READY
from reserve.engine.polling.poller import WRITE
from reserve.engine.polling.timers import NEVER
from reserve.engine.polling.token import Token, new_token, take
from reserve.engine.polling.waiter import Waiter
from reserve.errors import ClientDisconnected
from reserve.wait import peer_closed, wait_for

if TYPE_CHECKING:
    from reserve.engine.clients.places import Place
    from reserve.protocol.proxy.header import ProxyHeader
    from reserve.ssl.tlssocket import TLSSocket

__all__ = ["NO_DRIVER", "Connection"]


class Sender(Protocol):
    """What sends bytes: a socket, for example."""

    def send(self, data: bytes | memoryview, /) -> int: ...


NO_DRIVER = Driver()
"""The driver of a connection that has no driver yet, or that is disposed of."""


class Connection:
    """One accepted connection. The accept thread makes it; only the thread that owns it uses it, except where noted.

    :param server: the server that accepted it.
    :param sock: the accepted socket, non-blocking.
    :param peer: the raw address of the other end, as ``accept`` gave it.
    """

    __slots__ = (
        "__weakref__",
        "armed",
        "between_requests",
        "body_disk",
        "body_memory",
        "closing",
        "counted",
        "deadline",
        "detached",
        "driver",
        "edges",
        "failed",
        "fd",
        "final_run",
        "lent",
        "linger_left",
        "missed",
        "must_reset",
        "notice",
        "output",
        "peer",
        "pending",
        "place",
        "proxy",
        "queued_at",
        "reclaim_waiter",
        "sender",
        "server",
        "sink",
        "sock",
        "state",
        "timer_at",
        "tls",
        "tls_memory",
        "tls_recv",
        "token",
        "wait_kind",
        "wants_worker",
        "watched",
    )

    def __init__(self, server: ServerContext[Connection], sock: socket.socket, peer: Any) -> None:
        self.server = server
        self.sock = sock
        self.fd = sock.fileno()
        self.peer = peer
        """The raw address of the client: of the other end, or, after a header of the PROXY protocol, the one in it."""
        self.proxy: ProxyHeader | None = None
        """The header of the PROXY protocol that the connection began with."""
        self.sink: Any = sock
        """What the output is flushed into: the socket, or the TLS session on it."""
        self.sender: Sender = sock
        """What :meth:`write` sends with: :attr:`sink`, except during the handshake of TLS, when it refuses."""
        self.tls: TLSSocket | None = None
        """The TLS session, once the handshake has begun; then :attr:`sock` is the same object."""
        self.tls_recv: Callable[[int], bytes] | None = None
        """What :meth:`recv` calls under TLS: a method of the session; None: there is no TLS."""
        self.driver: Driver = NO_DRIVER
        self.state = READY
        self.token: Token = new_token()
        """The right to use the connection: the deque holds it while the connection waits."""
        self.pending = 0
        """Events that the owner has not seen: the poller's mask, DEADLINE. Written by the thread that has the token; a
        notification is here, too, unless something comes between.
        """
        self.notice = 0
        """What another thread tells the owner: NOTIFY, CLOSE_IDLE, DEADLINE; of several the last one. The owner clears
        it when it steps.
        """
        self.missed = False
        """An event or a notification came while the connection was owned. The owner asks the poller once more then,
        which tells of all that is there: what several threads have found at once needs no order.
        """
        self.deadline = NEVER
        """When the wait ends at the latest, in seconds on the engine's clock."""
        self.timer_at = NEVER
        """When its entry in :class:`~reserve.engine.polling.timers.Timers` comes due; guarded by the lock there."""
        self.wait_kind = ""
        """What it waits for: the kind of the driver's Wait, or ``write``, ``linger``, ``close_notify``."""
        self.output: Output | None = None
        """What could not be sent yet; None: nothing waits."""
        self.closing: Close | None = None
        """Set when the driver, or the straight line, has decided to close; the output is sent first."""
        self.linger_left = -1
        """Bytes that the server still receives while it lingers; -1: it does not linger."""
        self.watched = False
        """The descriptor is registered with the poller."""
        self.armed = 0
        """The events that the poller was last asked for; 0 after the connection was stepped for one of them."""
        self.edges = False
        """The poller reports every arrival (:data:`~reserve.engine.polling.poller.EDGES`)."""
        self.between_requests = False
        """It was parked until its next request, and has :attr:`edges`; or it has just been accepted, and was not parked
        yet. Nothing has looked at that request, which may take the straight line; it may have come with the one before.
        """
        self.wants_worker = False
        """Its driver asked for :meth:`Driver.run` and it waits for a worker."""
        self.queued_at = NEVER
        """Since when it waits for a worker, on the engine's clock; NEVER: its run must not be refused."""
        self.final_run = False
        """The driver's final run is due (:meth:`Driver.on_close` returned True); then the socket is closed."""
        self.lent = False
        """A worker is inside a run and has put the token back meanwhile, so that the leader flushes the output."""
        self.failed = False
        """The connection failed while it was lent."""
        self.reclaim_waiter: Waiter | None = None
        """Where the worker of a lent connection waits for the token. See :meth:`reclaim`."""
        self.body_memory = 0
        """Bytes of a request that wait in memory; written by the driver for :meth:`settle`."""
        self.body_disk = 0
        """Bytes of a request that wait in a file; written like :attr:`body_memory`."""
        self.tls_memory = 0
        """Bytes that the TLS session keeps while the connection waits; written by the engine for :meth:`settle`."""
        self.counted = (0, 0, 0)
        """What the budget counts for it: bytes in memory, bytes of a body in a file, bytes of a response in a file."""
        self.place: Place | None = None
        """The place that it takes of its client's (``--max-connections-per-client``); None: it is not counted."""
        self.must_reset = False
        """The close has to be a reset. See :func:`~reserve.engine.connections.closing.reset`."""
        self.detached = False
        """The application has taken the socket over: the engine does not close it."""

    def drop_driver(self) -> None:
        """Break the reference cycle between driver and connection."""
        self.driver = NO_DRIVER

    # ---- the token ----

    def lend(self) -> None:
        """By the worker, inside its run: give the connection to the leader, which flushes the output meanwhile.

        Before it uses the connection again, the worker calls :meth:`reclaim`.
        """
        self.lent = True
        try:
            self.server.flush_lent(self)
        except (OSError, ValueError) as error:  # the poller cannot watch it: it is closed, or the server has stopped
            self.lent = False
            raise ClientDisconnected(f"the connection cannot be watched: {error}") from None
        except BaseException:  # out of memory: the worker still owns it
            self.lent = False
            raise

    def reclaim(self) -> None:
        """By the worker: own a lent connection again. It waits at most for one flush, which does not block.

        Raises ClientDisconnected when the connection has failed meanwhile.
        """
        if not take(self.token):
            while True:
                try:
                    waiter = Waiter()
                    break
                except MemoryError:  # the worker cannot go on, nor end its run, without the token
                    continue
            self.reclaim_waiter = waiter
            # The thread that has the token puts it back and then looks for a waiter. So either this thread gets the
            # token now, or that thread wakes it.
            if not take(self.token):
                waiter.wait_forever()  # needs no memory: if it failed, the token would go to a waiter that nobody owns
            self.reclaim_waiter = None
        self.lent = False
        self.state = OWNED
        self.wait_kind = ""  # the deadline that was set while it was lent does not apply to the next wait
        if self.failed:
            raise ClientDisconnected("the client went away, or took nothing for longer than --write-timeout")

    def return_token(self) -> None:
        """By the leader: put the token of a lent connection back without waiting for any event."""
        while True:
            self.token.append(True)
            waiter = self.reclaim_waiter
            if waiter is None:
                return
            try:
                self.token.pop()
            except (IndexError, MemoryError):  # pop() fails only if another thread has the token
                return
            if self.reclaim_waiter is waiter:
                waiter.wake_once()
                return
            # That worker took the token already and has lent the connection again meanwhile.

    # ---- TLS, by the owner ----

    def enter_tls(self, tls: TLSSocket) -> None:
        """TLS has begun: the socket belongs to the session now. Until :meth:`trust_tls` the session carries no data."""
        self.tls = tls
        self.sock = cast("socket.socket", tls)
        self.tls_recv = tls.raw_recv
        self.sender = _REFUSING

    def trust_tls(self) -> None:
        """The handshake is complete: from now on all data goes through the session."""
        tls = self.tls
        assert tls is not None
        self.tls_recv = tls.recv_now
        self.sender = self.sink = tls.sink()

    # ---- by the owner ----

    def recv(self, size: int) -> bytes:
        """Receive up to ``size`` bytes that are there: from the socket, or from the TLS session on it. It never waits.

        Raises BlockingIOError when there are none. Empty: the peer has closed its side.
        """
        receive = self.tls_recv
        return self.sock.recv(size) if receive is None else receive(size)

    def write(self, data: bytes) -> None:
        """Send what the socket takes now, and keep a reference to the remaining bytes, which are flushed later.

        Raises ClientDisconnected when the connection has failed.
        """
        output = self.output
        if output is None:
            try:
                sent = self.sender.send(
                    memoryview(data)[:PIECE] if len(data) > PIECE and self.server.others_wait else data
                )
            except (BlockingIOError, InterruptedError):
                sent = 0
            except OSError as error:
                raise ClientDisconnected(f"the client went away: {error.strerror or error}") from None
            if sent == len(data):
                return
            output = self.output = Output()
            output.append(memoryview(data)[sent:])
        else:
            output.append(data)

    def write_file(self, fd: int, offset: int, count: int, *, same: FilePart | None = None) -> FilePart:
        """Append ``count`` bytes of an open file to the output. The caller may close the descriptor afterwards.

        :param same: what this method returned for another range of the same file, of which nothing is sent yet.
        """
        if self.output is None:
            self.output = Output()
        part = FilePart(fd, offset, count, same=same)
        self.output.append_file(part)
        return part

    def write_deadline(self, output: Output, now: float, sent: int = 0) -> float:
        """When the next bytes of the output have to leave, by ``--write-timeout`` and ``--write-rate``.

        :param sent: bytes that have just left.
        """
        settings = self.server.settings
        return output.deadline(now, sent, settings.write_timeout, settings.write_rate)

    def settle(self) -> None:
        """Report what this connection holds to the server's budget; called before it waits and when it closes."""
        output = self.output
        memory, body, response = self.body_memory + self.tls_memory, self.body_disk, 0
        if output is not None:
            memory += output.held
            response = output.spooled
        counted = self.counted
        if (memory, body, response) != counted:
            self.counted = memory, body, response
            self.server.budget.change(memory - counted[0], body - counted[1], response - counted[2])

    def settle_tls(self, tls: TLSSocket) -> None:
        """Report what the TLS session keeps, too; called before the connection waits."""
        held = tls.held
        if held != self.tls_memory:
            self.tls_memory = held
            self.settle()

    def drop_output(self) -> None:
        """Discard the output that is not sent yet."""
        if self.output is not None:
            self.output.close()
            self.output = None
            self.settle()

    def wait(self, timeout: float | None, *, write: bool = False, wake: int = -1) -> bool:
        """Block until the socket is readable (or writable), or the descriptor ``wake`` is readable. Only on a worker.

        False when ``timeout`` seconds passed.
        """
        tls = self.tls
        if tls is not None:
            if not write and tls.pending():
                return True
            write = tls.cross == WRITE or (write and not tls.cross)
        return wait_for(self.fd, timeout, write=write, wake=wake)

    def writable_now(self) -> bool:
        """Say whether the socket takes bytes at this moment."""
        return wait_for(self.fd, 0, write=True)

    def peer_closed(self) -> bool:
        """Say whether the peer has closed its side, as far as is known: bytes that wait to be read may hide it."""
        if self.tls is not None and peer_closed(self.sock.fileno()):
            return True  # its close_notify, as a rule, waits to be read and would hide the end of the stream
        try:
            return self._peek() == b""
        except (BlockingIOError, InterruptedError):
            return False
        except OSError:
            return True

    def has_unread(self) -> bool:
        """Say whether the kernel holds bytes that were not received yet."""
        try:
            return self._peek() != b""
        except OSError:
            return False

    def peek(self, count: int) -> bytes:
        """Look at bytes that the kernel holds. Empty: there are none, or TLS hides them."""
        if self.tls is not None:
            return b""
        try:
            return self.sock.recv(count, socket.MSG_PEEK)
        except OSError:
            return b""

    def _peek(self) -> bytes:
        """Look at the first byte that the kernel holds. Under TLS its record may have no content."""
        tls = self.tls
        receive = self.sock.recv if tls is None else tls.raw_recv
        return receive(1, socket.MSG_PEEK)


class _Refusing:
    """The sender during the handshake of TLS: nothing may leave that is not encrypted."""

    def send(self, data: bytes | memoryview, /) -> NoReturn:
        raise ConnectionAbortedError("TLS has begun on this connection, and its handshake is not complete")


_REFUSING = _Refusing()
