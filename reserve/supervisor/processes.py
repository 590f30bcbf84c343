"""The processes of the supervisor: its workers and the zygotes that fork some of them. Used by its one thread.

What it starts, and when, is decided by the policy; here is how: with which slot, over which channel, and what of it a
program that the supervisor becomes gets.
"""

from __future__ import annotations

import os
import selectors
from collections.abc import Callable
from typing import Any

from reserve.cli.binds import Listeners
from reserve.cli.processes.channel import Channel
from reserve.cli.processes.spawn import start_worker, start_zygote
from reserve.cli.processes.state import PassedProcess, State, pass_listeners
from reserve.engine.scoreboard import Scoreboard
from reserve.errors import UsageError
from reserve.supervisor.policy import Phase, Policy
from reserve.supervisor.workers import WorkerProcess
from reserve.supervisor.zygotes import Zygotes

__all__ = ["Processes"]

_FEWEST_SLOTS = 16
"""Of the scoreboard: workers that retire need theirs beside their successors."""


class Processes:
    """All processes of one supervisor, which makes one of these.

    :param state: the command line and the working directory of the workers, and the processes that this process had
        before ``execve``.
    :param policy: of the supervisor. It knows the same workers.
    :param workers: by process ID; empty.
    :param selector: of the supervisor; it reports a readable channel with its :class:`WorkerProcess`.
    :param now: seconds of a monotonic clock.
    """

    def __init__(
        self,
        state: State,
        policy: Policy,
        workers: dict[int, WorkerProcess],
        selector: selectors.BaseSelector,
        now: Callable[[], float],
    ) -> None:
        self._state = state
        self._policy = policy
        self._selector = selector
        self._now = now
        self._scoreboard = _open_scoreboard(state.scoreboard, policy.wanted)
        self.workers = workers
        self.zygotes = Zygotes(selector, workers, now)

    def adopt(self) -> None:
        """Take over the processes that this process had before ``execve``."""
        self.zygotes.adopt(self._state.zygotes)
        for passed in self._state.processes:
            channel = Channel.from_fd(passed.channel)
            channel.adopt(passed.unread, passed.unsent)
            worker = self.zygotes.forked(passed, channel) or WorkerProcess(
                passed.pid, channel, passed.generation, passed.slot, self._now()
            )
            worker.phase = Phase(passed.phase)
            worker.due = passed.due
            self._policy.adopt(worker, self._now())
            self.add(worker)

    def passed(self) -> list[PassedProcess]:
        """The workers for :meth:`adopt`."""
        return [
            PassedProcess(
                worker.pid,
                worker.channel.fileno(),
                worker.generation,
                worker.slot,
                worker.phase.value,
                *worker.origin,
                *worker.channel.passed(),
            )
            for worker in self.workers.values()
            if worker.pid > 0
        ]

    @property
    def scoreboard_fd(self) -> int:
        """For the program that the supervisor becomes; -1: there is no scoreboard."""
        return -1 if self._scoreboard is None else self._scoreboard.fd

    def start(self, listeners: Listeners) -> WorkerProcess | None:
        """Start a worker, or the zygote that it needs; None: that zygote still imports the application.

        :param listeners: those of the present generation.
        :returns: a worker, which :meth:`add` adds, or a zygote, which is added.
        :raises OSError: the system starts no more processes, or no descriptor is free.
        """
        policy = self._policy
        slot = next(number for number in range(len(self.workers) + 1) if number not in self._slots())
        first = policy.serving_generation != policy.generation
        start = start_worker
        setup: dict[str, Any] = {"processes": policy.wanted}
        if self._scoreboard is not None and slot < self._scoreboard.slots:
            setup["scoreboard"] = self._scoreboard.fd
        passed = pass_listeners(listeners, with_files=False)
        if policy.preload:
            worker = self.zygotes.fork(policy.generation, slot, passed, **setup)
            if worker is not None:
                return worker
            if self.zygotes.of(policy.generation) is not None:
                return None
            start = start_zygote
        process, channel = start(
            self._state.argv,
            passed,
            self._state.directory,
            announce=first,
            slot=slot,
            generation=policy.generation,
            pass_fds=() if self._scoreboard is None else (self._scoreboard.fd,),
            **setup,
        )
        process.returncode = 0  # the supervisor waits for it itself
        if start is start_zygote:
            return self.zygotes.add(process.pid, channel, policy.generation)
        return WorkerProcess(process.pid, channel, policy.generation, slot, self._now())

    def _slots(self) -> set[int]:
        return {worker.slot for worker in self.workers.values()}

    def add(self, worker: WorkerProcess) -> None:
        """Take a worker in, and have its channel reported."""
        self.workers[worker.pid] = worker
        self._selector.register(worker.channel, selectors.EVENT_READ, worker)

    def remove(self, worker: WorkerProcess) -> None:
        """A worker has ended, and its messages were read."""
        if not worker.channel.ended:
            self._selector.unregister(worker.channel)
        worker.channel.close()
        del self.workers[worker.pid]
        if self._scoreboard is not None and worker.slot < self._scoreboard.slots:
            self._scoreboard.clear(worker.slot)

    def flush(self) -> bool:
        """Send the workers what they have not read; False: some do not read now."""
        return all([worker.channel.flush() for worker in self.workers.values()])

    def close(self) -> None:
        """Close the supervisor's copy of the scoreboard."""
        if self._scoreboard is not None:
            self._scoreboard.close()


def _open_scoreboard(fd: int, processes: int) -> Scoreboard | None:
    """What the workers tell each other. None: the system has no room for it, and chance shares the connections.

    :param fd: of the one that this process had before ``execve``; -1: it had none.
    """
    try:
        if fd < 0:
            return Scoreboard(slots=max(_FEWEST_SLOTS, 2 * processes))
        board = Scoreboard(fd)
        os.close(fd)
        return board
    except (OSError, UsageError):
        return None
