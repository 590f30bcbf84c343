"""One line on standard error that says how far a long measurement is."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import TextIO

__all__ = ["Progress", "duration"]

_WIDTH = 24


class Progress:
    """A bar on a terminal, and a line for each tenth of the work elsewhere.

    :param total: steps of the whole work.
    :param stream: where the bar goes; default: standard error.
    """

    def __init__(self, total: int, stream: TextIO | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self._total = max(total, 1)
        self._stream = stream or sys.stderr
        self._clock = clock
        self._start = clock()
        self._done = 0
        self._tenth = 0
        self._length = 0
        self._is_terminal = self._stream.isatty()

    def step(self, what: str) -> None:
        """Say what begins now."""
        if self._is_terminal:
            self._write(f"\r{self.line(what)}")

    def advance(self) -> None:
        """One more step is done."""
        self._done += 1
        tenth = 10 * self._done // self._total
        if not self._is_terminal and tenth > self._tenth:
            self._tenth = tenth
            self._write(self.line("") + "\n")

    def note(self, text: str) -> None:
        """Print a line that stays."""
        self._write(f"\r{' ' * self._length}\r{text}\n" if self._is_terminal else f"{text}\n")
        self._length = 0

    def close(self) -> None:
        """Remove the bar."""
        if self._is_terminal:
            self._write(f"\r{' ' * self._length}\r")

    def line(self, what: str) -> str:
        """The bar: what is done, what begins, and the time that is left."""
        filled = _WIDTH * self._done // self._total
        elapsed = self._clock() - self._start
        left = elapsed / self._done * (self._total - self._done) if self._done else None
        text = f"[{'#' * filled}{'.' * (_WIDTH - filled)}] {self._done}/{self._total}"
        text += f", {duration(left)} left" if left is not None else ""
        text += f": {what}" if what else ""
        padded = text.ljust(self._length)
        self._length = len(text)
        return padded

    def _write(self, text: str) -> None:
        self._stream.write(text)
        self._stream.flush()


def duration(seconds: float) -> str:
    """Seconds as ``1:05`` or ``1:02:03``."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
