"""The program of the supervisor: what concerns its process. Runs on the main thread, which is its only one."""

from __future__ import annotations

import logging
import os
import signal
from types import FrameType

from reserve.cli.early.signals import has_terminal
from reserve.cli.early.signaltable import is_handled
from reserve.cli.processes.spawn import handled_signals
from reserve.cli.processes.state import State, read_state
from reserve.daemon.detach import Parent
from reserve.errors import ReserveError
from reserve.sockets.notify import Notifier
from reserve.supervisor.supervisor import Supervisor
from reserve.supervisor.workers import write_line

__all__ = ["main"]

_OWN = {signal.SIGCHLD, signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU}
"""Signals that are always handled. It never reads from the terminal, and blocks SIGTTOU while it writes, so the system
does not send it the last two."""


def main(fd: int) -> int:
    """Run the supervisor, and return the exit code of the process.

    :param fd: the descriptor of a :class:`~reserve.cli.processes.state.State`.
    """
    reader, writer = os.pipe()
    for end in (reader, writer):
        os.set_blocking(end, False)
    state = read_state(fd)
    signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    for number in handled_signals():
        if number in _OWN or is_handled(number, signal.getsignal(number), has_terminal=state.had_terminal):
            signal.signal(number, _note)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, handled_signals())
    parent, notifier = Parent.resume(), Notifier.from_environ(report=lambda text: write_line(f"reserve: {text}"))
    exit_code = 1
    try:
        exit_code = Supervisor(
            state, terminal_closed=lambda: _terminal_closed(state), notifier=notifier, parent=parent
        ).run(reader)
    except ReserveError as error:
        write_line(f"reserve: {error}", logging.ERROR)
        exit_code = error.exit_code
    finally:
        if parent is not None:
            parent.failed(exit_code)
    return exit_code


def _terminal_closed(state: State) -> bool:
    return state.had_terminal and not state.nohup and not has_terminal()


def _note(number: int, frame: FrameType | None) -> None:
    """The signal handler: the interpreter has written the number into the pipe, from which the loop reads it."""
