"""The last resort of the command: a process that was told to end does, whatever hangs in it.

A thread of its own keeps the time. When the process has not ended by itself it says what is still there, and leaves
through ``os._exit``. What may hang: a thread of the application that is no daemon, for which the interpreter waits;
what the application does in ``atexit``; a lock that somebody holds who writes to an output that nobody reads.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable

from reserve.cli.console import Console

__all__ = ["ABORTED", "ForceExit"]

ABORTED = 3
"""The exit code of a stop that broke off requests, or left threads behind."""


class ForceExit:
    """One for a process. Any thread may call it.

    :param leave: ends the process with a code.
    """

    SLACK = 0.5
    """Seconds that an orderly end may take beyond the time that it was given."""
    SILENT = 1.0
    """Seconds that the interpreter may take to end before a person is told what it waits for."""

    def __init__(self, console: Console, leave: Callable[[int], object] = os._exit) -> None:
        self._console = console
        self._leave = leave
        self._lock = threading.Lock()
        self._bell = threading.Semaphore(0)
        self._thread: threading.Thread | None = None
        self._deadline = float("inf")
        self._tell_at = float("inf")
        self._code: int | None = None

    def within(self, seconds: float) -> None:
        """The process ends within ``seconds``, and a little more; the earliest such moment counts."""
        self._deadline = min(self._deadline, time.monotonic() + seconds + self.SLACK)
        self._ring()

    def leaving(self, code: int, seconds: float) -> None:
        """Nothing is left to do but to end the interpreter, with ``code``, within ``seconds`` or what is left of
        them.
        """
        self._code = code
        self._tell_at = time.monotonic() + self.SILENT
        self.within(seconds)

    @property
    def is_leaving(self) -> bool:
        """The server is over."""
        return self._code is not None

    def now(self) -> None:
        """The process ends at once."""
        self._leave(self._code or ABORTED)

    def _ring(self) -> None:
        with self._lock:
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="reserve-hard-end", daemon=True)
                self._thread.start()
        self._bell.release()

    def _run(self) -> None:
        while (now := time.monotonic()) < self._deadline:
            if now >= self._tell_at:
                self._tell_at = float("inf")
                self._tell(self._deadline - now - self.SLACK)
            self._bell.acquire(timeout=min(max(0.0, min(self._deadline, self._tell_at) - now), 3600.0))
        self._console.say(f"reserve: the process ends now and leaves behind {self._what_is_left()}\n", 0.1)
        self.now()

    def _tell(self, seconds: float) -> None:
        names = _waited_for()
        if names and seconds > 0:
            self._console.say(
                f"reserve: waiting for threads of the application that are no daemons: {names}; they have "
                f"{seconds:.0f} s more, another signal ends the process at once\n"
            )

    def _what_is_left(self) -> str:
        if self._code is None:
            return "a server that has not come to its end"
        names = _waited_for()
        if names:
            return f"threads of the application that are no daemons: {names}"
        return "what the interpreter does at its end: an atexit function, or an output that nobody reads"


def _waited_for() -> str:
    """Those for whom the interpreter waits before it ends."""
    main = threading.main_thread()
    return ", ".join(sorted(one.name for one in threading.enumerate() if not one.daemon and one is not main))
