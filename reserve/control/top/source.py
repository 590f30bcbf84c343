"""Where ``reserve top`` has its documents from: the control socket, asked by a thread of its own.

So the keys work while the server does not respond. When the server goes away (a restart), the thread connects again and
again, until the next one listens.
"""

from __future__ import annotations

import linecache
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import Any, Protocol

from reserve.control.top.model import Sample, Thread
from reserve.engine.polling.patching import SystemThread
from reserve.engine.polling.threads import start_thread
from reserve.errors import ReserveError

__all__ = ["Failed", "Fetched", "Fetcher", "Source", "StackOf", "stack_lines"]

_RETRY = 1.0
"""Seconds between two attempts to connect, at most; less if the documents come more often."""

_LEAST_PAUSE = 0.2
"""Seconds between a document and the next question, when the server responds slowly: its numbers are that old, too."""


class Source(Protocol):
    """A connection to a server: :class:`~reserve.control.client.ControlClient`. One thread uses it."""

    def call(self, command: str, **arguments: Any) -> Any:
        """The result of a command. Raises ReserveError when there is none."""

    def close(self) -> None:
        """Disconnect."""


@dataclass(frozen=True, slots=True)
class Fetched:
    """A document has come."""

    sample: Sample


@dataclass(frozen=True, slots=True)
class Failed:
    """There is no connection to the server."""

    reason: str


@dataclass(frozen=True, slots=True)
class StackOf:
    """The stack of a thread; or why it cannot be shown, then there are no lines."""

    thread: Thread
    lines: tuple[str, ...]
    error: str = ""


class Fetcher:
    """The thread that asks; made, started and closed by the main thread.

    :param connect: opens a connection; raises ReserveError.
    :param interval: seconds between two documents.
    :param wake: called on the thread whenever there is something in ``results``.
    """

    def __init__(
        self,
        connect: Callable[[], Source],
        interval: float,
        wake: Callable[[], object],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.results: SimpleQueue[Fetched | Failed | StackOf] = SimpleQueue()
        self._connect = connect
        self._interval = interval
        self._wake = wake
        self._clock = clock
        self._source: Source | None = None
        self._requests: SimpleQueue[Thread | None] = SimpleQueue()
        self._thread = SystemThread(target=self._run, name="reserve-top", daemon=True)

    def start(self) -> None:
        """Begin to ask. Raises StartupError when the system starts no more threads."""
        start_thread(self._thread)

    def ask_stack(self, thread: Thread) -> None:
        """Have the stack of a thread put into ``results``."""
        self._requests.put(thread)

    def close(self, timeout: float = 0.2) -> None:
        """End the thread. While it waits for the server it ends with the process.

        :param timeout: seconds to wait for its end.
        """
        self._requests.put(None)
        self._thread.join(timeout)

    def _run(self) -> None:
        next_at = self._clock()
        while True:
            if self._clock() >= next_at:
                asked_at = self._clock()
                is_well = self._put_document()
                pause = self._interval if is_well else min(self._interval, _RETRY)
                next_at = max(asked_at + pause, self._clock() + min(pause, _LEAST_PAUSE))
            try:
                thread = self._requests.get(timeout=max(next_at - self._clock(), 0))
            except Empty:
                continue
            if thread is None:
                self._disconnect()
                return
            self._put_stack(thread)

    def _put_document(self) -> bool:
        try:
            sample = Sample.of(self._ask("status"), self._clock())
        except (ReserveError, OSError, ValueError) as error:
            self._disconnect()
            self._put(Failed(getattr(error, "reason", "") or str(error)))
            return False
        self._put(Fetched(sample))
        return True

    def _put_stack(self, thread: Thread) -> None:
        try:
            self._put(StackOf(thread, stack_lines(self._ask("stacks", pid=thread.pid), thread)))
        except (ReserveError, OSError, ValueError) as error:
            if not getattr(error, "refused", False):
                self._disconnect()
            self._put(StackOf(thread, (), str(error)))

    def _ask(self, command: str, **arguments: Any) -> Any:
        if self._source is not None:
            try:
                return self._source.call(command, **arguments)
            except (ReserveError, OSError) as error:
                if getattr(error, "refused", False):
                    raise
                self._disconnect()  # a process that becomes another program does so, too, and listens again at once
        self._source = self._connect()
        return self._source.call(command, **arguments)

    def _put(self, result: Fetched | Failed | StackOf) -> None:
        self.results.put(result)
        self._wake()

    def _disconnect(self) -> None:
        source, self._source = self._source, None
        if source is not None:
            source.close()


def stack_lines(result: Any, thread: Thread, read_line: Callable[[str, int], str] | None = None) -> tuple[str, ...]:
    """The stack of one thread as Python prints it, the innermost call first: what the thread does is seen at once.

    The frames of the server itself, which are the same for every request, are left out.

    :param result: of the command ``stacks``.
    :param read_line: gives a line of a source file by path and number; empty: there is none.
    :raises ReserveError: there is none.
    """
    read_line = _line_of_file if read_line is None else read_line
    process = next((process for process in _rows(result, "processes") if process.get("pid") == thread.pid), None)
    if process is None:
        raise ReserveError(f"process {thread.pid} has ended")
    if process.get("responding") is False:
        raise ReserveError(
            f"process {thread.pid} does not respond: it is stopped, or C code holds its GIL; "
            f"py-spy dump --pid {thread.pid} shows its stacks"
        )
    row = next((row for row in _rows(process, "threads") if row.get("ident") == thread.ident), None)
    if row is None:
        raise ReserveError(f"{thread.name} of process {thread.pid} has ended")
    frames = _rows(row, "frames")
    skip = row.get("skip")
    shown = frames[skip:] if isinstance(skip, int) and 0 <= skip < len(frames) else frames
    if not shown:
        raise ReserveError(str(process.get("note") or "the thread runs no Python code"))
    now = str(row.get("request") or row.get("state") or "")
    lines = [] if now == (thread.request or thread.state) else [f"(by now: {now})"]
    for frame in reversed(shown):
        path, number = str(frame.get("file", "")), frame.get("line")
        number = number if isinstance(number, int) else 0
        lines.append(f'{frame.get("function", "")}  in "{path}", line {number}' if path else str(frame.get("function")))
        source = read_line(path, number).strip()
        if source:
            lines.append(f"    {source}")
    return tuple(lines)


def _rows(values: Any, name: str) -> Sequence[Mapping[str, Any]]:
    rows = values.get(name) if isinstance(values, Mapping) else None
    return [row for row in rows if isinstance(row, Mapping)] if isinstance(rows, list) else []


def _line_of_file(path: str, number: int) -> str:
    """From the file on this machine, which is that of the server unless the socket was forwarded."""
    try:
        linecache.checkcache(path)
        return linecache.getline(path, number) if os.path.isfile(path) else ""
    except Exception:  # an encoding that Python does not know
        return ""
