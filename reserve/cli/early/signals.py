"""What signals do from the first line of the program until its command handles them.

The imports of the command take most of the time of a start, and the default action of most signals ends a process
without a message. So the program installs these handlers before it imports anything else; this module itself imports
only what the interpreter has loaded anyway. Runs on the main thread.
"""

from __future__ import annotations

import os
import signal

from reserve.cli.early.signaltable import Reaction, is_handled, reaction_to

TYPE_CHECKING = False  # not imported: the module typing would take as long as everything else here
if TYPE_CHECKING:
    from types import FrameType
    from typing import Any, NoReturn

__all__ = ["EarlySignals", "has_terminal"]


class EarlySignals:
    """The handlers of the first moments; the program makes one, and :class:`~reserve.cli.signals.StopSignals` replaces
    its handlers by its own.

    A signal that stops the server ends the process with one line: there is nothing to clean up yet. Others are
    remembered until the command can tell what they mean.
    """

    def __init__(self) -> None:
        self.previous_handlers: dict[int, Any] = {}
        """The handlers that were there before."""
        self.received: list[int] = []
        """The numbers of the signals that have arrived and wait for the command, in their order, each once."""
        self.had_terminal = has_terminal()
        """Whether the process had a controlling terminal when it started."""

    def install(self) -> None:
        """Install the handlers."""
        for number in signal.valid_signals():
            previous = signal.getsignal(number)
            if is_handled(number, previous, has_terminal=self.had_terminal):
                stops = reaction_to(number) in (Reaction.STOP, Reaction.STOP_AT_ONCE)
                signal.signal(number, _exit_before_start if stops else self._remember)
                self.previous_handlers[number] = previous

    def handles(self, number: int) -> bool:
        """Whether the present handler of the signal is one of these."""
        return signal.getsignal(number) in (_exit_before_start, self._remember)

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
        if "RESERVE_WORKER_FD" not in os.environ and "RESERVE_ZYGOTE_FD" not in os.environ:  # the supervisor says it
            os.write(2, b"reserve: interrupted before the server started\n")
    finally:
        os._exit(1)
