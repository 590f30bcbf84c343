"""The messages of the command to the person who started it, on standard error.

A terminal that is stopped, or a pipe that no process reads, must delay neither the start nor the shutdown of a server.
So the thread ``reserve-console`` writes the messages, and a caller waits for it no longer than a timeout. The thread is
started before everything else, because a thread cannot be started any more while the interpreter shuts down. It writes
past Python's buffers (:mod:`reserve.engine.logs.linestream`). A message that cannot be written is lost.
"""

from __future__ import annotations

import logging
import sys
import threading
from queue import SimpleQueue
from types import TracebackType

from reserve.engine.logs.journal import journal_stream, with_level
from reserve.engine.logs.linestream import LineStream
from reserve.engine.polling.patching import SystemThread
from reserve.engine.polling.threads import start_service

__all__ = ["Console", "DirectConsole"]


class Console:
    """A queue of messages and the thread that writes them; the command makes one for its process.

    A program either uses it as a context manager, or calls :meth:`start` and lets the daemon thread end with the
    process.
    """

    WRITE_TIMEOUT = 1.0
    """Seconds that :meth:`write` waits for its message, and for the messages before it, to be written."""

    def __init__(self) -> None:
        self._messages: SimpleQueue[tuple[str, int, threading.Event] | None] = SimpleQueue()
        self._thread = SystemThread(target=self._run, name="reserve-console", daemon=True)

    def start(self) -> Console:
        """Start the thread. Raises StartupError when the system starts no more."""
        start_service(self._thread)
        return self

    def write(
        self, text: str, timeout: float = WRITE_TIMEOUT, *, last: bool = False, level: int = logging.INFO
    ) -> None:
        """Write whole lines to ``sys.stderr``, whatever stream that is at the moment of writing.

        Any thread may call it. A signal handler may not, because it could interrupt a thread that holds the lock of the
        event.

        :param text: the lines; the last one ends with a line feed.
        :param timeout: seconds to wait until the text is written. It is 0 while the thread is blocked in an earlier
            message.
        :param last: the process ends next, so wait for the earlier messages, too; they would be lost.
        :param level: as in :mod:`logging`; journald shows it.
        """
        written = threading.Event()
        blocked = not self._messages.empty()
        self._messages.put((text, level, written))
        written.wait(0 if blocked and not last else timeout)

    def __enter__(self) -> Console:
        return self.start()

    def __exit__(self, *exc: type[BaseException] | BaseException | TracebackType | None) -> None:
        self._messages.put(None)
        self._thread.join(self.WRITE_TIMEOUT)

    def _run(self) -> None:
        while (message := self._messages.get()) is not None:
            text, level, written = message
            _write_lines(text, level)
            written.set()


class DirectConsole(Console):
    """Writes on the thread that calls it, and so may block: for a process that must not have another thread."""

    def start(self) -> Console:
        return self

    def write(
        self, text: str, timeout: float = Console.WRITE_TIMEOUT, *, last: bool = False, level: int = logging.INFO
    ) -> None:
        _write_lines(text, level)


def _write_lines(text: str, level: int) -> None:
    if sys.stderr is None:
        return
    stream, text = LineStream(sys.stderr), text.removesuffix("\n")
    stream.write([with_level(level, text) if stream.socket is not None and stream.socket == journal_stream() else text])
