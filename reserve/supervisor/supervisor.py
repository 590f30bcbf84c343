"""The loop of the supervisor: which worker processes there should be, and what happens when one ends or a signal comes.

The one thread of the process runs it. Nothing in it blocks but a line on standard error, for a second at most. One rule
starts and ends workers at a start, a crash, a reload and a recycle alike: as many *good* workers as wanted (of the
present generation, and not due for replacement), started one at a time while there are others to replace; and a worker
that is not good retires only when there would be one too many.
"""

from __future__ import annotations

import os
import selectors
import signal
import subprocess
import time
from collections import deque
from collections.abc import Callable
from typing import Any, cast

from reserve.cli.early.signaltable import Reaction, name_of, reaction_to
from reserve.cli.parser import parse_command_line
from reserve.cli.processes.channel import Channel
from reserve.cli.processes.spawn import become_supervisor, handled_signals, program, start_worker, start_zygote
from reserve.cli.processes.state import PassedProcess, State, adopt_listeners, pass_listeners
from reserve.errors import ReserveError, UsageError
from reserve.options.sources import Values, collect
from reserve.sockets.listeners import release
from reserve.supervisor.watcher import Watcher, watch_arguments
from reserve.supervisor.workers import Phase, WorkerProcess, write_line
from reserve.supervisor.zygotes import ZygoteProcess, Zygotes

__all__ = ["Supervisor"]

_ABORTED = 3
"""The exit code of a worker, and of the supervisor, after a stop that has aborted requests."""
_GRACE = 5.0
"""Seconds that a worker has to end after its stop timeout, before it is killed."""
_LONGEST_DELAY = 30.0
"""Seconds between two attempts to replace workers that do not start or soon crash."""
_SOON = 10.0
"""Seconds. A worker that crashes earlier after its start delays its successor."""


