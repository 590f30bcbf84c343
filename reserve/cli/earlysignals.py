"""What signals do from the first line of the program until its command handles them.

The imports of the command take most of the time of a start, and the default action of most signals ends a process
without a message. So the program installs these handlers before it imports anything else; this module itself imports
only what the interpreter has loaded anyway. Runs on the main thread.
"""

from __future__ import annotations

import os
import signal

TYPE_CHECKING = False  # not imported: the module typing would take as long as everything else here
if TYPE_CHECKING:
    from types import FrameType
    from typing import Any, NoReturn

__all__ = ["EarlySignals", "has_terminal"]

_STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_LATER_SIGNALS = tuple(getattr(signal, name) for name in ("SIGHUP",) if hasattr(signal, name))


class EarlySignals:
    """The handlers of the first moments; the program makes one, and :class:`~reserve.cli.signals.StopSignals` replaces
    its handlers by its own.

    SIGINT and SIGTERM end the process with one line: there is nothing to clean up yet. Other signals are remembered
    until the command can tell what they mean.
    """

    def __init__(self) -> None:
        self.previous_handlers: dict[signal.Signals, Any] = {}
        """The handlers that were there before."""
        self.received: list[int] = []
        """The numbers of the signals that have arrived and wait for the command, in their order, each once."""
        self.had_terminal = has_terminal()
        """Whether the process had a controlling terminal when it started."""

    def install(self) -> None:
        """Install the handlers."""
        for number in _STOP_SIGNALS:
            self.previous_handlers[number] = signal.signal(number, _exit_before_start)
        for number in _LATER_SIGNALS:
            self.previous_handlers[number] = signal.signal(number, self._remember)

    def _remember(self, number: int, frame: FrameType | None) -> None:
        if number not in self.received:
            self.received.append(number)


def has_terminal() -> bool:
    """Whether this process has a controlling terminal that is still open."""
    try:
        terminal = os.open("/dev/tty", os.O_RDONLY | getattr(os, "O_NOCTTY", 0))
    except OSError:
        return False
    os.close(terminal)
    return True


def _exit_before_start(number: int, frame: FrameType | None) -> NoReturn:
    """The signal handler while there is nothing to clean up yet."""
    signal.signal(number, signal.SIG_DFL)  # so that a second signal ends the process if the write blocks
    try:
        os.write(2, b"reserve: interrupted before the server started\n")
    finally:
        os._exit(1)
