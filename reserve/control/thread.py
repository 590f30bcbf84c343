"""The control socket of a server with one process: the thread ``reserve-control``, which no worker can keep waiting.

It is started before the application is imported, so that an import that hangs can be looked at.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import socket
import time
from collections import deque
from collections.abc import Callable, Sequence

from reserve.control.commands import Target
from reserve.control.listener import ControlListener
from reserve.engine import fork
from reserve.engine.polling.highnumber import move_up
from reserve.engine.polling.patching import SystemThread
from reserve.engine.polling.threads import start_service
from reserve.errors import print_exception

__all__ = ["ControlThread"]

_JOIN_TIMEOUT = 1.0


class ControlThread:
    """The thread of the control sockets. The main thread makes, starts and closes it.

    :param listeners: the sockets, and whether each is for looking only. They belong to the caller.
    :param target: carries the commands out, on the thread.
    :param now: seconds of a monotonic clock.
    """

    def __init__(
        self,
        listeners: Sequence[tuple[socket.socket, bool]],
        target: Target,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._now = now
        # poll(2) has no descriptor that the application could close, as epoll has.
        self._selector: selectors.BaseSelector = getattr(selectors, "PollSelector", selectors.DefaultSelector)()
        self._control = ControlListener(target, self._selector, now)
        self._reader, self._writer = (move_up(fd) for fd in os.pipe())
        self._closing = False
        self._calls: deque[Callable[[], object]] = deque()
        self._selector.register(self._reader, selectors.EVENT_READ)
        for sock, readonly in listeners:
            self._control.listen(sock, readonly=readonly)
        self._thread = SystemThread(target=self._run, name="reserve-control", daemon=True)

    def start(self) -> None:
        """Start it. Raises StartupError when the system starts no more threads."""
        start_service(self._thread)
        fork.watch(self)

    def call_soon(self, function: Callable[[], object]) -> None:
        """Have the thread call a function. Any thread."""
        self._calls.append(function)
        with contextlib.suppress(OSError):  # closed by the application: it is called at the next event
            os.write(self._writer, b"\0")

    def close(self) -> None:
        """Disconnect the clients and end the thread. A second call does nothing."""
        if self._closing:
            return
        self._closing = True
        fork.forget(self)
        with contextlib.suppress(OSError):  # closed by the application
            os.write(self._writer, b"\0")
        if self._thread.ident is not None:
            self._thread.join(_JOIN_TIMEOUT)
        if not self._thread.is_alive():
            self._close_descriptors()

    def close_copies(self) -> None:
        """In a forked child: close its copies, so that clients see their end when the server closes them."""
        for sock in self._control.sockets():
            fd = sock.detach()
            if fd >= 0:
                with contextlib.suppress(OSError):
                    socket.close(fd)
        self._close_descriptors()

    def _close_descriptors(self) -> None:
        for fd in (self._reader, self._writer):
            with contextlib.suppress(OSError):
                os.close(fd)
        self._reader = self._writer = -1

    def _read_pipe(self) -> bool:
        """Read what has woken the thread; False: there is nothing to read."""
        try:
            return bool(os.read(self._reader, 4096))
        except OSError:
            return False

    def _run(self) -> None:
        try:
            while not self._closing:
                at = self._control.timeout()
                for key, events in self._selector.select(None if at == float("inf") else max(0.0, at - self._now())):
                    if key.data is self._control:
                        self._control.handle(key.fileobj, events)
                    elif not (self._closing or self._read_pipe()):
                        # The application has closed it, and it would be reported without end.
                        self._selector.unregister(key.fileobj)
                while self._calls and not self._closing:
                    self._calls.popleft()()
                if not self._closing:
                    self._control.act()
            self._control.close()
        except BaseException as error:  # without the control socket the server serves on
            if not self._closing:
                print_exception(error)
