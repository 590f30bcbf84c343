"""The accept thread: takes connections from the listeners and hands them to the admission, nothing else.

It writes nothing to clients, makes no handshake, resolves no name and waits for no worker. While there is no room it
pauses, without polling the listeners, until a connection has been closed; :class:`PauseLog` limits how many lines the
log gets about pauses. After :meth:`Acceptor.retire` it accepts nothing more, and waits until the last connection is
closed. At the end of its loop the server's shutdown runs on the same thread.

With a slot of a scoreboard (several processes share the listeners) it accepts one connection at a time, and stands back
for a moment when another process should rather take it (:meth:`Acceptor._leaves_it`).
"""

from __future__ import annotations

import contextlib
import errno
import math
import os
import selectors
import socket
import time
from collections.abc import Callable, Sequence
from typing import Any, Protocol, cast

from reserve.engine.logs.errorlog import ErrorLog
from reserve.engine.polling.clock import Clock, SystemClock
from reserve.engine.polling.patching import SystemThread, explanation, green_library
from reserve.engine.polling.poller import RETRY
from reserve.engine.polling.timers import NEVER
from reserve.engine.polling.wakeup import Wakeup
from reserve.wait import wait_for

__all__ = ["Acceptor", "PauseLog"]

_DEAD = {errno.EBADF, errno.EINVAL, errno.ENOTSOCK}  # another part of the program closed the listener or shut it down
_EXHAUSTED = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}
_LAST = 64  # batches from each listener at the shutdown, which a flood of new clients must not delay
_IDLE_CLOSED_AT_ONCE = 16  # closed to make room; usually more than the clients that wait at that moment
_BATCH = 64  # connections accepted from one listener before the next listener has its turn
_PAUSE = 1.0  # seconds until the next attempt if no connection was closed: another process may have made room
_HEARTBEAT = 1.0  # seconds between two updates of the scoreboard of an idle process
_STAND_BACK = 0.005  # seconds that a client waits for another process that should rather take it
_STAND_BACK_BUSY = 0.1  # the same for a process without a free worker, where the client would wait anyway
_LOOK = 0.001  # seconds between two looks at the scoreboard meanwhile
_EXEMPT_FIRST, _EXEMPT_MOST = 0.01, 1.0  # seconds without standing back after nobody took a client
_SYSTEM = SystemClock()


def _ignore(what: str) -> None:
    """What happens without listeners when nothing was given."""


def _one_worker() -> int:
    """How many workers are free when nothing was given."""
    return 1


def _nothing() -> None:
    """What happens at the end of a retirement when nothing was given."""


class Admits(Protocol):
    """What the accept thread needs from the admission: :class:`~reserve.engine.admission.Admission` implements it."""

    def may_accept(self) -> bool:
        """Say whether one more connection is within the limit."""

    def count(self) -> int:
        """How many connections are open."""

    def close_idle(self, count: int) -> None:
        """Have up to ``count`` idle connections closed, because there is no room for new ones."""

    def admit(self, sock: socket.socket, peer: Any, listener: socket.socket) -> None:
        """Take over a socket that was accepted from ``listener``."""


class Balances(Protocol):
    """What the accept thread needs from its process's place among others: :class:`~reserve.engine.scoreboard.Slot`
    implements it.
    """

    def update(self, connections: int, free: int, accepted: int) -> None:
        """Tell the others the numbers of this process."""

    def better(self) -> int | None:
        """A number that changes when those accept who should rather do it; None: there are none."""

    def leave(self) -> None:
        """Tell the others that this process accepts nothing until the next update."""


class PauseLog:
    """Logs each period in which new clients have to wait: one line for each reason, and one line when it is over.

    A period consists of the pauses that follow each other within :attr:`CALM` seconds. So clients that fill the server
    again and again cause two lines for the whole period, and not two for each pause. Owned and used by the accept
    thread.

    :param now: the engine's clock.
    :param count: how many connections are open.
    """

    CALM = 2.0
    """Seconds on the engine's clock without a pause, after which the period is over."""

    def __init__(self, log: ErrorLog, now: Callable[[], float], count: Callable[[], int]) -> None:
        self._log = log
        self._now = now
        self._count = count
        self._since = self._until = 0.0
        self._reasons: set[str] = set()
        self.due = NEVER
        """When :meth:`check` has to be called, as far as is known now."""

    def begin(self, why: str) -> None:
        """Note that a pause begins: new clients have to wait. Each reason is logged once in a period."""
        now = self._now()
        if not self._reasons:
            self._since = now
        self._until = now
        self.due = now + self.CALM
        if why not in self._reasons:
            self._reasons.add(why)
            self._log.warning(f"no new connections for now: {why}; {self._count()} are open")

    def extend(self) -> None:
        """Note that clients had to wait until now."""
        self._until = self._now()
        self.due = self._until + self.CALM

    def check(self) -> None:
        """Log the end of the period if it is over."""
        if self._now() >= self.due:
            lasted = self._until - self._since
            self._log.warning(
                f"new connections are accepted as they come again; they had to wait, at times, for {lasted:.1f} s; "
                f"{self._count()} are open"
            )
            self._reasons.clear()
            self.due = NEVER


