"""Log lines are written by a thread of their own, so that a full disk or a stopped terminal stops no connection.

Any thread calls :meth:`LineWriter.put`; it appends to a bounded queue and never waits: when the writer is stuck,
lines are dropped and counted, and the number is written once the writer goes on. An idle writer sleeps without waking.
Lines that may come in floods have a *kind*: see :mod:`reserve.engine.logs.ratelimit`.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable
from types import FrameType
from typing import Any, NamedTuple

from reserve.engine.logs.ratelimit import RateLimiter
from reserve.engine.polling.clock import Clock, SystemClock
from reserve.engine.polling.waiter import Waiter

__all__ = ["ErrorHook", "ErrorLog", "LineWriter"]

_PACKAGE = sys.modules["reserve"].__path__[0]
_OURS = (
    *(os.path.join(_PACKAGE, part, "") for part in ("engine", "gateways", os.path.join("apps", "http"))),
    threading.__file__,
)
"""Files whose frames lead to an application, and tell its author nothing."""

ErrorHook = Callable[[int, str], None]
"""Called with (level as in :mod:`logging`, text), on the log's thread."""


class LineWriter:
    """A bounded queue of items and the thread that passes them, in batches, to ``write``; owned by one log.

    :param name: of the thread.
    :param write: called on the thread with the items of a batch.
    :param on_dropped: called on the thread with the number of items that were dropped.
    :param limit: items that may wait.

    :param timeout: called before the thread sleeps: in how many seconds ``write`` is to be called although nothing was
        put (None: not at all).
    """

    PAUSE = 0.02
    """Seconds that a busy writer lets items gather: one wake-up and one write for many lines."""

    def __init__(
        self,
        name: str,
        write: Callable[[list[Any]], None],
        on_dropped: Callable[[int], None],
        limit: int = 8192,
        timeout: Callable[[], float | None] | None = None,
    ) -> None:
        self._write = write
        self._timeout = timeout
        self._on_dropped = on_dropped
        self._limit = limit
        self._queue: deque[Any] = deque()
        # Not a threading.Event: the thread that puts a line may be interrupted anywhere (--request-timeout), memory may
        # run out anywhere, and the lock of an Event would then stay locked for ever.
        self._waiter = Waiter()
        self._woken = False
        self.stopping = False
        """What is written now may be the last batch."""
        self.dropped = 0
        """Items dropped since their number was last reported."""
        self.thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        self.thread.start()

    def put(self, item: Any) -> None:
        """Add an item; never blocks. Any thread."""
        queue = self._queue
        if len(queue) >= self._limit:
            self.dropped += 1
            return
        queue.append(item)
        if not self._woken:
            self.wake()

    def after_fork(self) -> None:
        """In a forked child: drop every item and wake no thread. The writer's thread does not exist in the child."""
        self._limit = 0

    def stop(self, timeout: float = 2.0) -> None:
        """Write what is queued and end the thread; a writer that is stuck for ``timeout`` seconds is left behind."""
        self.stopping = True
        self.wake()
        if self.thread.is_alive():
            self.thread.join(timeout)
        elif self.thread.ident is None:
            self._drain()  # never started: the lines of a start that failed are still written

    @property
    def left(self) -> int:
        """Items that wait, or were dropped and are not reported."""
        return len(self._queue) + self.dropped

    def wake(self) -> None:
        """Have the thread look for items, and call ``timeout`` again. Any thread."""
        self._woken = True
        self._waiter.wake()

    def _run(self) -> None:
        while not self.stopping:
            try:
                self._woken = False
                if not self._queue:  # what came during the pause has not woken the thread
                    self._waiter.wait(self._timeout() if self._timeout is not None else None)
                self._woken = True
                self._drain()
                if not self.stopping:
                    self._waiter.wait(self.PAUSE)  # only a stop and a clock that jumps wake it meanwhile
            except MemoryError:  # later lines must still have a writer
                continue
        self._drain()

    def _drain(self) -> None:
        queue = self._queue
        items = [queue.popleft() for _ in range(len(queue))]
        try:
            if items or self._timeout is not None:
                self._write(items)
            if self.dropped:
                dropped, self.dropped = self.dropped, 0
                self._on_dropped(dropped)
        except BaseException:  # whatever a hook raises: later lines must still have a writer
            traceback.print_exc()


class _Line(NamedTuple):
    level: int
    text: str
    kind: str = ""
    when: float = 0.0
    frames: tuple[tuple[str, int, str], ...] = ()


