"""The zygotes as the supervisor sees them (``--preload``), and the worker processes that they fork. Used by its one
thread.

A zygote is a child of the supervisor, its workers are not. So what the supervisor does itself to other workers, it has
the zygote do: wait for the end, and send signals. If a zygote is killed, its workers live on, and serve until others
have replaced them. Then the end of a worker is the end of its channel.
"""

from __future__ import annotations

import os
import selectors
import signal
from collections.abc import Callable, Collection, Iterable
from contextlib import suppress
from typing import Any

from reserve.cli.processes.channel import Channel
from reserve.cli.processes.spawn import fork_worker
from reserve.cli.processes.state import PassedListener, PassedProcess
from reserve.control.messages import Ended, Forked, Message, Preloaded
from reserve.supervisor.policy import Phase
from reserve.supervisor.workers import WorkerProcess

__all__ = ["ForkedWorker", "ZygoteProcess", "Zygotes"]


class ZygoteProcess(WorkerProcess):
    """One zygote, a child of the supervisor.

    Its phase is STARTING while it imports the application, SERVING when it can fork, and STOPPING when it is to end.
    """

    kind = "zygote process"


class ForkedWorker(WorkerProcess):
    """One worker process: a child of a zygote.

    Its process ID is not known, and less than 0, until the zygote has forked it.

    :param zygote: its parent.
    :param serial: its number in messages.
    """

    def __init__(
        self, zygote: ZygoteProcess, serial: int, pid: int, channel: Channel, generation: int, slot: int, started: float
    ) -> None:
        super().__init__(pid, channel, generation, slot, started)
        self.zygote = zygote
        self.serial = serial
        self.origin = zygote.pid, serial
        self.exit_code: int | None = None

    def signal(self, number: int) -> None:
        """Send it a signal. As long as its parent lives, the parent does: it knows that the process ID still is that of
        the worker.
        """
        if not self.is_orphan:
            self.zygote.tell("signal", serial=self.serial, number=number)
        elif self.pid > 0 and not self.channel.ended:
            with suppress(OSError):
                os.kill(self.pid, number)

    def poll(self) -> int | None:
        """The exit code that the zygote has reported; 0 if there is no zygote any more, and the worker has ended."""
        if self.is_orphan and (self.channel.ended or not _exists(self.pid)):
            return 0
        return self.exit_code


def _exists(pid: int) -> bool:
    """Whether there is such a process. A process that the worker has forked may have a copy of its channel, so the
    channel need not end with the worker.
    """
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:  # it has another user
        return True
    return True


