"""The accept thread: a tight loop that takes connections from the listeners and puts them onto the queue.

It writes nothing to clients, shakes no hands, resolves no names and never waits for the queue. Listeners are
non-blocking and may be shared with other processes, so they are never shut down. When no descriptor is left it pauses
until a connection has been closed; what the log says of that is :class:`~reserve.engine.shortage.PauseLog`'s affair.
"""

from __future__ import annotations

import contextlib
import errno
import selectors
import socket
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, cast

from reserve.engine.logs.errorlog import ErrorLog
from reserve.engine.polling.clock import Clock, SystemClock
from reserve.engine.polling.poller import RETRY
from reserve.engine.polling.timers import NEVER
from reserve.engine.polling.wakeup import Wakeup
from reserve.engine.shortage import PauseLog
from reserve.wait import wait_for

__all__ = ["Acceptor"]

_DEAD = {errno.EBADF, errno.EINVAL, errno.ENOTSOCK}  # closed or shut down by somebody else: it never recovers
_EXHAUSTED = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}
_LAST = 64  # batches at the end: a flood of newcomers does not put the end off
_RECLAIM = 16  # idle connections closed at once to make room: a few more than the newcomers that are likely to wait
_BATCH = 64  # accepted from one listener before the next has its turn
_PAUSE = 1.0  # seconds until it tries again although nothing was closed here: another process may have made room
_SYSTEM = SystemClock()


class Acceptor:
    """Calls ``admit(socket, peer address, listener)`` for each new connection, on its own thread.

    :param on_end: called on the same thread when :meth:`stop` ended the loop: the server's orderly end runs there.
    :param may_accept: is one more connection within the limit?
    :param reclaim: have up to so many idle connections closed, because there is no room for new ones.
    :param count: how many connections are open.
    """

    def __init__(
        self,
        listeners: Sequence[socket.socket],
        admit: Callable[[socket.socket, Any, socket.socket], None],
        on_end: Callable[[], None],
        log: ErrorLog,
        *,
        may_accept: Callable[[], bool] = lambda: True,
        reclaim: Callable[[int], None] = lambda count: None,
        count: Callable[[], int] = lambda: 0,
        clock: Clock = _SYSTEM,
    ) -> None:
        self._listeners = listeners
        self._admit = admit
        self._on_end = on_end
        self._log = log
        self._may_accept = may_accept
        self._reclaim = reclaim
        self._clock = clock
        self._shortage = PauseLog(log, clock.now, count)
        self._stopping = False
        self._dead: list[socket.socket] = []
        self.wakeup = Wakeup()
        self.exhausted = False
        """No room: it pauses until :meth:`room`. Stays true until nobody is left waiting."""
        self.accepted = 0
        self.thread = threading.Thread(target=self._main, name="reserve-accept", daemon=True)

    def stop(self) -> None:
        """End the loop. Any thread, any signal handler, any number of times."""
        self._stopping = True
        self.wakeup.signal()

    def capacity_freed(self) -> None:
        """There is room for one more."""
        if self.exhausted:
            self.wakeup.signal()

    @property
    def has_no_listener(self) -> bool:
        """Every listener is gone: nobody can come any more."""
        return len(self._dead) >= len(self._listeners)

    def _look_around(self) -> None:
        """The clock has jumped. A pause goes on: it is for room alone."""
        if self._shortage.due != NEVER and not self.exhausted:
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
        self._clock.subscribe(self._look_around)
        try:
            while not self._stopping:
                try:
                    self._turn(selector)
                except (MemoryError, SystemError) as error:  # the newcomer in hand is lost, and not the server
                    with contextlib.suppress(MemoryError):
                        self._log.failure("a new connection was lost", error)
            # What the kernel has accepted for us already is served, not reset.
            for listener in [one for one in self._listeners if one not in self._dead]:
                for _ in range(_LAST):
                    if not self._accept(listener):
                        break
        finally:
            self._clock.unsubscribe(self._look_around)
            selector.close()

    def _turn(self, selector: selectors.BaseSelector) -> None:
        shortage, timeout = self._shortage, None
        if shortage.due != NEVER:
            shortage.look()
            timeout = self._clock.timeout(shortage.due)
        for key, _ in selector.select(timeout):
            if key.fd == self.wakeup.fd:
                if not self.wakeup.clear():  # somebody has closed it; it is "readable" from now on
                    time.sleep(RETRY)
            elif not self._accept(cast(socket.socket, key.fileobj)) and key.fileobj in self._dead:
                selector.unregister(key.fileobj)

    def _accept(self, listener: socket.socket) -> bool:
        """Take a batch; False when there is no more for now."""
        admit = self._admit
        for _ in range(_BATCH):
            if not self._may_accept() and not self._stopping:
                if listener.fileno() >= 0 and not wait_for(listener.fileno(), 0):
                    self.exhausted = False  # nobody waits: there is nothing to say, and nobody to make room for
                    return False
                self._pause("as many connections are open as --max-connections allows", self._may_accept)
                return False
            try:
                sock, peer = listener.accept()
            except (BlockingIOError, InterruptedError):
                self.exhausted = False
                return False
            except OSError as error:
                if error.errno in _EXHAUSTED:
                    self._pause(f"{error.strerror} (errno {error.errno}); raise the limit of open files (ulimit -n)")
                    return False
                if error.errno in _DEAD:
                    self._bury(listener, error)
                    return False
                continue  # that one connection is gone before it was ours
            self.accepted += 1
            admit(sock, peer, listener)
        return True

    def _bury(self, listener: socket.socket, error: OSError) -> None:
        """Somebody in this process has closed it, or shut it down."""
        self._dead.append(listener)
        left = len(self._listeners) - len(self._dead)
        others = f"{left} more {'listens' if left == 1 else 'listen'}"
        nobody = "none is left: nobody can connect, and the health check says unhealthy"
        self._log.error(
            f"a listening socket was closed by somebody else ({error.strerror}); {others if left else nobody}"
        )

    def _pause(self, why: str, over: Callable[[], bool] = lambda: False) -> None:
        """Wait for room, without a look at the listeners: they stay readable, and polling them would spin."""
        self.exhausted = True
        self._shortage.begins(why)
        if not self._stopping and not over():  # there may have been room just before the flag was up
            self._reclaim(_RECLAIM)
            wait_for(self.wakeup.fd, _PAUSE)
            self.wakeup.clear()
            self._shortage.goes_on()
