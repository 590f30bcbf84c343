"""The main thread waits here until a server has stopped, and still runs every signal handler in time.

Python runs signal handlers on the main thread, between two instructions. When a signal arrives just before that thread
blocks on a lock, its handler runs only after the lock is released, which here may be never. So the main thread waits
for a descriptor that every signal makes readable (``signal.set_wakeup_fd``); each time it is, Python runs the handlers
and the thread waits again.

When another part of the program has closed these descriptors, the thread waits without them, and looks for signals once
a second: a signal usually interrupts its wait at once.
"""

from __future__ import annotations

import contextlib
import os
import queue
import signal
import socket
import threading
from collections import deque
from collections.abc import Callable

from reserve.engine.polling.highnumber import move_up
from reserve.wait import wait_for

__all__ = ["SignalWakeup", "call_on_main_thread"]

_LOOK = 1.0
"""Seconds between two looks for signals without a descriptor."""
_waiting: list[SignalWakeup] = []
"""That of the main thread while it waits for the end of a server."""


def call_on_main_thread(function: Callable[[], object]) -> bool:
    """Have the main thread call a function soon; False if it does not wait for the end of a server. Any thread.

    Afterwards its own descriptor is the one of :mod:`signal`, if there is no other.
    """
    for wakeup in list(_waiting):
        wakeup.calls.append(function)
        wakeup.signal()
        return True
    return False


class SignalWakeup:
    """A context manager for the thread that calls :meth:`~reserve.engine.server.Server.start`, which owns it.

    That thread calls :meth:`wait`; the thread that runs the shutdown calls :meth:`signal`. On another thread than the
    main thread it is a plain wait, because no signal handler runs there.

    :param finished: set when the server has stopped.
    """

    def __init__(self, finished: threading.Event) -> None:
        self._finished = finished
        self._reader, self._writer = (socket.socket(fileno=move_up(end.detach())) for end in socket.socketpair())
        self._lost = False
        """Another part of the program has closed a descriptor."""
        self._signalled: queue.SimpleQueue[None] = queue.SimpleQueue()
        """What :meth:`signal` wakes the thread with when the descriptors are closed."""
        self.calls: deque[Callable[[], object]] = deque()
        """Functions that the waiting thread calls: see :func:`call_on_main_thread`."""
        self._reader.setblocking(False)
        self._writer.setblocking(False)
        self._installed = False
        """The wake-up descriptor of :mod:`signal` is :attr:`_writer`."""

    def __enter__(self) -> SignalWakeup:
        if threading.current_thread() is threading.main_thread():
            _waiting.append(self)
            self._install()
        return self

    def _install(self) -> None:
        previous = signal.set_wakeup_fd(self._writer.fileno(), warn_on_full_buffer=False)
        if previous == -1:
            self._installed = True
        else:  # an event loop of the program has installed its own: that stays
            signal.set_wakeup_fd(previous)
            self._forward_signals(previous)

    def __exit__(self, *exc_info: object) -> None:
        with contextlib.suppress(ValueError):
            _waiting.remove(self)
        if self._installed:
            self._installed = False
            own = self._writer.fileno()
            current = signal.set_wakeup_fd(-1)
            if current not in (-1, own):  # a signal handler of the program has installed another one meanwhile
                signal.set_wakeup_fd(current)
                self._forward_signals(current)
        self._close()

    def _close(self) -> None:
        for end in (self._reader, self._writer):
            with contextlib.suppress(OSError):  # another part of the program has closed it
                end.close()

    def _forward_signals(self, fd: int) -> None:
        """Copy the signals that arrived here for a moment to the descriptor of the program's own event loop."""
        with contextlib.suppress(OSError):  # none arrived; or the other one is full, and so is readable anyway
            os.write(fd, self._reader.recv(4096))

    def wait(self, work: Callable[[], object] | None = None) -> None:
        """Block until the server has stopped. Signal handlers run meanwhile; this call raises what they raise.

        :param work: called before each wait, so after each :meth:`signal`; this call raises what it raises.
        """
        while not self._finished.is_set():
            while self.calls:
                self.calls.popleft()()
                if not (self._lost or self._installed):
                    self._install()
            if work is not None:
                work()
                if self._finished.is_set():
                    break
            self.wait_once()

    def wait_once(self) -> None:
        """Block until :meth:`signal` is called or a signal arrives; it may return earlier, too. Signal handlers run
        meanwhile; this call raises what they raise.
        """
        if self._lost:
            with contextlib.suppress(queue.Empty):
                self._signalled.get(timeout=_LOOK)
        else:
            self._wait_for_descriptor()

    def _wait_for_descriptor(self) -> None:
        """Wait for the descriptor; find out whether it was closed."""
        try:
            wait_for(self._reader.fileno(), None)
            while self._reader.recv(4096):
                pass
        except BlockingIOError:
            return
        except (OSError, ValueError):  # also in a child that a signal handler has forked
            pass
        # The end of the stream, which only the close of the other end causes, or an error.
        if self._installed:
            self._installed = False
            own = self._writer.fileno()
            current = signal.set_wakeup_fd(-1)  # else the interpreter would report an error for each signal
            if current not in (-1, own):
                signal.set_wakeup_fd(current)
        self._lost = True

    def after_fork(self, finished: threading.Event) -> None:
        """In a forked child: close its copies of the descriptors.

        :param finished: takes the place of the parent's event, because the server belongs to the parent.
        """
        self._finished = finished
        if self._installed:
            self._installed = False
            with contextlib.suppress(ValueError):  # not the main thread of an interpreter: no handler runs here
                signal.set_wakeup_fd(-1)
        self._close()

    def signal(self) -> None:
        """Wake the waiting thread, if it waits. Any thread, any number of times."""
        try:
            self._writer.send(b"\0")
        except BlockingIOError:
            return
        except OSError:
            self._signalled.put(None)