class Zygotes:
    """All zygotes of the supervisor; it makes one of these.

    :param selector: of the supervisor.
    :param workers: of the supervisor, by process ID.
    :param now: seconds of a monotonic clock.
    """

    def __init__(
        self, selector: selectors.BaseSelector, workers: dict[int, WorkerProcess], now: Callable[[], float]
    ) -> None:
        self.processes: list[ZygoteProcess] = []
        self._selector = selector
        self._workers = workers
        self._now = now
        self._last_serial = 0

    # ---- the supervisor becomes a new program ----

    def adopt(self, passed: Iterable[PassedProcess]) -> None:
        """Take over the zygotes that this process had before ``execve``."""
        for item in passed:
            zygote = self.add(item.pid, Channel.from_fd(item.channel), item.generation)
            zygote.channel.adopt(item.unread, item.unsent)
            zygote.phase = Phase(item.phase)

    def forked(self, passed: PassedProcess, channel: Channel) -> ForkedWorker | None:
        """A worker that this process had before ``execve``; None: it is a child of this process."""
        if not passed.zygote:
            return None
        self._last_serial = max(self._last_serial, passed.serial)
        zygote = next((item for item in self.processes if item.pid == passed.zygote), None)  # it may have ended
        parent = zygote or ZygoteProcess(passed.zygote, channel, passed.generation, 0, self._now())
        worker = ForkedWorker(parent, passed.serial, passed.pid, channel, passed.generation, passed.slot, self._now())
        worker.is_orphan = zygote is None
        return worker

    def passed(self) -> tuple[PassedProcess, ...]:
        """The zygotes for :meth:`adopt`."""
        return tuple(
            PassedProcess(
                zygote.pid,
                zygote.channel.fileno(),
                zygote.generation,
                zygote.slot,
                zygote.phase.value,
                *zygote.origin,
                *zygote.channel.passed(),
            )
            for zygote in self.processes
            if not zygote.channel.ended
        )

    # ---- start and end ----

    def add(self, pid: int, channel: Channel, generation: int) -> ZygoteProcess:
        """A zygote that was started."""
        zygote = ZygoteProcess(pid, channel, generation, 0, self._now())
        self.processes.append(zygote)
        self._selector.register(channel, selectors.EVENT_READ, zygote)
        return zygote

    def of(self, generation: int) -> ZygoteProcess | None:
        """The zygote of a generation; None: there is none."""
        return next(
            (
                zygote
                for zygote in self.processes
                if zygote.generation == generation and zygote.phase is not Phase.STOPPING
            ),
            None,
        )

    def fork(
        self, generation: int, slot: int, listeners: Iterable[PassedListener], **setup: Any
    ) -> ForkedWorker | None:
        """Have the zygote of a generation fork a worker; None: there is none that can.

        :param setup: what the worker is told first: see :class:`~reserve.cli.processes.worker.SupervisedWorker`.
        """
        zygote = self.of(generation)
        if zygote is None or zygote.phase is not Phase.SERVING:
            return None
        self._last_serial += 1
        serial = self._last_serial
        channel = fork_worker(zygote.channel, zygote.pid, serial, listeners, slot=slot, generation=generation, **setup)
        return ForkedWorker(zygote, serial, -serial, channel, generation, slot, self._now())

    def kill_unprepared(self) -> None:
        """Kill the zygotes that import an application."""
        for zygote in self.processes:
            if zygote.phase is Phase.STARTING:
                zygote.phase = Phase.STOPPING
                zygote.signal(signal.SIGKILL)

    def stop(self, kill_at: float) -> None:
        """The server stops: a zygote ends after its workers.

        :param kill_at: when it is killed if it does not.
        """
        self.kill_unprepared()
        for zygote in self.processes:
            zygote.kill_at = min(zygote.kill_at, kill_at)

    def end_unneeded(self, generations: Collection[int], kill_at: float) -> None:
        """End the zygotes of other generations that have no workers, and kill those that are due.

        :param kill_at: when a zygote is killed that does not end.
        """
        parents = {id(worker.zygote) for worker in self._workers.values() if isinstance(worker, ForkedWorker)}
        now = self._now()
        for zygote in self.processes:
            if zygote.kill_at <= now:
                zygote.kill_at = float("inf")
                zygote.signal(signal.SIGKILL)
            if zygote.phase is Phase.SERVING and zygote.generation not in generations and id(zygote) not in parents:
                zygote.phase = Phase.STOPPING
                zygote.kill_at = min(zygote.kill_at, kill_at)
                self._close(zygote)

    def reap(self) -> list[tuple[ZygoteProcess, int]]:
        """Wait for the zygotes that have ended, and return those that should not have, with their exit codes."""
        unexpected = []
        for zygote in list(self.processes):
            code = zygote.poll()
            if code is None:
                continue
            if not zygote.channel.ended:
                self.receive(zygote, everything=True)
            self._close(zygote)
            self.processes.remove(zygote)
            self._orphan_workers(zygote)
            if zygote.phase is not Phase.STOPPING:
                unexpected.append((zygote, code))
        return unexpected

    def _orphan_workers(self, zygote: ZygoteProcess) -> None:
        """From now on the workers of this zygote have no parent that knows them."""
        for worker in list(self._workers.values()):
            if not isinstance(worker, ForkedWorker) or worker.zygote is not zygote or worker.exit_code is not None:
                continue
            worker.is_orphan = True
            if worker.pid < 0:  # it was not forked, or ends now, because its channel does
                worker.phase = Phase.STOPPING
                if not worker.channel.ended:
                    self._selector.unregister(worker.channel)
                worker.channel.close()
                worker.channel.ended = True
            elif worker.phase is Phase.STARTING:
                worker.phase = Phase.STOPPING
                worker.signal(signal.SIGKILL)

    def _close(self, zygote: ZygoteProcess) -> None:
        if zygote.channel.fileno() >= 0:
            if not zygote.channel.ended:
                self._selector.unregister(zygote.channel)
            zygote.channel.close()
            zygote.channel.ended = True

    # ---- messages ----

    def receive(self, zygote: ZygoteProcess, *, everything: bool = False) -> None:
        """Read what a zygote has sent.

        :param everything: it has ended.
        """
        for message in zygote.receive(everything=everything):
            self.handle_message(zygote, message)
        if zygote.channel.ended:
            self._selector.unregister(zygote.channel)

    def handle_message(self, zygote: ZygoteProcess, message: Message) -> None:
        """What a message of a zygote changes."""
        if isinstance(message, Preloaded):
            if zygote.phase is Phase.STARTING:
                zygote.phase = Phase.SERVING
            return
        if not isinstance(message, (Forked, Ended)):
            return
        worker = next(
            (
                worker
                for worker in self._workers.values()
                if isinstance(worker, ForkedWorker) and worker.zygote is zygote and worker.serial == message.serial
            ),
            None,
        )
        if worker is None:
            return
        if isinstance(message, Ended):
            worker.exit_code = message.code
        elif worker.pid < 0 and message.pid not in self._workers:  # else it was told before
            del self._workers[worker.pid]
            worker.pid = message.pid
            self._workers[worker.pid] = worker
