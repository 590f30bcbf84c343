"""The exit of the process at a deadline, whatever blocks the regular one.

The thread ``reserve-force-exit`` waits for the deadline. If the process still runs then, the thread writes what blocks
it and calls ``os._exit``. Three things can block a regular exit: a non-daemon thread of the application, for which the
interpreter waits; a function that the application registered with ``atexit``; and a lock whose holder writes to an
output that no process reads.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable

from reserve.cli.console import Console
from reserve.engine.polling.patching import SystemThread
from reserve.engine.polling.threads import start_service

__all__ = ["ABORTED", "ForceExit"]

ABORTED = 3
"""The exit code after a shutdown that aborted requests or left threads running."""


class ForceExit:
    """The deadline of the process, and the thread that enforces it; the program ``reserve`` has one.

    Any thread may call its methods. The thread runs from the start of the process: at its end there may be none to be
    had (a limit on threads or memory that is reached), and that is the time when it is needed.

    :param console: where the thread writes why it exits.
    :param exit_process: ends the process at once with an exit code.
    """

    GRACE = 0.5
    """Seconds that a regular exit may take beyond its timeout."""
    REPORT_AFTER = 1.0
    """Seconds that the interpreter may take to exit before the thread writes which threads it waits for."""

    def __init__(self, console: Console, exit_process: Callable[[int], object] = os._exit) -> None:
        self._console = console
        self._exit_process = exit_process
        self._what_happens = "the process exits now"
        self._report: Callable[[str, str], bool] = lambda text, about: False
        self._changed = threading.Semaphore(0)
        self._thread = SystemThread(target=self._run, name="reserve-force-exit", daemon=True)
        self._deadline = float("inf")
        self._report_at = float("inf")
        self._exit_code: int | None = None
        self.hands_over = False
        """Whether another program is executed instead of an exit: :meth:`hand_over_by`."""

    def start(self) -> ForceExit:
        """Start the thread. Raises StartupError when the system starts no more."""
        start_service(self._thread)
        return self

    def exit_within(self, timeout: float) -> None:
        """Exit after ``timeout`` and :attr:`GRACE` seconds at the latest. Of several deadlines the earliest holds."""
        self._deadline = min(self._deadline, time.monotonic() + timeout + self.GRACE)
        self._changed.release()

    def hand_over_by(self, hand_over: Callable[[int], object]) -> None:
        """From now on the process does not exit: what would end it executes another program in its place.

        :param hand_over: does it, with the exit code that the process would have had; does not return.
        """
        self._exit_process = hand_over
        self._what_happens = "the process becomes the supervisor now"
        self.hands_over = True

    def report_by(self, report: Callable[[str, str], bool]) -> None:
        """From now on another process, which may have several like this one, writes the lines.

        :param report: gets a clause, and what it says without numbers that differ; returns whether it is passed on.
        """
        self._report = report

    def begin_exit(self, exit_code: int, timeout: float) -> None:
        """The main thread calls it when only the shutdown of the interpreter remains.

        :param exit_code: the code with which the process is about to exit.
        :param timeout: seconds that the interpreter may take, unless an earlier deadline holds.
        """
        self._exit_code = exit_code
        self._report_at = time.monotonic() + self.REPORT_AFTER
        self.exit_within(timeout)

    @property
    def exits_soon(self) -> bool:
        """Whether only the shutdown of the interpreter remains, which a signal may cut short."""
        return self._exit_code is not None and not self.hands_over

    def time_left(self) -> float:
        """Seconds until the deadline."""
        return self._deadline - time.monotonic()

    def hand_over(self) -> None:
        """The main thread calls it at the end of the exit, if :attr:`hands_over`. Does not return."""
        self._exit_process(self._exit_code or 0)

    def exit_now(self) -> None:
        """Exit at once; with :data:`ABORTED` if the start did not fail."""
        self._exit_process(self._exit_code or ABORTED)

    def _run(self) -> None:
        try:
            self._wait()
            self._say(f"{self._what_happens}; {self._blocked_by()}", self._blocked_by(), 0.1)
        except MemoryError:  # late, or without a reason, but it exits
            while time.monotonic() < self._deadline:
                time.sleep(0.1)
        self.exit_now()

    def _wait(self) -> None:
        while (now := time.monotonic()) < self._deadline:
            if now >= self._report_at:
                self._report_at = float("inf")
                self._report_threads(self._deadline - now - self.GRACE)
            until = min(self._deadline, self._report_at)
            self._changed.acquire(timeout=None if until == float("inf") else min(max(0.0, until - now), 3600.0))

    def _report_threads(self, remaining: float) -> None:
        names = _non_daemon_threads()
        if names and remaining > 0:
            self._say(
                f"waiting for non-daemon threads of the application: {names}; they have {remaining:.0f} s more, "
                "another signal ends the process at once",
                f"waiting: {names}",
            )

    def _say(self, text: str, about: str, timeout: float = 1.0) -> None:
        if not self._report(text, about):
            self._console.write(f"reserve: {text}\n", timeout)

    def _blocked_by(self) -> str:
        if self._exit_code is None:
            return "the server has not stopped in time"
        names = _non_daemon_threads()
        if names:
            return f"non-daemon threads of the application still run: {names}"
        return "an atexit function has not returned, or an output is blocked because no process reads it"


def _non_daemon_threads() -> str:
    """The names of the threads for which the interpreter waits before it exits."""
    main = threading.main_thread()
    return ", ".join(
        sorted(thread.name for thread in threading.enumerate() if not thread.daemon and thread is not main)
    )
