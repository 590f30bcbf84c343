"""The worker processes as the supervisor sees them. Used by its one thread."""

from __future__ import annotations

import logging
import os
import signal
from contextlib import suppress
from typing import Any

from reserve.cli.processes.channel import Channel
from reserve.control.messages import Message, parse_messages
from reserve.engine.logs.journal import is_journal, with_level
from reserve.supervisor.policy import Phase, Worker
from reserve.wait import write_within

__all__ = ["WorkerProcess", "suspend", "write_line"]


_PATIENCE = 1.0
"""Seconds that a line may wait for room on standard error."""


class WorkerProcess(Worker):
    """One worker process: a child of the supervisor, or in a derived class of a zygote.

    :param channel: the supervisor's end.
    """

    def __init__(self, pid: int, channel: Channel, generation: int, slot: int, started: float) -> None:
        super().__init__(pid, generation, slot, started)
        channel.sock.setblocking(False)
        self.channel = channel
        self.origin: tuple[int, int] = 0, 0
        """The process ID of its zygote and its number in messages of the zygote; zeros: it has none."""
        self._was_malformed = False
        """A line has said that it sends what is no message."""

    def receive(self, *, everything: bool = False) -> list[Message]:
        """Read what it has sent. What is malformed changes nothing, and one line says so for the first time.

        A process that is STARTING is killed then, because nothing could tell when it is ready. Another one serves on;
        if its channel cannot be read any more, it tells nothing, and signals stop it.

        :param everything: it has ended, so this is the last call.
        """
        messages, complaint = parse_messages(self.channel.receive_all() if everything else self.channel.receive())
        if self.channel.is_garbled:
            complaint = complaint or "it is no JSON object with a type"
        if complaint and not self._was_malformed:
            self._was_malformed = True
            text = f"{self.kind} {self.pid} has sent a message that cannot be read: {complaint}"
            write_line(f"reserve: {text}", logging.WARNING)
            if self.phase is Phase.STARTING and not everything:
                self.signal(signal.SIGKILL)
        return messages

    def tell(self, kind: str, **values: Any) -> None:
        """Send it a message. Without a channel, which the application may have closed, SIGTERM stops it instead."""
        if self.channel.ended:
            self.signal(signal.SIGTERM)
        else:
            self.channel.send(kind, **values)

    def signal(self, number: int) -> None:
        """Send it a signal. A child that has ended is a zombie until the supervisor waits for it, so the number of the
        process is its own.
        """
        with suppress(ProcessLookupError, PermissionError):  # it runs as another user
            os.kill(self.pid, number)

    def poll(self) -> int | None:
        """The exit code of the process, negative for the signal that has ended it; None: it runs."""
        try:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
        except ChildProcessError:  # another part of the program has waited for it
            return 0
        return None if pid == 0 else os.waitstatus_to_exitcode(status)


def write_line(text: str, level: int = logging.INFO) -> None:
    """Write a line on standard error. A person who has stopped the terminal, or a log service that hangs, must not stop
    the supervisor: the line is lost then.

    :param level: as in :mod:`logging`; journald shows it.
    """
    if is_journal(2):
        text = with_level(level, text)
    data = f"{text}\n".encode(errors="backslashreplace")
    # A terminal may stop a process in the background that writes to it (stty tostop), unless the signal is blocked.
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTTOU])
    try:
        write_within(2, data, _PATIENCE)
    except OSError:  # closed
        return
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def suspend() -> None:
    """Pause this process, as SIGTSTP does by default, until it is continued."""
    handler = signal.signal(signal.SIGTSTP, signal.SIG_DFL)
    os.kill(os.getpid(), signal.SIGTSTP)
    signal.signal(signal.SIGTSTP, handler)
