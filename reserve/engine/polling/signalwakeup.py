"""The main thread waits here until a server has stopped, and still runs every signal handler in time.

Python runs signal handlers on the main thread, between two instructions. When a signal arrives just before that thread
blocks on a lock, its handler runs only after the lock is released, which here may be never. So the main thread waits
for a descriptor that every signal makes readable (``signal.set_wakeup_fd``); each time it is, Python runs the handlers
and the thread waits again.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import threading

from reserve.wait import wait_for

__all__ = ["SignalWakeup"]


class SignalWakeup:
    """A context manager for the thread that calls :meth:`~reserve.engine.server.Server.start`, which owns it.

    That thread calls :meth:`wait`; the thread that runs the shutdown calls :meth:`signal`. On another thread than the
    main thread it is a plain wait, because no signal handler runs there.

    :param finished: set when the server has stopped.
    """

    def __init__(self, finished: threading.Event) -> None:
        self._finished = finished
        self._reader, self._writer = socket.socketpair()
        self._reader.setblocking(False)
        self._writer.setblocking(False)
        self._installed = False
        """The wake-up descriptor of :mod:`signal` is :attr:`_writer`."""

    def __enter__(self) -> SignalWakeup:
        if threading.current_thread() is threading.main_thread():
            previous = signal.set_wakeup_fd(self._writer.fileno(), warn_on_full_buffer=False)
            if previous == -1:
                self._installed = True
            else:  # an event loop of the program has installed its own: that stays
                signal.set_wakeup_fd(previous)
                self._forward_signals(previous)
        return self

    def __exit__(self, *exc_info: object) -> None:
        if self._installed:
            self._installed = False
            own = self._writer.fileno()
            current = signal.set_wakeup_fd(-1)
            if current not in (-1, own):  # a signal handler of the program has installed another one meanwhile
                signal.set_wakeup_fd(current)
                self._forward_signals(current)
        self._reader.close()
        self._writer.close()

    def _forward_signals(self, fd: int) -> None:
        """Copy the signals that arrived here for a moment to the descriptor of the program's own event loop."""
        with contextlib.suppress(OSError):  # none arrived; or the other one is full, and so is readable anyway
            os.write(fd, self._reader.recv(4096))

    def wait(self) -> None:
        """Block until the server has stopped. Signal handlers run meanwhile; this call raises what they raise."""
        while not self._finished.is_set():
            # ValueError, OSError: closed, because this is a child that a signal handler has forked.
            with contextlib.suppress(OSError, ValueError):
                wait_for(self._reader.fileno(), None)
                while self._reader.recv(4096):
                    pass

    def after_fork(self, finished: threading.Event) -> None:
        """In a forked child: close its copies of the descriptors.

        :param finished: takes the place of the parent's event, because the server belongs to the parent.
        """
        self._finished = finished
        if self._installed:
            self._installed = False
            with contextlib.suppress(ValueError):  # not the main thread of an interpreter: no handler runs here
                signal.set_wakeup_fd(-1)
        self._reader.close()
        self._writer.close()

    def signal(self) -> None:
        """Wake the waiting thread, if it waits. Called by the thread that set ``finished``, any number of times."""
        with contextlib.suppress(OSError):
            self._writer.send(b"\0")
