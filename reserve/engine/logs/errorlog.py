"""The error log. A thread of its own writes the lines, so that a full disk or a stopped terminal blocks no connection.

Any thread calls :meth:`LineWriter.put`, which appends to a bounded queue and never blocks. While the log's thread is
blocked and the queue is full, lines are dropped and counted, and the thread reports their number afterwards. The thread
sleeps while there are no lines. Lines that may come in large numbers have a *kind*: see
:mod:`reserve.engine.logs.ratelimit`.

How producers and the thread of a :class:`LineWriter` agree without a lock, with the GIL and without it: only the thread
writes ``asleep``. It is false while the thread is about to look at the items, which takes :attr:`LineWriter.PAUSE` at
most, and true while nothing says when it will: it sleeps, or is in ``write``, which may block. A producer appends first
and reads ``asleep`` afterwards; the thread sets ``asleep`` first and looks for items afterwards; both pass the lock of
the deque in between. So an item is either seen by the thread, or its producer calls :meth:`LineWriter.wake`, which
wakes a sleeping thread and, while the thread writes, removes what exceeds the limit and counts it. What is appended in
the pause is not checked: the thread takes it at the end of the pause. Each item is removed by one ``pop`` or
``popleft``, so it is either written or counted.
"""

from __future__ import annotations

import logging
import os
import re
import sys
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from itertools import repeat, starmap
from types import FrameType
from typing import Any, NamedTuple, Protocol

from reserve.engine.logs.ratelimit import RateLimiter, reason_of
from reserve.engine.polling.clock import Clock, SystemClock
from reserve.engine.polling.patching import SystemThread
from reserve.engine.polling.processors import has_gil
from reserve.engine.polling.threads import start_thread
from reserve.engine.polling.token import pass_lock
from reserve.engine.polling.waiter import Waiter
from reserve.errors import describe_exception, print_exception

__all__ = [
    "ErrorHook",
    "ErrorLog",
    "LineWriter",
    "Log",
    "Stack",
    "is_frame_of_server",
    "stack_of",
]

_PACKAGE = sys.modules["reserve"].__path__[0]
_SERVER_FILES = (
    *(os.path.join(_PACKAGE, part, "") for part in ("engine", "gateways", os.path.join("apps", "http"))),
    threading.__file__,
)
"""Files of the server: their frames, which call the application, are left out of a logged stack."""

MAX_TEXT = 65536
"""Characters of one entry of the error log; the middle of a longer one is left out. An exception may have any text."""

_CONTROL = re.compile("[\0-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")
"""What could command a terminal, end a line for some readers, or change the direction of a text: it is escaped. The
text of an exception may be a client's.
"""

NO_STACK = "(without the GIL the stack of a thread that runs cannot be read by another one)"
"""In place of a stack."""

ErrorHook = Callable[[int, str], None]
"""Called with (level as in :mod:`logging`, text), on the log's thread."""


Stack = tuple[tuple[str, int, str], ...]
"""The frames of a thread, the outermost first: file, line and function."""


def stack_of(frame: FrameType | None) -> Stack:
    """The stack of a thread, from the application's first frame on.

    :param frame: the innermost one; None: the thread has ended.
    """
    frames = []
    while frame is not None:
        frames.append((frame.f_code.co_filename, frame.f_lineno or 0, frame.f_code.co_name))
        frame = frame.f_back
    frames.reverse()
    first = next((index for index, (path, _, _) in enumerate(frames) if not is_frame_of_server(path)), 0)
    return tuple(frames[first:])


