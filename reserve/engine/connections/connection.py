"""One accepted connection: its socket, its driver, and the token that says whose it is.

A connection is in exactly one :class:`~reserve.engine.connections.states.State`. While it waits (PARKED, FLUSHING,
LINGERING) nobody owns it and its token lies in :attr:`Connection.slot`; whoever pops the token owns it from then on, so
an event, a deadline, a stop and ``server.send`` cannot both win. Only the owner touches the socket, the driver and the
output.

An event for a connection that is owned is left in :attr:`Connection.pending`. The owner puts the token back first and
looks at ``pending`` afterwards; the leader writes ``pending`` first and tries the token afterwards; so one of the two
sees it.
"""

from __future__ import annotations

import socket
import threading
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NoReturn, cast

from reserve.engine.connections.output import PIECE, FilePart, Output
from reserve.engine.connections.states import OWNED, READY
from reserve.engine.polling.poller import WRITE
from reserve.engine.polling.timers import NEVER
from reserve.errors import ClientDisconnected
from reserve.wait import peer_closed, wait_for

if TYPE_CHECKING:
    from reserve.engine.connections.driver import Close, Driver
    from reserve.engine.server import Server
    from reserve.ssl.tlssocket import TLSSocket

__all__ = ["Connection"]


class Connection:
    """Made by the accept thread, used by its owner."""

    __slots__ = (
        "__weakref__",
        "armed",
        "body_disk",
        "body_memory",
        "closing",
        "counted",
        "deadline",
        "detached",
        "driver",
        "failed",
        "fd",
        "final_run",
        "lent",
        "linger_left",
        "must_reset",
        "output",
        "peer",
        "pending",
        "queued_at",
        "reclaim_waiter",
        "recv",
        "send",
        "server",
        "sink",
        "slot",
        "sock",
        "state",
        "timer_at",
        "tls",
        "wait_kind",
        "wants_worker",
        "watched",
    )

    def __init__(self, server: Server, sock: socket.socket, peer: Any) -> None:
        self.server = server
        self.sock = sock
        self.fd = sock.fileno()
        self.peer = peer
        """The raw address of the other end, as ``accept`` gave it."""
        self.recv: Callable[[int], bytes] = sock.recv
        self.send: Callable[[bytes | memoryview], int] = sock.send
        self.sink: Any = sock
        """What the output is flushed into: the socket, or the session of TLS over it."""
        self.tls: TLSSocket | None = None
        """Its TLS, once that has begun; then it is :attr:`sock`, too."""
        self.driver: Driver
        self.state = READY
        self.slot: deque[bool] = deque(maxlen=1)
        self.pending = 0
        self.deadline = NEVER
        self.timer_at = NEVER
        """Where it hangs in :class:`~reserve.engine.polling.timers.Timers`; guarded by the lock there."""
        self.wait_kind = ""
        self.output: Output | None = None
        self.closing: Close | None = None
        self.linger_left = -1
        self.watched = False
        """The poller knows the descriptor."""
        self.armed = 0
        """The events that the poller was last asked for, unless one of them has been seen since."""
        self.wants_worker = False
        """Its driver asked for :meth:`Driver.run` and it waits for a worker."""
        self.queued_at = NEVER
        """Since when; NEVER for a run that must not be refused."""
        self.final_run = False
        """The one run that is left is the driver's farewell; then the socket is closed."""
        self.lent = False
        """A worker is inside its run and has put the token back meanwhile, so that the leader flushes the output."""
        self.failed = False
        """The connection failed while it was lent."""
        self.reclaim_waiter: threading.Lock | None = None
        """Where the worker of a lent connection waits for the token. See :meth:`reclaim`."""
        self.body_memory = 0
        """Octets of a request that wait in memory, and in a file: written by the driver for :meth:`settle`."""
        self.body_disk = 0
        self.counted = (0, 0)
        """What the server's budget knows of it: octets in memory, and in files."""
        self.must_reset = False
        """The close is to be a reset. See :func:`~reserve.engine.connections.closing.reset`."""
        self.detached = False
        """The socket was given away and is not ours to close."""

    # ---- the token ----

    def take(self) -> bool:
        """Own the connection, if nobody does. Any thread."""
        try:
            return self.slot.pop()
        except IndexError:
            return False

    def lend(self) -> None:
        """By the worker: have the output flushed while the application goes on; before the next use of the connection,
        reclaim it.
        """
        self.lent = True
        try:
            self.server.flush_meanwhile(self)
        except (OSError, ValueError) as error:  # it cannot be watched any more: closed, or after the server's end
            self.lent = False
            raise ClientDisconnected(f"the connection cannot be watched: {error}") from None
        except BaseException:  # no memory: it is still the worker's
            self.lent = False
            raise

    def reclaim(self) -> None:
        """By the worker: own a lent connection again; waits, at most for one flush that does not block.

        Raises ClientDisconnected when the connection has failed meanwhile.
        """
        if not self.take():
            while True:
                try:
                    waiter = threading.Lock()
                    break
                except MemoryError:  # without its token the worker could neither go on nor end
                    continue
            waiter.acquire()  # before anyone sees it: who meets the claim releases it
            self.reclaim_waiter = waiter
            # Whoever has the token looks for a claimant after putting it back: one of us two finds the other.
            if not self.take():
                waiter.acquire()
            self.reclaim_waiter = None
        self.lent = False
        self.state = OWNED
        self.wait_kind = ""  # the deadline of the time that it was lent is not one of the time that comes
        if self.failed:
            raise ClientDisconnected("the client went away, or took nothing for longer than --write-timeout")

    def return_token(self) -> None:
        """By the leader: put the token of a lent connection back without waiting for any event."""
        while True:
            self.slot.append(True)
            reclaim_waiter = self.reclaim_waiter
            if reclaim_waiter is None:
                return
            try:
                self.slot.pop()
            except (IndexError, MemoryError):  # somebody else has it: only an empty slot can fail, and be told so
                return
            if self.reclaim_waiter is reclaim_waiter:
                reclaim_waiter.release()
                return
            # That claim has been met already; the connection was lent again meanwhile.

    # ---- TLS, by the owner ----

    def enter_tls(self, tls: TLSSocket) -> None:
        """TLS has begun on the socket, which is the session's now; until :meth:`trust_tls` nothing goes through it."""
        self.tls = tls
        self.sock = cast("socket.socket", tls)
        self.recv = tls.raw_recv
        self.send = _unsafe

    def trust_tls(self) -> None:
        """The handshake is done: everything goes through the session."""
        tls = self.tls
        assert tls is not None
        self.recv = tls.recv_now
        self.send = tls.send_now
        self.sink = tls.sink()

    # ---- by the owner ----

    def write(self, data: bytes) -> None:
        """Send what fits now and keep the rest, by reference, to be flushed.

        Raises ClientDisconnected when the connection has failed.
        """
        output = self.output
        if output is None:
            try:
                sent = self.send(memoryview(data)[:PIECE] if len(data) > PIECE and self.server.others_wait else data)
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

    def write_file(self, fd: int, offset: int, count: int) -> None:
        """Send ``count`` octets of an open file behind what waits already; the descriptor may be closed at once."""
        if self.output is None:
            self.output = Output()
        self.output.append_file(FilePart(fd, offset, count))

    def settle(self) -> None:
        """Count what this connection holds into the server's budget; when it waits, and when it ends."""
        output = self.output
        memory, disk = self.body_memory, self.body_disk
        if output is not None:
            memory += output.held
            disk += output.spooled
        counted = self.counted
        if (memory, disk) != counted:
            self.counted = memory, disk
            self.server.budget.change(memory - counted[0], disk - counted[1])

    def drop_output(self) -> None:
        """Throw away what the peer has not taken."""
        if self.output is not None:
            self.output.close()
            self.output = None
            self.settle()

    def wait(self, timeout: float | None, *, write: bool = False, wake: int = -1) -> bool:
        """Block until the socket is readable (or writable), or the descriptor ``wake`` is readable: only ever on a
        worker. False when ``timeout`` seconds passed.
        """
        tls = self.tls
        if tls is not None:
            if not write and tls.pending():
                return True
            write = tls.cross == WRITE or (write and not tls.cross)
        return wait_for(self.fd, timeout, write=write, wake=wake)

    def peer_closed(self) -> bool:
        """Has the peer closed its end, as far as one look can tell? Octets that wait to be read hide it."""
        if self.tls is not None and peer_closed(self.sock.fileno()):
            return True  # behind its close_notify, which waits to be read as a rule
        try:
            return self._peek() == b""
        except (BlockingIOError, InterruptedError):
            return False
        except OSError:
            return True

    def unread(self) -> bool:
        """Say whether octets that nobody has received have come, as far as one look can tell."""
        try:
            return self._peek() != b""
        except OSError:
            return False

    def _peek(self) -> bytes:
        """Look at what the kernel has. Under TLS that may be a record without content, as far as this look can tell."""
        tls = self.tls
        receive = self.sock.recv if tls is None else tls.raw_recv
        return receive(1, socket.MSG_PEEK)


def _unsafe(data: bytes | memoryview) -> NoReturn:
    raise ConnectionAbortedError("TLS has begun on this connection, and its handshake is not done")