class Supervisor:
    """The worker processes of one command; the program makes one.

    :param state: what the process was before has passed on.
    :param now: seconds of a monotonic clock.
    """

    def __init__(self, state: State, now: Callable[[], float] = time.monotonic) -> None:
        self._state = state
        self._now = now
        self._values = self._read_options()
        self._listeners = adopt_listeners(state.listeners)
        self._selector = selectors.DefaultSelector()
        self._signals: deque[int] = deque(state.signals)
        self.wanted = state.wanted or self._processes()
        self.generation = state.generation
        self._serving_generation = state.generation if state.processes else 0
        """The last one of which a worker was ready."""
        self.workers: dict[int, WorkerProcess] = {}
        self._stop_count = 0
        self._exit_code = 0
        self._delay = 0.0
        self._not_before = 0.0
        self._trial: subprocess.Popen[bytes] | None = None
        self._watcher: Watcher | None = None
        """What notices changes (``--reload``); None: nothing does."""
        self._aborted = state.aborted
        self._is_complete = bool(state.processes)
        self._zygotes = Zygotes(self._selector, self.workers, now)
        self._zygotes.adopt(state.zygotes)
        for passed in state.processes:
            channel = Channel.from_fd(passed.channel)
            worker = self._zygotes.forked(passed, channel) or WorkerProcess(
                passed.pid, channel, passed.generation, passed.slot, now()
            )
            worker.phase = Phase(passed.phase)
            self._add(worker)

    def run(self, wakeup: int) -> int:
        """Supervise until everything has stopped, and return the exit code of the process.

        :param wakeup: the descriptor from which the numbers of signals are read.
        """
        self._selector.register(wakeup, selectors.EVENT_READ)
        self._watch()
        while True:
            while self._signals:
                self.handle_signal(self._signals.popleft())
            self._reap()
            self._act()
            if self._stop_count and not self.workers and not self._zygotes.processes:
                break
            for key, _ in self._selector.select(self._timeout()):
                if key.fd == wakeup:
                    self._signals.extend(os.read(wakeup, 4096))
                elif isinstance(key.data, ZygoteProcess):
                    self._zygotes.receive(key.data)
                elif isinstance(key.data, Watcher):
                    self._receive_changes(key.data)
                else:
                    self._receive(cast("WorkerProcess", key.data))
        self._end_watch()
        for sock in self._listeners.all:
            release(sock)
        return self._exit_code or (_ABORTED if self._aborted else 0)

    # ---- signals ----

    def handle_signal(self, number: int) -> None:
        """What a signal does."""
        reaction = reaction_to(number)
        if number == signal.SIGCHLD:
            return
        if reaction is Reaction.STOP:
            self._stop(signal.SIGTERM)
        elif reaction is Reaction.STOP_AT_ONCE:
            self._stop(signal.SIGQUIT)
        elif self._stop_count:
            return
        elif reaction is Reaction.RELOAD:
            self._reload()
        elif reaction is Reaction.REOPEN:
            for worker in self.workers.values():
                worker.signal(number)
        elif number == signal.SIGUSR2:
            self._try_new_program()
        elif number in (signal.SIGTTIN, signal.SIGTTOU):
            self.wanted = max(1, self.wanted + (1 if number == signal.SIGTTIN else -1))
            write_line(f"reserve: {name_of(number)}: {_processes(self.wanted)} from now on")
        else:
            write_line(f"reserve: {name_of(number)}: this signal has no meaning, and changes nothing")

    def _stop(self, number: int) -> None:
        self._stop_count += 1
        timeout = 0.0 if self._stop_count > 1 or number != signal.SIGTERM else self._stop_time()
        if self._stop_count == 1 and number == signal.SIGTERM:
            write_line(f"reserve: stopping; requests in flight have {timeout:g} s, a second signal stops at once")
        else:
            write_line("reserve: stopping at once")
        for worker in self.workers.values():
            worker.phase = Phase.STOPPING
            worker.kill_at = min(worker.kill_at, self._now() + timeout + _GRACE)
            worker.signal(number)
        self._zygotes.stop(self._now() + timeout + 2 * _GRACE)

    def _reload(self, reason: str = "") -> None:
        """Begin a new generation, with the configuration and the code as they are now.

        :param reason: why, as the beginning of a line.
        """
        try:
            self._values = self._read_options()
        except ReserveError as error:
            write_line(f"reserve: the configuration cannot be used, so the previous one stays: {error}")
            return
        self.wanted = self._processes()
        self.generation += 1
        self._delay = self._not_before = 0.0
        for worker in self.workers.values():
            if worker.phase is Phase.STARTING:  # of an older generation
                worker.phase = Phase.STOPPING
                worker.signal(signal.SIGKILL)
        self._zygotes.kill_unprepared()
        write_line(f"reserve: {reason}reloading")
        self._watch()

    # ---- changed files ----

    def _watch(self) -> None:
        """Have files watched as the options say."""
        arguments = watch_arguments(self._values, self._state.directory) if self._values["reload"] else []
        if self._watcher is not None:
            if self._watcher.arguments == arguments:
                return
            self._end_watch()
        if arguments:
            try:
                self._watcher = Watcher(arguments)
            except OSError as error:
                write_line(f"reserve: no file is watched (--reload): {error}")
                return
            self._selector.register(self._watcher, selectors.EVENT_READ, self._watcher)

    def _end_watch(self) -> None:
        if self._watcher is not None:
            self._selector.unregister(self._watcher)
            self._watcher.close()
            self._watcher = None

    def _receive_changes(self, watcher: Watcher) -> None:
        if watcher is not self._watcher:  # another one has taken its place since the selector reported it
            return
        lines = watcher.receive()
        if watcher.ended:
            self._end_watch()
            write_line("reserve: what watches files has ended, so no change is noticed any more (--reload)")
        elif lines and not self._stop_count:
            self._reload(f"{lines[-1] if len(lines) == 1 else 'several files'} changed: ")

    def _try_new_program(self) -> None:
        if self._trial is None:
            self._trial = subprocess.Popen(
                [*program(), "--version"], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL
            )

    # ---- workers ----

    def _act(self) -> None:
        """Start, retire and kill workers, so that there are as many good ones as wanted."""
        now = self._now()
        for worker in self.workers.values():
            if worker.kill_at <= now:
                worker.kill_at = float("inf")
                self._aborted = True
                write_line(f"reserve: worker process {worker.pid} has not stopped in time, and is killed")
                worker.signal(signal.SIGKILL)
        needed = () if self._stop_count else (self.generation, self._serving_generation)
        self._zygotes.end_unneeded(needed, self._now() + _GRACE)
        if self._stop_count:
            return
        serving = [worker for worker in self.workers.values() if worker.phase is Phase.SERVING]
        starting = [worker for worker in self.workers.values() if worker.phase is Phase.STARTING]
        good = [worker for worker in serving if worker.generation == self.generation and not worker.due]
        outdated = [worker for worker in serving if worker not in good]
        missing = self.wanted - len(good) - len(starting)
        if missing > 0 and now >= self._not_before:
            one_at_a_time = outdated or self._serving_generation != self.generation
            for _ in range((0 if starting else 1) if one_at_a_time else missing):
                self._start()
        excess = len(serving) - self.wanted
        for worker in (outdated + good[::-1])[: max(0, excess)]:
            worker.phase = Phase.RETIRING
            if self._watcher is None:
                worker.tell("retire")
            else:  # for the developer, the new version is all that counts
                worker.kill_at = now + self._stop_time() + _GRACE
                worker.tell("stop")
        if not missing and not starting and not outdated and not self._is_complete:
            self._is_complete = True
            if self._watcher is None or self.wanted > 1:
                write_line(f"reserve: {_processes(self.wanted)} serve")

    def _start(self) -> None:
        slot = next(number for number in range(len(self.workers) + 1) if number not in self._slots())
        first = self._serving_generation != self.generation
        start = start_worker
        if self._values["preload"]:
            listeners = pass_listeners(self._listeners, with_files=False)
            worker = self._zygotes.fork(self.generation, slot, listeners)
            if worker is not None:
                self._is_complete = False
                self._add(worker)
                return
            if self._zygotes.of(self.generation) is not None:  # it imports the application still
                return
            start = start_zygote
        try:
            process, channel = start(
                self._state.argv,
                pass_listeners(self._listeners, with_files=False),
                self._state.directory,
                announce=first,
            )
        except OSError as error:
            write_line(f"reserve: a worker process cannot be started: {error}")
            self._wait_longer()
            return
        process.returncode = 0  # the supervisor waits for it itself
        self._is_complete = False
        if start is start_zygote:
            self._zygotes.add(process.pid, channel, self.generation)
        else:
            self._add(WorkerProcess(process.pid, channel, self.generation, slot, self._now()))

    def _slots(self) -> set[int]:
        return {worker.slot for worker in self.workers.values()}

    def _add(self, worker: WorkerProcess) -> None:
        self.workers[worker.pid] = worker
        self._selector.register(worker.channel, selectors.EVENT_READ, worker)

    def _receive(self, worker: WorkerProcess) -> None:
        for message in worker.channel.receive():
            self.handle_message(worker, message)
        if worker.channel.ended:
            self._selector.unregister(worker.channel)

    def handle_message(self, worker: WorkerProcess, message: dict[str, Any]) -> None:
        """What a message of a worker changes."""
        if message["type"] == "ready" and worker.phase is Phase.STARTING:
            worker.phase = Phase.SERVING
            if worker.generation != self._serving_generation:
                if not self._serving_generation:
                    write_line(str(message.get("banner", "")).removesuffix("\n"))
                    if self._values["open"]:
                        worker.tell("open")
                elif self._watcher is not None:
                    write_line("reserve: the new version serves")
                self._serving_generation = worker.generation
            self._delay = 0.0
        elif message["type"] == "recycle" and not worker.due:
            worker.due = str(message.get("reason", ""))

    def _reap(self) -> None:
        """Wait for the children that have ended, and learn of the workers that zygotes have waited for."""
        for zygote, zygote_code in self._zygotes.reap():
            self._handle_zygote_exit(zygote, zygote_code)
        for worker in list(self.workers.values()):
            code = worker.poll()
            if code is not None:
                self._receive_rest(worker)
                del self.workers[worker.pid]
                self.handle_exit(worker, code)
        if self._trial is not None and (trial_code := self._trial.poll()) is not None:
            self._trial = None
            if trial_code == 0:
                self._become_new_program()
            else:
                write_line("reserve: the new version of the program does not run, so nothing changes")

    def _receive_rest(self, worker: WorkerProcess) -> None:
        if not worker.channel.ended:
            self._selector.unregister(worker.channel)
        worker.channel.close()

    def handle_exit(self, worker: WorkerProcess, code: int) -> None:
        """What it means that a worker has ended.

        :param code: its exit code, negative for a signal.
        """
        if code == _ABORTED:
            self._aborted = True
        if self._stop_count or worker.phase in (Phase.RETIRING, Phase.STOPPING):
            return
        if worker.phase is Phase.STARTING:
            self._handle_failed_start(worker, code)
            return
        how = "has ended" if worker.is_orphan else _how(code)
        write_line(f"reserve: worker process {worker.pid} {how}; another one starts")
        if self._now() - worker.started < _SOON:
            self._wait_longer()

    def _handle_zygote_exit(self, zygote: ZygoteProcess, code: int) -> None:
        """What it means that a zygote has ended that was still needed.

        :param code: its exit code, negative for a signal.
        """
        if self._stop_count:
            return
        if zygote.generation != self.generation:
            return
        if zygote.phase is Phase.STARTING or zygote.generation != self._serving_generation:
            self._handle_failed_start(zygote, code)
        else:
            write_line(
                f"reserve: {zygote.kind} {zygote.pid} {_how(code)}; its workers serve until those of a new one replace "
                "them"
            )
            self.generation += 1
            self._wait_longer()

    def _handle_failed_start(self, worker: WorkerProcess, code: int) -> None:
        if worker.generation == self._serving_generation:
            self._wait_longer()
            write_line(f"reserve: {worker.kind} {worker.pid} could not start; the next attempt is in {self._delay:g} s")
            return
        if code < 0:
            write_line(f"reserve: {worker.kind} {worker.pid} {_how(code)}")
        if self._serving_generation:
            self.generation = self._serving_generation
            write_line("reserve: the new version could not start, so the previous one serves on")
        elif self._watcher is not None and code != UsageError.exit_code:  # that needs another command line
            self._not_before = float("inf")
            write_line("reserve: the application could not start; the next change starts it again, Ctrl-C ends this")
        else:
            self._stop_count = 1
            self._exit_code = code if code > 0 else 1

    def _wait_longer(self) -> None:
        self._delay = min(_LONGEST_DELAY, max(0.5, self._delay * 2))
        self._not_before = self._now() + self._delay

    def _timeout(self) -> float | None:
        """Seconds until :meth:`_act` has to be called without an event; None: never."""
        times = [process.kill_at for process in (*self.workers.values(), *self._zygotes.processes)]
        if self._not_before > self._now() and not self._stop_count:
            times.append(self._not_before)
        earliest = min(times, default=float("inf"))
        return None if earliest == float("inf") else max(0.0, earliest - self._now())

    # ---- options and the state ----

    def _read_options(self) -> Values:
        command = parse_command_line(self._state.argv)
        return collect(command.given, os.environ, self._state.directory)

    def _processes(self) -> int:
        return self._values.processes()

    def _stop_time(self) -> float:
        return cast("float", self._values["stop_timeout"])

    def _become_new_program(self) -> None:
        """Execute the program anew, in this process, and have it reload."""
        self._end_watch()
        processes = [
            PassedProcess(
                worker.pid, worker.channel.fileno(), worker.generation, worker.slot, worker.phase.value, *worker.origin
            )
            for worker in self.workers.values()
            if worker.pid > 0
        ]
        state = State(
            argv=self._state.argv,
            directory=self._state.directory,
            listeners=pass_listeners(self._listeners, with_files=True),
            processes=tuple(processes),
            zygotes=self._zygotes.passed(),
            generation=self.generation,
            wanted=self.wanted,
            signals=(signal.SIGHUP, *self._signals),
            aborted=self._aborted,
        )
        become_supervisor(state, handled_signals())


def _how(code: int) -> str:
    return f"was ended by {name_of(-code)}" if code < 0 else f"has ended with exit code {code}"


def _processes(count: int) -> str:
    return "1 process" if count == 1 else f"{count} processes"