class LineWriter:
    """A bounded queue of items and the thread that passes them, in batches, to ``write``; owned by one log.

    Any thread calls :meth:`put`, or, where the price counts, does itself what it does: ``writer.records.append(item)``,
    then ``if writer.asleep: writer.wake()``.

    :param name: of the thread.
    :param write: called on the thread with the items of a batch.
    :param on_dropped: called on the thread with the number of items that were dropped.
    :param limit: items that may wait. Those that are appended without :meth:`put` in one pause come in addition.
    :param timeout: called before the thread sleeps; returns in how many seconds ``write`` has to be called although no
        item was put (None: not at all).
    :param batch: items of one batch at most; None: as many as there are.
    """

    PAUSE = 0.02
    """Seconds that the thread sleeps after a write, so that one wake-up and one write serve many lines."""

    def __init__(
        self,
        name: str,
        write: Callable[[list[Any]], None],
        on_dropped: Callable[[int], None],
        limit: int = 8192,
        timeout: Callable[[], float | None] | None = None,
        batch: int | None = None,
    ) -> None:
        self._write_batch = write
        self._timeout = timeout
        self._on_dropped = on_dropped
        self.limit = limit
        """How many items it keeps; 0 in a forked child."""
        self._batch = batch
        self.records: deque[Any] = deque()
        """The items that wait. Producers append; always the same object."""
        self.asleep = True
        """A producer that has appended an item calls :meth:`wake`: see the module."""
        # Not a threading.Event: the thread that puts a line may be interrupted anywhere (--request-timeout), memory may
        # run out anywhere, and the lock of an Event would then stay locked for ever.
        self._waiter = Waiter()
        self._sleeping = False
        """The thread has to be woken."""
        self.stopping = False
        """The next batch is the last one."""
        self._lost: dict[int, int] = {}
        """Items dropped since the start, by thread, as :func:`threading.get_ident` names it; only that thread changes
        its number, so none is lost without a lock.
        """
        self._reported = 0
        """How many of them were reported."""
        self.has_lost = False
        """There was no memory for an item, which the thread counts as dropped."""
        self.thread = SystemThread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        start_thread(self.thread)

    def put(self, item: Any) -> None:
        """Add an item; never blocks. Any thread."""
        records = self.records
        if len(records) >= self.limit:
            self._count_lost()
            return
        records.append(item)
        if self.asleep:
            self.wake()

    def after_fork(self) -> None:
        """In a forked child: drop every item and wake no thread. The writer's thread does not exist in the child."""
        self.limit = 0
        self._sleeping, self.asleep = False, True

    def stop(self, timeout: float = 2.0) -> None:
        """Write what is queued and end the thread. Waits up to ``timeout`` seconds for a thread that is blocked."""
        self.stopping = True
        self._waiter.wake()
        if self.thread.is_alive():
            self.thread.join(timeout)
        elif self.thread.ident is None:
            self._drain()  # never started: this thread writes the lines of a start that failed

    def _count_lost(self) -> None:
        ident, lost = threading.get_ident(), self._lost
        lost[ident] = lost.get(ident, 0) + 1

    @property
    def total_dropped(self) -> int:
        """Items dropped since the start; never less than before. Any thread."""
        return sum(self._lost.copy().values())

    @property
    def left(self) -> int:
        """Items that wait, and items that were dropped and are not reported yet."""
        return len(self.records) + self.dropped

    @property
    def dropped(self) -> int:
        """Items dropped since their number was last reported."""
        return self.total_dropped - self._reported

    def wake(self) -> None:
        """Make a sleeping thread look for items, and call ``timeout`` again; drop items that exceed the limit, the
        newest first. Any thread. A call too many does no harm.
        """
        # Before anything that may fail. Only the thread says that it sleeps no more: a producer that was interrupted
        # between saying it and waking the thread would leave it asleep for ever.
        if self._sleeping:
            self._waiter.wake()
        records = self.records
        while len(records) > self.limit:
            try:
                records.pop()
            except IndexError:  # the thread has taken them meanwhile
                return
            self._count_lost()

    # ---- on the log's thread ----

    def _run(self) -> None:
        while not self.stopping:
            try:
                if not self.records:  # items that were put during the pause have not woken the thread
                    self._sleep()
                self._drain()
                if not self.stopping:
                    self.asleep = False
                    self._waiter.wait(self.PAUSE)  # only a stop wakes it before
            except MemoryError:  # the thread must go on, for later lines
                continue
        self._drain()

    def _sleep(self) -> None:
        self._sleeping = self.asleep = True
        pass_lock(self.records)  # an append comes before that, and is seen below, or its producer sees that it sleeps
        if not self.records:
            self._waiter.wait(self._timeout() if self._timeout is not None else None)
        self._sleeping = False

    def _drain(self) -> None:
        """Write what waits now, and report what was dropped."""
        self.asleep = True
        records = self.records
        left = len(records)
        is_due = self._timeout is not None  # also without an item
        while left > 0 or is_due:
            is_due = False
            batch: list[Any] = []
            count = min(left, self._batch or left)
            left -= count
            try:
                with suppress(IndexError):  # wake() has dropped some of them meanwhile; the list has the others
                    batch.extend(starmap(records.popleft, repeat((), count)))
                self._write_batch(batch)
            except BaseException as error:  # an exception of a hook must not end the thread: later lines need it
                print_exception(error)
        try:
            if self.has_lost:
                self.has_lost = False
                self._count_lost()
            dropped = self.dropped
            if dropped:
                self._reported += dropped
                self._on_dropped(dropped)
        except BaseException as error:
            print_exception(error)


class Log(Protocol):
    """The error log as programs and handlers use it: :attr:`reserve.Server.log`. Any thread; no method blocks.

    After a line with a ``kind``, those of the same kind and reason are only counted for a second.
    """

    def info(self, text: str, kind: str = "") -> None:
        """Add a line of the level INFO."""

    def warning(self, text: str, kind: str = "") -> None:
        """Add a line of the level WARNING."""

    def error(self, text: str, kind: str = "") -> None:
        """Add a line of the level ERROR."""

    def failure(self, text: str, error: BaseException, kind: str = "") -> None:
        """Add a line of the level ERROR with the traceback of an exception."""


class _Line(NamedTuple):
    """One line in the queue, or one with a stack (``frames``); ``when`` is set for lines with a kind."""

    level: int
    text: str
    kind: str = ""
    when: float = 0.0
    frames: Stack = ()