class ErrorLog:
    """The error log of one server: warnings, refusals, tracebacks. Any thread adds lines; none waits for them.

    A line with a ``kind`` represents those of the same kind that follow within a second; they are counted.

    :param hook: receives the lines; None: the logger ``reserve`` of :mod:`logging`.
    :param clock: the engine's.
    """

    def __init__(self, hook: ErrorHook | None = None, clock: Clock | None = None) -> None:
        self._hook = hook if hook is not None else logging.getLogger("reserve").log
        self._clock: Clock = clock if clock is not None else SystemClock()
        self._rate_limiter = RateLimiter()
        self._end: float | None = None
        self._writer = LineWriter("reserve-log", self._write, self._report_dropped, timeout=self._timeout)
        self.after_fork = self._writer.after_fork
        self.thread = self._writer.thread

    def start(self) -> None:
        self._clock.subscribe(self._writer.wake)
        self._writer.start()

    def stop(self, timeout: float | None = None) -> None:
        """See :meth:`LineWriter.stop`. Counts that wait for the end of their second are written, too.

        :param timeout: seconds; None: :meth:`stop_timeout`.
        """
        self._clock.unsubscribe(self._writer.wake)
        self._writer.stop(self.stop_timeout() if timeout is None else timeout)

    def end_within(self, seconds: float) -> None:
        """At the server's shutdown: how long all logs together may take to write what they have; 1 s at least, 2 s at
        most.
        """
        self._end = time.monotonic() + min(max(seconds, 1.0), 2.0)

    def stop_timeout(self) -> float:
        """For how many seconds the shutdown may wait for a log."""
        return 2.0 if self._end is None else max(self._end - time.monotonic(), 0.1)

    def info(self, text: str, kind: str = "") -> None:
        self._put(logging.INFO, text, kind)

    def warning(self, text: str, kind: str = "") -> None:
        self._put(logging.WARNING, text, kind)

    def error(self, text: str, kind: str = "") -> None:
        self._put(logging.ERROR, text, kind)

    def failure(self, text: str, error: BaseException, kind: str = "") -> None:
        """An error with its traceback, formatted here: a traceback that waits in a queue keeps every frame alive.

        Never raises MemoryError: the caller has something to give back afterwards.
        """
        try:
            trace = "".join(traceback.format_exception(type(error), error, error.__traceback__)).rstrip()
            self._put(logging.ERROR, f"{text}\n{trace}", kind)
        except MemoryError:
            self._writer.dropped |= 1  # at least one; to add to the number would need memory

    def stack(self, level: int, text: str, frame: FrameType | None) -> None:
        """A line and the stack of a thread, from the application's first frame on.

        The source lines are read, from the disk, by the log's own thread.
        """
        frames = []
        while frame is not None:
            frames.append((frame.f_code.co_filename, frame.f_lineno or 0, frame.f_code.co_name))
            frame = frame.f_back
        frames.reverse()
        first = next((at for at, (path, _, _) in enumerate(frames) if not path.startswith(_OURS)), 0)
        self._writer.put(_Line(level, text, frames=tuple(frames[first:])))

    def _put(self, level: int, text: str, kind: str) -> None:
        self._writer.put(_Line(level, text, kind, self._clock.now() if kind else 0.0))

    # ---- on the log's thread ----

    def _timeout(self) -> float | None:
        due = self._rate_limiter.due
        return None if due is None else self._clock.timeout(due)

    def _write(self, lines: list[_Line]) -> None:
        rate_limiter = self._rate_limiter
        for line in lines:
            if line.kind:
                self._write_counts(rate_limiter.take(line.when))
                if not rate_limiter.admit(line.kind, line.level, line.when):
                    continue
            self._call_hook(line.level, f"{line.text}\n{_stack(line.frames)}" if line.frames else line.text)
        self._write_counts(rate_limiter.take(self._clock.now(), all_of_them=self._writer.stopping))

    def _write_counts(self, counts: list[tuple[int, str]]) -> None:
        for level, text in counts:
            self._call_hook(level, text)

    def _call_hook(self, level: int, text: str) -> None:
        try:
            self._hook(level, text)
        except BaseException:  # each line on its own: a hook that fails must not take the others along
            traceback.print_exc()

    def _report_dropped(self, count: int) -> None:
        self._call_hook(logging.WARNING, f"{count} log lines were dropped: the log could not be written fast enough")


def _stack(frames: tuple[tuple[str, int, str], ...]) -> str:
    summaries = [traceback.FrameSummary(path, number, name, lookup_line=False) for path, number, name in frames]
    return "".join(traceback.StackSummary.from_list(summaries).format()).rstrip()
