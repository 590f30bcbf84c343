"""Where the main thread waits for the end of a server without sleeping through a signal.

Python runs signal handlers on the main thread, between two instructions. A signal that arrives just before the thread
blocks on a lock is noticed only when the lock is released, which here may be never. So the main thread waits for a
descriptor that every signal makes readable (``signal.set_wakeup_fd``), and looks around each time it is.
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
    """A context for the thread that waits. Elsewhere than on the main thread it is a plain wait: no handler runs
    there.
    """

    def __init__(self, finished: threading.Event) -> None:
        self._finished = finished
        self._reader, self._writer = socket.socketpair()
        self._reader.setblocking(False)
        self._writer.setblocking(False)
        self._ours = False

    def __enter__(self) -> SignalWakeup:
        if threading.current_thread() is threading.main_thread():
            before = signal.set_wakeup_fd(self._writer.fileno(), warn_on_full_buffer=False)
            if before == -1:
                self._ours = True
            else:  # an event loop of the program has it, and it knows better
                signal.set_wakeup_fd(before)
                self._pass_on(before)
        return self

    def __exit__(self, *exc_info: object) -> None:
        if self._ours:
            self._ours = False
            mine = self._writer.fileno()
            now = signal.set_wakeup_fd(-1)
            if now not in (-1, mine):  # a signal handler of the program has set another one meanwhile
                signal.set_wakeup_fd(now)
                self._pass_on(now)
        self._reader.close()
        self._writer.close()

    def _pass_on(self, fd: int) -> None:
        """Hand over the signals that came while it was ours for a moment: whoever waits there must not miss them."""
        with contextlib.suppress(OSError):  # none came; or the other one is full, and so wakes up anyway
            os.write(fd, self._reader.recv(4096))

    def wait(self) -> None:
        """Block until the server has finished; signal handlers run meanwhile, and what they raise comes out here."""
        while not self._finished.is_set():
            # ValueError, OSError: closed, because this is a child that a signal handler has forked.
            with contextlib.suppress(OSError, ValueError):
                wait_for(self._reader.fileno(), None)
                while self._reader.recv(4096):
                    pass

    def after_fork(self, finished: threading.Event) -> None:
        """In a forked child: close its copies. The server that was waited for is another process's."""
        self._finished = finished
        if self._ours:
            self._ours = False
            with contextlib.suppress(ValueError):  # not the main thread of an interpreter: no handler runs here
                signal.set_wakeup_fd(-1)
        self._reader.close()
        self._writer.close()

    def signal(self) -> None:
        """By the thread that finished. Any number of times, also when nobody waits any more."""
        with contextlib.suppress(OSError):
            self._writer.send(b"\0")