class ErrorLog:
    """The error log of a server, which owns it: warnings, refusals, tracebacks. Any thread adds lines without waiting.

    After a line with a ``kind``, those of the same kind and reason are only counted for a second.

    :param hook: called with each line, on the log's thread; None: the logger ``reserve`` of :mod:`logging`.
    :param clock: the server's; None: the system's monotonic clock.
    """

    def __init__(self, hook: ErrorHook | None = None, clock: Clock | None = None) -> None:
        self._hook = hook if hook is not None else logging.getLogger("reserve").log
        self._clock: Clock = clock if clock is not None else SystemClock()
        self._rate_limiter = RateLimiter()
        self._deadline: float | None = None
        """When the shutdown stops waiting for logs, on the system's monotonic clock."""
        self._writer = LineWriter("reserve-log", self._write, self._report_dropped, timeout=self._timeout)
        self.after_fork = self._writer.after_fork
        self.thread = self._writer.thread

    @property
    def lines_dropped(self) -> int:
        """Lines that were lost since the start, because the log could not be written fast enough."""
        return self._writer.total_dropped

    def start(self) -> None:
        self._clock.subscribe(self._writer.wake)
        self._writer.start()

    def stop(self, timeout: float | None = None) -> None:
        """Write what is queued, also counts whose second is not over, and end the thread. See :meth:`LineWriter.stop`.

        :param timeout: seconds; None: the result of :meth:`stop_timeout`.
        """
        self._clock.unsubscribe(self._writer.wake)
        self._writer.stop(self.stop_timeout() if timeout is None else timeout)

    def end_within(self, seconds: float) -> None:
        """At the server's shutdown: limit the time that all logs together may take to write their lines.

        :param seconds: raised to 1, lowered to 2.
        """
        self._deadline = time.monotonic() + min(max(seconds, 1.0), 2.0)

    def stop_timeout(self) -> float:
        """How many seconds the shutdown may still wait for a log."""
        return 2.0 if self._deadline is None else max(self._deadline - time.monotonic(), 0.1)

    def info(self, text: str, kind: str = "") -> None:
        self._put(logging.INFO, text, kind)

    def warning(self, text: str, kind: str = "") -> None:
        self._put(logging.WARNING, text, kind)

    def error(self, text: str, kind: str = "") -> None:
        self._put(logging.ERROR, text, kind)

    def failure(self, text: str, error: BaseException, kind: str = "") -> None:
        """Add an error with its traceback, which is formatted here: in the queue it would keep all its frames alive.

        Never raises anything, because callers have to release resources afterwards, and a worker would end. Formatting
        runs code of the application: see :func:`reserve.errors.describe_exception`.
        """
        try:
            self._put(logging.ERROR, f"{text}\n{describe_exception(error)}", kind)
        except BaseException:  # out of memory as a rule
            self._writer.has_lost = True  # at least one; an addition would need memory

    def stack(self, level: int, text: str, frames: Stack, kind: str = "") -> None:
        """Add a line with a stack. The log's thread reads the source lines from the disk.

        Without the GIL there is no stack of a thread that runs
        (:func:`~reserve.engine.polling.threads.all_frames`): then the line says so. Of lines with a ``kind``, each of
        which is about another request, the first of a second are written
        (:data:`~reserve.engine.logs.ratelimit.MAX_REASONS`), and the others counted.
        """
        if not frames and not has_gil():
            text = f"{text}\n  {NO_STACK}"
        self._writer.put(_Line(level, text, kind, self._clock.now() if kind else 0.0, frames))

    def _put(self, level: int, text: str, kind: str) -> None:
        if len(text) > MAX_TEXT:
            half = MAX_TEXT // 2
            text = f"{text[:half]}\n... {len(text) - 2 * half} characters are left out ...\n{text[-half:]}"
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
                reason = line.text if line.frames else reason_of(line.text)
                if not rate_limiter.admit(line.kind, line.level, line.when, reason):
                    continue
            self._call_hook(line.level, f"{line.text}\n{_stack(line.frames)}" if line.frames else line.text)
        self._write_counts(rate_limiter.take(self._clock.now(), all_of_them=self._writer.stopping))

    def _write_counts(self, counts: list[tuple[int, str]]) -> None:
        for level, text in counts:
            self._call_hook(level, text)

    def _call_hook(self, level: int, text: str) -> None:
        try:
            self._hook(level, _CONTROL.sub(_escaped, text))
        except BaseException as error:  # an exception for one line must not prevent the others
            print_exception(error)

    def _report_dropped(self, count: int) -> None:
        self._call_hook(logging.WARNING, f"{count} log lines were dropped: the log could not be written fast enough")


def _escaped(match: re.Match[str]) -> str:
    code = ord(match[0])
    return f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}"


def _stack(frames: Stack) -> str:
    summaries = [traceback.FrameSummary(path, number, name, lookup_line=False) for path, number, name in frames]
    try:
        return "".join(traceback.StackSummary.from_list(summaries).format()).rstrip()
    except BaseException:  # a loader of the application may fail to give the source
        return "\n".join(f'  File "{path}", line {number}, in {name}' for path, number, name in frames)


def is_frame_of_server(path: str) -> bool:
    """Whether a file is one of the server's, whose frames are left out of a stack up to the application's first."""
    return path.startswith(_SERVER_FILES)