def _accepting(listener: socket.socket) -> Callable[[], tuple[socket.socket, Any]]:
    """What accepts a connection: ``listener.accept``, but it does not make enums of the listener's family and type for
    each connection, which takes longer than the system call.
    """
    accept = getattr(listener, "_accept", None)  # what socket.accept calls, too
    if accept is None or getattr(type(listener), "accept", None) is not socket.socket.accept:  # it has one of its own
        return listener.accept
    family, kind, protocol = int(listener.family), int(listener.type), listener.proto

    def accepted() -> tuple[socket.socket, Any]:
        fd, peer = accept()
        return socket.socket(family, kind, protocol, fd), peer

    return accepted


class Acceptor:
    """Accepts the connections of one server, on a thread of its own; owned by the server's runtime.

    :param listeners: non-blocking listening sockets.
    :param admission: what takes each new connection over, and knows the limit.
    :param on_end: called on the same thread when :meth:`stop` ended the loop: the server's shutdown.
    :param on_failure: called on the same thread, with the reason, when no listener is left.
    :param on_retired: called on the same thread when a retired server has no connection left, or its time is over, and
        when the time of a drain is over: it begins the stop.
    :param on_idle: called on the same thread when no connection was open for ``exit_idle`` seconds: it retires.
    :param exit_idle: 0: it is never called.
    :param balance: the place among the processes that share the listeners; None: there are no others.
    :param free_workers: how many workers have nothing to do, for the others.
    :param addresses: of the listeners, which one that was closed could not tell.
    """

    def __init__(
        self,
        listeners: Sequence[socket.socket],
        admission: Admits,
        on_end: Callable[[], None],
        log: ErrorLog,
        clock: Clock = _SYSTEM,
        on_failure: Callable[[str], object] = _ignore,
        addresses: Sequence[Any] = (),
        on_retired: Callable[[], object] = _nothing,
        balance: Balances | None = None,
        free_workers: Callable[[], int] = _one_worker,
        on_idle: Callable[[], object] = _nothing,
        exit_idle: float = 0.0,
    ) -> None:
        self._listeners = listeners
        self._accepting = {listener: _accepting(listener) for listener in listeners}
        self._on_failure = on_failure
        self._on_retired = on_retired
        self._on_idle = on_idle
        self._exit_idle = exit_idle
        self._idle_since: float | None = None
        """Since when this thread has seen no open connection, on the engine's clock, with ``exit_idle``."""
        self._balance = balance
        self._free_workers = free_workers
        self._exempt = _EXEMPT_FIRST
        self._exempt_until = -math.inf
        """Until when it does not stand back, on the system's monotonic clock, and for how long the next time."""
        self._addresses = addresses
        self._admission = admission
        self._on_end = on_end
        self._log = log
        self._clock = clock
        self._pause_log = PauseLog(log, clock.now, admission.count)
        self._stopping = False
        self._retire_until: float | None = None
        """Until when a retired server keeps its connections, on the engine's clock; None: it is not retired."""
        self._drain_until = NEVER
        """When the stop begins, on the engine's clock; until then everything goes on."""
        self._dead: list[socket.socket] = []
        self._patched = False
        """It was logged that a library has replaced the threads or sockets of the process."""
        self.wakeup = Wakeup()
        self.exhausted = False
        """There is no room: the thread pauses until :meth:`capacity_freed`. Stays true until no client waits."""
        self.accepted = 0
        """Connections accepted so far."""
        self.thread = SystemThread(target=self._main, name="reserve-accept", daemon=True)

    def stop(self) -> None:
        """End the loop. Any thread, any signal handler, any number of times."""
        self._stopping = True
        self.wakeup.signal()
        if self.wakeup.lost:
            self._connect_to_listeners()

    def drain(self, until: float) -> None:
        """Go on until then on the engine's clock, and begin the stop. As :meth:`retire`, the earliest moment counts."""
        self._drain_until = min(until, self._drain_until)
        self.wakeup.signal()

    def retire(self, until: float) -> None:
        """Accept nothing more, and end the loop when no connection is left, or at ``until`` on the engine's clock. Any
        thread, any signal handler, any number of times: the earliest moment counts.

        What waits in the backlogs is left there, for the process that shares the listeners.
        """
        if self._retire_until is None or until < self._retire_until:
            self._retire_until = until
        self.wakeup.signal()

    def _connect_to_listeners(self) -> None:
        """Wake the accept thread, whose other descriptor was closed, with a connection that ends at once.

        While the thread waits for a listener, the kernel keeps the listener open, even if its number was closed.
        """
        for listener, address in zip(self._listeners, self._addresses, strict=False):
            with contextlib.suppress(OSError), socket.socket(listener.family, listener.type) as sock:
                sock.setblocking(False)
                sock.connect(address)

    def capacity_freed(self) -> None:
        """Try again: there may be room for one more. Any thread."""
        if self.exhausted:
            self.wakeup.signal()

    @property
    def has_no_listener(self) -> bool:
        """Every listener was closed: no client can connect any more."""
        return len(self._dead) >= len(self._listeners)

    def connection_closed(self) -> None:
        """With ``exit_idle``: the last connection may be closed, after it was removed. Any thread."""
        if not self._admission.count():
            self.wakeup.signal()

    def _clock_jumped(self) -> None:
        """Compute the timeout of the poll again. A pause goes on: only room ends it."""
        waits = self._retire_until is not None or self._drain_until != NEVER or self._idle_since is not None
        if waits or (self._pause_log.due != NEVER and not self.exhausted):
            self.wakeup.signal()

    def _main(self) -> None:
        try:
            self._loop()
        finally:
            self._on_end()

    def _loop(self) -> None:
        # Not epoll: a handful of descriptors that never change, and one descriptor less to hold.
        selector = getattr(selectors, "PollSelector", selectors.SelectSelector)()
        for listener in self._listeners:
            selector.register(listener, selectors.EVENT_READ)
        selector.register(self.wakeup.fd, selectors.EVENT_READ)
        self._clock.subscribe(self._clock_jumped)
        try:
            while not self._stopping and self._retire_until is None:
                try:
                    self._turn(selector)
                except (MemoryError, SystemError) as error:  # one new connection is lost, and not the server
                    with contextlib.suppress(MemoryError):
                        self._log.failure("a new connection was lost", error)
            if self._balance is not None:
                self._balance.leave()
            while self._retire_until is not None:
                try:
                    return self._wait_until_retired()
                except MemoryError:  # the connections have their time all the same
                    time.sleep(RETRY)
            # The kernel has completed the connections in the backlogs: they are served. A close would reset them.
            for listener in [listener for listener in self._listeners if listener not in self._dead]:
                for _ in range(_LAST):
                    if not self._accept(listener):
                        break
            self._look_for_patches()  # the stop may have come while the last turn still accepted
        finally:
            self._clock.unsubscribe(self._clock_jumped)
            selector.close()

    def _wait_until_retired(self) -> None:
        """Wait until the last connection is closed, or the time of the retired server is over, or a stop comes.

        The thread that closes a connection removes it before it looks whether the server retires, and this thread
        counts the connections after that was set. So the end of the last one is seen here, or is signalled.
        """
        wakeup, clock = self.wakeup, self._clock
        while not self._stopping and self._admission.count():
            until = self._retire_until
            timeout = clock.timeout(until if until is not None else clock.now())
            if timeout is not None and timeout <= 0:
                break
            wait_for(wakeup.fd, timeout)
            if not wakeup.clear() and not wakeup.reopen():  # closed by the application
                time.sleep(RETRY)
        if not self._stopping:
            self._on_retired()

    def _turn(self, selector: selectors.BaseSelector) -> None:
        pause_log, timeout = self._pause_log, None
        if pause_log.due != NEVER:
            pause_log.check()
        due, exit_at = min(pause_log.due, self._drain_until), self._exit_at()
        if due != NEVER or exit_at != NEVER:
            timeout = self._clock.timeout(min(due, exit_at))
        if self._drain_until != NEVER and self._clock.now() >= self._drain_until:
            self._on_retired()
            return
        self._look_for_patches()
        balance, most = self._balance, _BATCH
        if balance is not None:
            most = 1
            timeout = _HEARTBEAT if timeout is None else min(timeout, _HEARTBEAT)
            self._tell(balance)
        ready = selector.select(timeout)
        if not ready and exit_at != NEVER and self._clock.now() >= exit_at:
            self._on_idle()  # who connects from now on waits in the backlog
            return
        if balance is not None and ready:
            self._tell(balance)
            if any(key.fd != self.wakeup.fd for key, _ in ready) and self._leaves_it(balance):
                ready = [one for one in ready if one[0].fd == self.wakeup.fd]
        for key, _ in ready:
            if key.fd == self.wakeup.fd:
                if not self.wakeup.clear():  # the application has closed its descriptor
                    selector.unregister(key.fd)
                    while not self.wakeup.reopen() and not self._stopping:
                        time.sleep(RETRY)
                    try:
                        selector.register(self.wakeup.fd, selectors.EVENT_READ)
                    except KeyError:  # its new number is that of a listener, which was closed as well
                        listener = cast(socket.socket, selector.unregister(self.wakeup.fd).fileobj)
                        self._give_up_listener(listener, OSError(errno.EBADF, os.strerror(errno.EBADF)))
                        selector.register(self.wakeup.fd, selectors.EVENT_READ)
            elif key.fileobj in self._dead:
                continue
            elif not self._accept(cast(socket.socket, key.fileobj), most) and key.fileobj in self._dead:
                selector.unregister(key.fileobj)

    def _exit_at(self) -> float:
        """When the server has had no connection for ``exit_idle`` seconds; NEVER: it has some, or may have none.

        This thread alone adds connections, and is woken after the last one was removed. So none was open since the
        first look that found none.
        """
        if self._exit_idle <= 0:
            return NEVER
        if self._admission.count():
            self._idle_since = None
            return NEVER
        if self._idle_since is None:
            self._idle_since = self._clock.now()
        return self._idle_since + self._exit_idle

    def _tell(self, balance: Balances) -> None:
        if self.exhausted or not self._admission.may_accept():
            balance.leave()
        else:
            balance.update(self._admission.count(), self._free_workers(), self.accepted)

    def _leaves_it(self, balance: Balances) -> bool:
        """Stand back from a client that another process should rather take. True: look at the listeners again first.

        Nobody may wait for a process that does nothing: when none of them has accepted anything for a few milliseconds,
        this one does, and for a time, which doubles each time up to a second, does not stand back.
        """
        accepted = balance.better()
        if accepted is None or time.monotonic() < self._exempt_until:
            return False
        most = _STAND_BACK if self._free_workers() > 0 else _STAND_BACK_BUSY
        until = time.monotonic() + most
        while time.monotonic() < until:
            if wait_for(self.wakeup.fd, _LOOK):
                return True  # a stop, or room: the next turn clears it
            self._tell(balance)
            if balance.better() != accepted:  # they accept, or there is no longer one who should
                self._exempt = _EXEMPT_FIRST
                return True
        self._exempt_until = time.monotonic() + self._exempt
        self._exempt = min(2 * self._exempt, _EXEMPT_MOST)
        return False

    def _look_for_patches(self) -> None:
        """Log it once when the application has replaced threads or sockets in a request."""
        library = "" if self._patched else green_library()
        if library:
            self._patched = True
            self._log.error(
                f"{explanation(library)}; it came while the server runs, which goes on and starts no more threads: "
                "remove it, or do it when the application is imported, and the server says how to serve it"
            )

    def _accept(self, listener: socket.socket, most: int = _BATCH) -> bool:
        """Take ``most`` connections; False when there is no more for now."""
        admission = self._admission
        accept = self._accepting[listener]
        for _ in range(most):
            if self._retire_until is not None:
                return False
            if not admission.may_accept() and not self._stopping:
                if listener.fileno() >= 0 and not wait_for(listener.fileno(), 0):
                    self.exhausted = False  # no client waits: there is nothing to log, and no need to make room
                    return False
                self._pause("as many connections are open as --max-connections allows", admission.may_accept)
                return False
            try:
                sock, peer = accept()
            except (BlockingIOError, InterruptedError):
                self.exhausted = False
                return False
            except OSError as error:
                if error.errno in _EXHAUSTED:
                    self._pause(f"{error.strerror} (errno {error.errno}); raise the limit of open files (ulimit -n)")
                    return False
                if error.errno in _DEAD:
                    self._give_up_listener(listener, error)
                    return False
                continue  # that one connection was reset before it could be accepted
            self.accepted += 1
            self._idle_since = None
            admission.admit(sock, peer, listener)
        return True

    def _give_up_listener(self, listener: socket.socket, error: OSError) -> None:
        """Stop using a listener that another part of this program has closed or shut down: it never recovers."""
        self._dead.append(listener)
        left = len(self._listeners) - len(self._dead)
        if left:
            self._log.error(
                f"a listening socket was closed by another part of this program ({error.strerror}); "
                f"{left} more {'listens' if left == 1 else 'listen'}"
            )
        else:
            self._on_failure(f"its last listening socket, without which no client can connect ({error.strerror})")

    def _pause(self, why: str, over: Callable[[], bool] = lambda: False) -> None:
        """Wait for room, without polling the listeners: they stay readable, so a poll would return at once.

        :param over: says whether there is room already.
        """
        self.exhausted = True
        self._pause_log.begin(why)
        ending = self._stopping or self._retire_until is not None
        if not ending and not over():  # there may have been room just before the flag was set
            if self._balance is not None:
                self._balance.leave()
            self._admission.close_idle(_IDLE_CLOSED_AT_ONCE)
            left = self._clock.timeout(self._drain_until)
            wait_for(self.wakeup.fd, _PAUSE if left is None else min(left, _PAUSE))
            self.wakeup.clear()
            self._pause_log.extend()
