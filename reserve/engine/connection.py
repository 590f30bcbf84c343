"""One accepted connection: its socket, its driver, and the token that says whose it is.

A connection is in exactly one state (:class:`State`). While it waits (PARKED, FLUSHING, LINGERING) nobody owns it and
its token lies in :attr:`Connection.slot`; whoever pops the token owns it from then on, so an event, a deadline, a
stop and ``server.send`` cannot both win. Only the owner touches the socket, the driver and the output.

An event for a connection that is owned is left in :attr:`Connection.pending`. The owner puts the token back first and
looks at ``pending`` afterwards; the leader writes ``pending`` first and tries the token afterwards; so one of the two
sees it.
"""

from __future__ import annotations

import contextlib
import select
import socket
import struct
import threading
import time
from collections import deque
from enum import IntEnum
from typing import TYPE_CHECKING, Any

from reserve.engine.deadlines import NEVER
from reserve.engine.output import FilePart, Output
from reserve.errors import ClientDisconnected

if TYPE_CHECKING:
    from reserve.engine.driver import Close, Driver
    from reserve.engine.server import Server

__all__ = [
    "CLOSED",
    "DEADLINE",
    "FLUSHING",
    "LINGERING",
    "NUDGE",
    "OWNED",
    "PARKED",
    "READY",
    "RECLAIM",
    "Connection",
    "State",
    "wait_for",
]

DEADLINE = 0x10000
"""In ``pending``: the deadline has passed (never a bit of a poller's mask)."""
RECLAIM = 0x40000
"""In ``pending``: descriptors or connections run short; a connection that is idle should close."""
NUDGE = 0x20000
"""In ``pending``: somebody changed something that the driver should look at (a stop, a ``server.send``)."""


class State(IntEnum):
    """Where a connection is."""

    READY = 0
    """In the queue: the leader will step it."""
    OWNED = 1
    """A thread is stepping it or runs its application."""
    PARKED = 2
    """It waits for the peer, or for its deadline."""
    FLUSHING = 3
    """Its output waits for room."""
    LINGERING = 4
    """The answer is out and our side is shut; it reads and forgets what the peer still sends."""
    CLOSED = 5


# An attribute of an enum class costs ten times a name of the module; a request sets four of them.
READY, OWNED, PARKED, FLUSHING, LINGERING, CLOSED = State


