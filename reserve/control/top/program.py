"""The loop of ``reserve top``, and its page for scripts. Runs on the main thread.

The loop waits for keys, signals and documents, all in :meth:`Terminal.wait`; the documents come from the thread of a
:class:`~reserve.control.top.source.Fetcher`.
"""

from __future__ import annotations

import json
import queue
import shutil
import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from reserve.control.top.ansi import frame, has_colours, has_unicode
from reserve.control.top.arguments import Settings
from reserve.control.top.model import History, Sample, View, make_view
from reserve.control.top.render import page, screen
from reserve.control.top.source import Failed, Fetched, Fetcher, Source, StackOf
from reserve.control.top.state import Action, State
from reserve.control.top.table import Line, Look
from reserve.errors import UsageError

if TYPE_CHECKING:
    from reserve.control.top.terminal import Terminal

__all__ = ["INTERRUPTED", "Loop", "run"]

_PAGE_COLUMNS = 120
"""The width of a page that goes to no terminal, unless the variable ``COLUMNS`` says otherwise."""
_TICK = 1.0
"""Seconds after which the loop looks at the clock, although nothing has come."""
_SILENCE = 3.0
"""Seconds after the time for the next document, from which on the screen says that none has come: a server with a
process that hangs takes up to two."""
INTERRUPTED = 130
"""The exit code after SIGINT, as of every program that a shell runs."""


def run(connect: Callable[[], Source], settings: Settings, write: Callable[[str], object]) -> int:
    """Run ``reserve top``, and return the exit code: 0, or 128 plus the number of the signal that ended it.

    :param connect: opens a connection to the server.
    :param write: prints lines on standard output, for ``--once``.
    :raises ReserveError: the server cannot be asked, at the start.
    :raises UsageError: there is no terminal.
    """
    try:
        if settings.once:
            write(_once(connect, settings))
            return 0
        connect().close()  # a wrong path is told at once, and not on a screen that waits for a server
        return _live(connect, settings)
    except KeyboardInterrupt:
        return INTERRUPTED


def _once(connect: Callable[[], Source], settings: Settings) -> str:
    source = connect()
    try:
        first = Sample.of(source.call("status"), time.monotonic())
        if settings.json:
            return json.dumps(first.document)
        time.sleep(settings.interval)
        second = Sample.of(source.call("status"), time.monotonic())
    finally:
        source.close()
    look = Look(shutil.get_terminal_size((_PAGE_COLUMNS, 24)).columns, unicode=has_unicode())
    state = State(sort=settings.sort, filter=settings.filter)
    return page(make_view(second, first, first), state, look)


def _live(connect: Callable[[], Source], settings: Settings) -> int:
    if not (_is_terminal(sys.stdin) and _is_terminal(sys.stdout)):
        raise UsageError("reserve top needs a terminal; with --once it prints one page, and with --once --json JSON")
    from reserve.control.top.terminal import Terminal  # needs termios, which not every system has

    with Terminal(sys.stdin.fileno(), sys.stdout.fileno()) as terminal:
        fetcher = Fetcher(connect, settings.interval, terminal.wake)
        fetcher.start()
        try:
            return Loop(terminal, fetcher, settings).run()
        finally:
            fetcher.close()


def _is_terminal(stream: object) -> bool:
    try:
        return stream is not None and bool(stream.isatty())  # type: ignore[attr-defined]
    except (AttributeError, OSError, ValueError):  # closed, or replaced by something that is no stream
        return False


class Loop:
    """The live view in one terminal; used once, by the main thread."""

    def __init__(
        self,
        terminal: Terminal,
        fetcher: Fetcher,
        settings: Settings,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._terminal = terminal
        self._fetcher = fetcher
        self._state = State(sort=settings.sort, filter=settings.filter)
        self._history = History()
        self._newest: View | None = None
        self._shown: View | None = None
        """The view on the screen: while paused, not the newest."""
        self._problem = ""
        self._clock = clock
        self._patience = settings.interval + _SILENCE
        self._heard_at = clock()
        """When the last document came, or the last error."""
        self._before: list[Line] | None = None
        self._unicode = has_unicode()
        self._colours = has_colours()

    def run(self) -> int:
        """Show and wait, until a key or a signal ends it; return the exit code."""
        while True:
            self._take_results()
            self._draw()
            event = self._terminal.wait(_TICK)
            if event.exit_code is not None:
                return event.exit_code
            if event.is_redrawn:
                self._before = None
            for key in event.keys:
                action = self._state.press(key, self._shown)
                if action is Action.QUIT:
                    return 0
                if action is Action.STACK and self._state.stack is not None:
                    self._fetcher.ask_stack(self._state.stack.thread)

    def _take_results(self) -> None:
        while True:
            try:
                result = self._fetcher.results.get_nowait()
            except queue.Empty:
                break
            if not isinstance(result, StackOf):
                self._heard_at = self._clock()
            if isinstance(result, Fetched):
                self._problem = ""
                self._newest = self._history.add(result.sample)
            elif isinstance(result, Failed):
                self._problem = result.reason
            elif isinstance(result, StackOf):
                stack = self._state.stack
                if stack is not None and stack.thread.key == result.thread.key:
                    stack.lines, stack.error = result.lines or None, result.error
        if not self._state.is_paused or self._shown is None:
            self._shown = self._newest

    def _draw(self) -> None:
        columns, lines = self._terminal.size()
        silent = self._clock() - self._heard_at
        problem = self._problem
        if silent >= self._patience and not problem:
            problem = f"the server has not responded for {silent:.0f} s"
        shown = screen(self._shown, self._state, Look(columns, unicode=self._unicode), lines, problem=problem)
        text = frame(shown, self._before, colours=self._colours)
        self._before = shown if not text or self._terminal.write(text) else None
