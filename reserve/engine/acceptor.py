"""The accept thread: a tight loop that takes connections from the listeners and puts them onto the queue.

It writes nothing to clients, shakes no hands, resolves no names and never waits for the queue. Listeners are
non-blocking and may be shared with other processes, so they are never shut down. When no descriptor is left it says
so once and pauses until a connection has been closed.
"""

from __future__ import annotations

import errno
import selectors
import socket
import threading
from collections.abc import Callable, Sequence
from typing import Any, cast

from reserve.engine.connection import wait_for
from reserve.engine.logs import Logs
from reserve.engine.wakeup import Wakeup

__all__ = ["Acceptor"]

_DEAD = {errno.EBADF, errno.EINVAL, errno.ENOTSOCK}  # closed or shut down by somebody else: it never recovers
_EXHAUSTED = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}
_BATCH = 64  # accepted from one listener before the next has its turn
_PAUSE = 1.0  # seconds until it tries again although nothing was closed here: another process may have made room


class Acceptor:
    """Calls ``admit(socket, peer address)`` for each new connection, on its own thread.

    :param on_end: called on the same thread when :meth:`stop` ended the loop: the server's orderly end runs there.
    """

    def __init__(
        self,
        listeners: Sequence[socket.socket],
        admit: Callable[[socket.socket, Any], None],
        on_end: Callable[[], None],
        logs: Logs,
    ) -> None:
        self._listeners = listeners
        self._admit = admit
        self._on_end = on_end
        self._logs = logs
        self._stopping = False
        self._dead: list[socket.socket] = []
        self.wakeup = Wakeup()
        self.exhausted = False
        """No descriptors: it pauses until :meth:`room`. Until nobody is left waiting, so that it is said once."""
        self.accepted = 0
        self.thread = threading.Thread(target=self._main, name="reserve-accept", daemon=True)

    def stop(self) -> None:
        """End the loop. Any thread, any signal handler, any number of times."""
        self._stopping = True
        self.wakeup.signal()

    def room(self) -> None:
        """A descriptor has come free."""
        if self.exhausted:
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
        try:
            while not self._stopping:
                for key, _ in selector.select():
                    if key.fd == self.wakeup.fd:
                        self.wakeup.clear()
                    elif not self._accept(cast(socket.socket, key.fileobj)) and key.fileobj in self._dead:
                        selector.unregister(key.fileobj)
            # What the kernel has accepted for us already is served, not reset.
            for listener in self._listeners:
                while self._accept(listener):
                    pass
        finally:
            selector.close()

    def _accept(self, listener: socket.socket) -> bool:
        """Take a batch; False when there is no more for now."""
        admit = self._admit
        for _ in range(_BATCH):
            try:
                sock, peer = listener.accept()
            except (BlockingIOError, InterruptedError):
                self.exhausted = False
                return False
            except OSError as error:
                if error.errno in _EXHAUSTED:
                    self._pause(error)
                    return False
                if error.errno in _DEAD:
                    self._dead.append(listener)
                    self._logs.error(f"a listening socket was closed by somebody else: {error.strerror}")
                    return False
                continue  # that one connection is gone before it was ours
            self.accepted += 1
            admit(sock, peer)
        return True

    def _pause(self, error: OSError) -> None:
        """Wait for room, without a look at the listeners: they stay readable, and polling them would spin."""
        if not self.exhausted:
            self._logs.warning(
                f"no new connections for now: {error.strerror} (errno {error.errno}); "
                "raise the limit of open files (ulimit -n)"
            )
        self.exhausted = True
        if not self._stopping:
            wait_for(self.wakeup.fd, _PAUSE)
            self.wakeup.clear()