class Connection:
    """Made by the accept thread, used by its owner."""

    __slots__ = (
        "__weakref__",
        "_counted",
        "body_disk",
        "body_memory",
        "claimant",
        "closing",
        "deadline",
        "detached",
        "driver",
        "ending",
        "fd",
        "lent",
        "linger_left",
        "lost",
        "output",
        "peer",
        "pending",
        "queued_at",
        "recv",
        "send",
        "server",
        "slot",
        "sock",
        "state",
        "timer_at",
        "torn",
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
        self.recv = sock.recv
        self.send = sock.send
        self.driver: Driver
        self.state = READY
        self.slot: deque[bool] = deque(maxlen=1)
        self.pending = 0
        self.deadline = NEVER
        self.timer_at = NEVER
        """Where it hangs in :class:`~reserve.engine.deadlines.Deadlines`; guarded by the lock there."""
        self.wait_kind = ""
        self.output: Output | None = None
        self.closing: Close | None = None
        self.linger_left = -1
        self.watched = False
        """The poller knows the descriptor."""
        self.wants_worker = False
        """Its driver asked for :meth:`Driver.run` and it waits for a worker."""
        self.queued_at = NEVER
        """Since when; NEVER for a run that must not be refused."""
        self.ending = False
        """The one run that is left is the driver's farewell; then the socket is closed."""
        self.lent = False
        """A worker is inside its run and has put the token back meanwhile, so that the leader flushes the output."""
        self.lost = False
        """The connection failed while it was lent."""
        self.claimant: threading.Lock | None = None
        """Where the worker of a lent connection waits for the token. See :meth:`reclaim`."""
        self.body_memory = 0
        """Octets of a request that wait in memory, and in a file: written by the driver for :meth:`settle`."""
        self.body_disk = 0
        self._counted = (0, 0)
        self.torn = False
        """The close is to be a reset. See :meth:`reset`."""
        self.detached = False
        """The socket was given away and is not ours to close."""

    def take(self) -> bool:
        """Own the connection, if nobody does. Any thread."""
        try:
            return self.slot.pop()
        except IndexError:
            return False

    # ---- by the worker that runs its driver ----

    def lend(self) -> None:
        """Have the output flushed while the application goes on; before the next use of the connection, reclaim it."""
        self.lent = True
        try:
            self.server.flush_meanwhile(self)
        except (OSError, ValueError) as error:  # it cannot be watched any more: closed, or after the server's end
            self.lent = False
            raise ClientDisconnected(f"the connection cannot be watched: {error}") from None

    def reclaim(self) -> None:
        """Own a lent connection again; waits, at most for one flush that does not block.

        Raises ClientDisconnected when the connection has failed meanwhile.
        """
        if not self.take():
            bed = threading.Lock()
            bed.acquire()  # before anyone sees it: who meets the claim releases it
            self.claimant = bed
            # Whoever has the token looks for a claimant after putting it back: one of us two finds the other.
            if not self.take():
                bed.acquire()
            self.claimant = None
        self.lent = False
        self.state = OWNED
        self.wait_kind = ""  # the deadline of the time that it was lent is not one of the time that comes
        if self.lost:
            raise ClientDisconnected("the client went away, or took nothing for longer than --write-timeout")

    def give_back(self) -> None:
        """By the leader: put the token of a lent connection back without waiting for any event."""
        self.slot.append(True)
        claimant = self.claimant
        if claimant is not None and self.take():
            if self.claimant is claimant:
                claimant.release()
            else:  # that claim has been met already; the connection was lent again meanwhile
                self.give_back()

    # ---- by the owner ----

    def write(self, data: bytes) -> None:
        """Send what fits now and keep the rest, by reference, to be flushed.

        Raises ClientDisconnected when the connection has failed.
        """
        output = self.output
        if output is None:
            try:
                sent = self.send(data)
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
            memory += output.size
            disk += output.spooled
        counted = self._counted
        if (memory, disk) != counted:
            self._counted = memory, disk
            self.server.budget.change(memory - counted[0], disk - counted[1])

    def drop_output(self) -> None:
        """Throw away what the peer has not taken."""
        if self.output is not None:
            self.output.close()
            self.output = None
            self.settle()

    def make_room(self, memory: int, disk: int, folder: str | None) -> bool:
        """On a worker, before more is written: flush what waits, and move what is over ``memory`` octets to a file.

        False when more than ``disk`` octets have gone to the file already: the writer has to wait, see :meth:`drain`.
        When the server's budget of disk is used up, memory serves; when that is, too, the connection is given up.
        Raises ClientDisconnected when the connection has failed or is given up, OSError when the disk is full.
        """
        output = self.output
        if output is None or self._flush(output) or output.size <= memory:
            return True
        if output.spooled + output.size > disk:
            return False
        budget = self.server.budget
        if budget.disk_for(output.size):
            output.spill(folder)
        elif not budget.memory_for(output.size - self._counted[0]):
            raise ClientDisconnected(
                "a client that reads slowly was given up: --buffer-memory and --spool-disk are used up"
            )
        self.settle()
        return True

    def _flush(self, output: Output) -> bool:
        try:
            done, sent = output.flush(self.sock)
        except OSError as error:
            raise ClientDisconnected(f"the client went away: {error.strerror or error}") from None
        if sent and output.since is not None:
            output.progress_at = self.server.clock.now()
        if done:
            self.output = None
            self.settle()
        return done

    def drain(self, limit: int, timeout: float, rate: int = 0) -> None:
        """Block until at most ``limit`` octets wait in memory: only ever on a worker, for one that writes too fast.

        Raises ClientDisconnected when the peer takes nothing for ``timeout`` seconds, or less than ``rate`` octets a
        second beyond that, or the connection fails.
        """
        output = self.output
        since = time.monotonic()
        gone = 0 if output is None else output.gone
        while output is not None and not self._flush(output):
            if output.size <= limit:
                return
            left = timeout
            if rate:
                left = min(left, since + timeout + (output.gone - gone) / rate - time.monotonic())
            if left <= 0 or not self.wait(left, write=True):
                self.drop_output()  # it has had its time: what waits does not get it once more
                self.reset()
                raise ClientDisconnected(
                    f"the client took too little for {timeout:g} s (--write-timeout, --write-rate)"
                )

    def wait(self, timeout: float | None, *, write: bool = False) -> bool:
        """Block until the socket is readable (or writable): only ever on a worker. False when ``timeout`` seconds
        passed.
        """
        return wait_for(self.fd, timeout, write=write)

    def hung_up(self) -> bool:
        """Has the peer closed its end, as far as one look can tell? Octets that wait to be read hide it."""
        try:
            return self.sock.recv(1, socket.MSG_PEEK) == b""
        except (BlockingIOError, InterruptedError):
            return False
        except OSError:
            return True

    def unread(self) -> bool:
        """Say whether octets that nobody has received have come, as far as one look can tell."""
        try:
            return self.sock.recv(1, socket.MSG_PEEK) != b""
        except OSError:
            return False

    def reset(self) -> None:
        """Make the close that follows a reset: the peer must not take what it has got for the whole."""
        self.torn = True
        with contextlib.suppress(OSError):
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    def shut(self, how: int) -> None:
        """Shut the socket down; one that the peer has reset is down already."""
        with contextlib.suppress(OSError):
            self.sock.shutdown(how)

    def close_socket(self) -> None:
        """Shut down both ways and close, also under a makefile that is still alive (a forked copy is shut, too)."""
        if not self.torn:  # a shutdown would be the orderly end that the peer must not see
            self.shut(socket.SHUT_RDWR)
        fd = self.sock.detach()
        if fd >= 0:
            with contextlib.suppress(OSError):
                socket.close(fd)


def wait_for(fd: int, timeout: float | None, *, write: bool = False) -> bool:
    """Block this thread until the descriptor is readable (or writable); False when ``timeout`` seconds passed."""
    if timeout is not None:
        timeout = min(timeout, 86400.0)  # poll(2) counts milliseconds in an int; callers look at their clock again
    if hasattr(select, "poll"):
        poll = select.poll()
        poll.register(fd, select.POLLOUT if write else select.POLLIN)
        return bool(poll.poll(None if timeout is None else timeout * 1000))
    sets: tuple[list[int], list[int]] = ([], [fd]) if write else ([fd], [])
    return any(select.select(*sets, [], timeout))
