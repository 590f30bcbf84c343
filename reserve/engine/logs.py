"""Log lines leave through a thread of their own, so that a full disk or a stopped terminal stops no connection.

Any thread calls :meth:`LineWriter.put`; it appends to a bounded queue and never waits: when the writer is stuck,
lines are dropped and counted, and the count is written once the writer moves again. An idle writer sleeps without
waking.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import traceback
from collections import deque
from collections.abc import Callable
from typing import Any

__all__ = ["ErrorHook", "LineWriter", "Logs"]

ErrorHook = Callable[[int, str], None]
"""Takes (level as in :mod:`logging`, text); called on the log's thread."""


class LineWriter:
    """A bounded queue of items and the thread that hands them, in batches, to ``write``."""

    PAUSE = 0.02
    """Seconds that a busy writer lets items gather: one wake-up and one write for many lines."""

    def __init__(
        self, name: str, write: Callable[[list[Any]], None], on_dropped: Callable[[int], None], limit: int = 8192
    ) -> None:
        self._write = write
        self._on_dropped = on_dropped
        self._limit = limit
        self._queue: deque[Any] = deque()
        # A plain lock, which one call of the interpreter sets or takes: what puts a line may be interrupted anywhere
        # (--request-timeout), and an Event would then stay locked for ever.
        self._bed = threading.Lock()
        self._bed.acquire()
        self._rung = False
        self._stopping = threading.Event()
        self.dropped = 0
        """Items thrown away since the last time it was reported."""
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def put(self, item: Any) -> None:
        """Hand an item over; never blocks."""
        queue = self._queue
        if len(queue) >= self._limit:
            self.dropped += 1
            return
        queue.append(item)
        if not self._rung:
            self._ring()

    def disown(self) -> None:
        """In a forked child: drop what comes, and wake nobody. The thread is not here, nor who may hold its locks."""
        self._limit = 0

    def stop(self, timeout: float = 2.0) -> None:
        """Write what is queued and end the thread; a writer that is stuck for ``timeout`` seconds is left behind."""
        self._stopping.set()
        self._ring()
        if self._thread.is_alive():
            self._thread.join(timeout)
        elif self._thread.ident is None:
            self._drain()  # never started: what start-up had to say still goes out

    def _ring(self) -> None:
        self._rung = True
        with contextlib.suppress(RuntimeError):  # somebody else has rung
            self._bed.release()

    def _run(self) -> None:
        while not self._stopping.is_set():
            with contextlib.suppress(MemoryError):  # for a moment: later lines must still have a writer
                self._bed.acquire()
                self._rung = False
                self._drain()
                self._stopping.wait(self.PAUSE)
        self._drain()

    def _drain(self) -> None:
        queue = self._queue
        items = [queue.popleft() for _ in range(len(queue))]
        try:
            if items:
                self._write(items)
            if self.dropped:
                dropped, self.dropped = self.dropped, 0
                self._on_dropped(dropped)
        except BaseException:  # whatever a hook raises: later lines must still have a writer
            traceback.print_exc()


class Logs:
    """The server's error log: warnings, refusals, tracebacks. By default they go to the logger ``reserve``."""

    def __init__(self, hook: ErrorHook | None = None) -> None:
        self._hook = hook if hook is not None else logging.getLogger("reserve").log
        self._writer = LineWriter("reserve-log", self._write, self._report_dropped)
        self.start = self._writer.start
        self.disown = self._writer.disown
        self.stop = self._writer.stop

    def info(self, text: str) -> None:
        self._writer.put((logging.INFO, text))

    def warning(self, text: str) -> None:
        self._writer.put((logging.WARNING, text))

    def error(self, text: str) -> None:
        self._writer.put((logging.ERROR, text))

    def failure(self, text: str, error: BaseException) -> None:
        """An error with its traceback, formatted here: a traceback that travels keeps every frame alive."""
        trace = "".join(traceback.format_exception(type(error), error, error.__traceback__)).rstrip()
        self._writer.put((logging.ERROR, f"{text}\n{trace}"))

    def _write(self, items: list[tuple[int, str]]) -> None:
        for level, text in items:
            try:
                self._hook(level, text)
            except BaseException:  # each line on its own: a hook that fails must not take the others along
                traceback.print_exc()

    def _report_dropped(self, count: int) -> None:
        self._write([(logging.WARNING, f"{count} log lines were dropped: the log could not be written fast enough")])
