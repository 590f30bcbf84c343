"""The program of the supervisor: what concerns its process. Runs on the main thread, which is its only one."""

from __future__ import annotations

import os
import signal
from types import FrameType

from reserve.cli.processes.spawn import handled_signals
from reserve.cli.processes.state import read_state
from reserve.errors import ReserveError
from reserve.supervisor.supervisor import Supervisor
from reserve.supervisor.workers import write_line

__all__ = ["main"]


def main(fd: int) -> int:
    """Run the supervisor, and return the exit code of the process.

    :param fd: the descriptor of a :class:`~reserve.cli.processes.state.State`.
    """
    reader, writer = os.pipe()
    for end in (reader, writer):
        os.set_blocking(end, False)
    signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    for number in handled_signals():
        signal.signal(number, _note)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, handled_signals())
    try:
        exit_code = Supervisor(read_state(fd)).run(reader)
    except ReserveError as error:
        write_line(f"reserve: {error}")
        return error.exit_code
    write_line("reserve: the server has stopped")
    return exit_code


def _note(number: int, frame: FrameType | None) -> None:
    """The signal handler: the interpreter has written the number into the pipe, from which the loop reads it."""
