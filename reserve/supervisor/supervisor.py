"""The loop of the supervisor: which worker processes there should be, and what happens when one ends or a signal comes.

The one thread of the process runs it. Nothing in it blocks but a line on standard error, for a second at most. One rule
starts and ends workers at a start, a crash, a reload and a recycle alike: as many *good* workers as wanted (of the
present generation, and not due for replacement), started one at a time while there are others to replace; and a worker
that is not good retires only when there would be one too many.
"""

from __future__ import annotations

import dataclasses
import os
import selectors
import signal
import subprocess
import time
from collections import deque
from collections.abc import Callable
from typing import Any, cast

from reserve.cli.banner import in_background
from reserve.cli.binds import Listeners, open_changed, united
from reserve.cli.early.signaltable import Reaction, name_of, reaction_to
from reserve.cli.parser import parse_command_line
from reserve.cli.process import changed_directory
from reserve.cli.processes.channel import Channel
from reserve.cli.processes.spawn import become_supervisor, handled_signals, program, start_worker, start_zygote
from reserve.cli.processes.state import PassedProcess, State, adopt_listeners, pass_listeners
from reserve.daemon.detach import Parent
from reserve.daemon.pidfile import PidFile
from reserve.engine.scoreboard import Scoreboard
from reserve.errors import ReserveError, UsageError
from reserve.options.sources import Values, collect
from reserve.sockets.listeners import release
from reserve.sockets.notify import Notifier
from reserve.supervisor.watcher import Watcher, watch_arguments
from reserve.supervisor.workers import Phase, WorkerProcess, suspend, write_line
from reserve.supervisor.zygotes import ZygoteProcess, Zygotes

__all__ = ["Supervisor"]

_ABORTED = 3
"""The exit code of a worker, and of the supervisor, after a stop that has aborted requests."""
_GRACE = 5.0
"""Seconds that a worker has to end after its stop timeout, before it is killed."""
_LONGEST_DELAY = 30.0
"""Seconds between two attempts to replace workers that do not start or soon crash."""
_STEP = 300.0
"""Seconds that the first process may take to start, even if the start-up timeout of the service manager is less."""
_EXIT = 5.0
"""Seconds that the exit of the supervisor may take after that of its processes."""
_SOON = 10.0
"""Seconds. A worker that crashes, or asks for another one, earlier after its start delays its successor."""
_LONG_START = 30.0
"""Seconds after which a line says that a worker has not started yet."""
_TRIAL = 30.0
"""Seconds that a new version of the program has to print its number."""
_FLUSH_INTERVAL = 1.0
"""Seconds between two attempts to send a message to a worker that does not read."""
_FEWEST_SLOTS = 16
"""Of the scoreboard: workers that retire need theirs beside their successors."""
_STOPPED_MESSAGE = "reserve: the server has stopped"


class Supervisor:
    """The worker processes of one command; the program makes one.

    :param state: what the process was before has passed on.
    :param now: seconds of a monotonic clock.
    :param terminal_closed: whether a SIGHUP means that the terminal was closed.
    :param notifier: the messages to the service manager; None: there is none.
    :param parent: the process that waits for this daemon; None: the process is no daemon.
    """

    def __init__(
        self,
        state: State,
        now: Callable[[], float] = time.monotonic,
        *,
        terminal_closed: Callable[[], bool] = lambda: False,
        notifier: Notifier | None = None,
        parent: Parent | None = None,
    ) -> None:
        self._state = state
        self._now = now
        self._terminal_closed = terminal_closed
        self._notifier = notifier if notifier is not None else Notifier()
        self._parent = parent
        self._beat_at = now() if self._notifier.watchdog_interval else float("inf")
        self._pid_file: PidFile | None = None
        """Which this process has written before it became the supervisor."""
        self._daemon = 0
        """The process ID, if the process runs in the background; 0: it does not."""
        self._listeners = adopt_listeners(state.listeners)
        """Those of the present generation."""
        self._serving_listeners = self._listeners
        """Those of the generation that serves."""
        self._open_listeners = self._listeners
        """All that are open: also those that a reload has made superfluous, until it is complete."""
        self._selector = selectors.DefaultSelector()
        self._signals: deque[int] = deque(state.signals)
        self._wakeup = -1
        """The descriptor from which the numbers of more signals are read; -1: the loop does not run yet."""
        self.wanted, self._stop_timeout, self._preload = state.wanted, state.stop_timeout, state.preload
        self._drain_delay = 0.0
        self._opens_browser = False
        self._release_at = float("inf")
        """When the listeners are closed, on the supervisor's clock."""
        self._watch_arguments: list[str] = []
        """For the process that notices changes; empty: none does."""
        try:
            values = self._read_options()
        except ReserveError:
            if not state.processes:
                raise  # the options were right a moment ago
        else:
            self._use(values)
        if state.wanted:
            self.wanted, self._stop_timeout, self._preload = state.wanted, state.stop_timeout, state.preload
        self._serving_wanted, self._serving_preload = self.wanted, self._preload
        """Those of the generation that serves."""
        self.generation = state.generation
        self._serving_generation = state.generation if state.processes else 0
        """The last one of which a worker was ready."""
        self.workers: dict[int, WorkerProcess] = {}
        self._stop_count = state.stops
        self._exit_code = 0
        self._delay = 0.0
        self._not_before = 0.0
        self._trial: subprocess.Popen[bytes] | None = None
        self._watcher: Watcher | None = None
        """What notices changes (``--reload``); None: nothing does."""
        self._trial_ends = float("inf")
        self._has_served = bool(state.processes)
        self._aborted = state.aborted
        self._is_complete = bool(state.processes)
        self._scoreboard = _open_scoreboard(state.scoreboard, self.wanted)
        self._zygotes = Zygotes(self._selector, self.workers, now)
        self._zygotes.adopt(state.zygotes)
        for passed in state.processes:
            channel = Channel.from_fd(passed.channel)
            worker = self._zygotes.forked(passed, channel) or WorkerProcess(
                passed.pid, channel, passed.generation, passed.slot, now()
            )
            worker.phase = Phase(passed.phase)
            if state.stops:
                worker.kill_at = now() + (self._stop_timeout if state.stops == 1 else 0.0) + _GRACE
            self._add(worker)
        if state.stops:
            self._release_listeners()

    def run(self, wakeup: int) -> int:
        """Supervise until everything has stopped, and return the exit code of the process.

        :param wakeup: the descriptor from which the numbers of signals are read.
        """
        self._wakeup = wakeup
        self._selector.register(wakeup, selectors.EVENT_READ)
        self._watch()
        if self._is_complete and not self._stop_count:  # this process has become the supervisor while it served
            self._tell_ready()
        while self.act():
            self.wait(self._timeout())
        return self.end()

    def act(self) -> bool:
        """Do what is to be done now; False: everything has stopped."""
        if self._signals:  # what a signal does depends on which workers serve
            for worker in self.workers.values():
                if not worker.channel.ended:
                    self._receive(worker)
        while self._signals:
            self.handle_signal(self._signals.popleft())
        self._reap()
        self._keep_wanted()
        self._tell_watchdog()
        return not self._stop_count or bool(self.workers) or bool(self._zygotes.processes)

    def wait(self, timeout: float | None) -> None:
        """Wait for signals and messages, and handle the messages.

        :param timeout: seconds; None: for ever.
        """
        for key, _ in self._selector.select(timeout):
            if isinstance(key.data, ZygoteProcess):
                self._zygotes.receive(key.data)
            elif isinstance(key.data, WorkerProcess):
                self._receive(key.data)
            elif isinstance(key.data, Watcher):
                self._receive_changes(key.data)
            else:
                self._signals.extend(os.read(key.fd, 4096))

    def end(self) -> int:
        """Close everything, and return the exit code of the process."""
        self._end_watch()
        self._release_listeners()
        if self._trial is not None:
            self._trial.kill()
            self._trial.wait()
        self._selector.close()
        if self._scoreboard is not None:
            self._scoreboard.close()
        if self._pid_file is not None:
            self._pid_file.remove()
        if self._has_served:
            write_line(_STOPPED_MESSAGE)
        return self._exit_code or (_ABORTED if self._aborted else 0)

    # ---- signals ----

    def handle_signal(self, number: int) -> None:
        """What a signal does."""
        reaction = reaction_to(number)
        if number == signal.SIGCHLD:
            return
        if reaction is Reaction.STOP or reaction is Reaction.STOP_AT_ONCE:
            self._stop(number)
        elif number == signal.SIGTSTP:
            self._pause()
        elif self._stop_count:
            return
        elif reaction is Reaction.RELOAD:
            if self._terminal_closed():
                self._stop(number)
            else:
                self._reload()
        elif reaction is Reaction.REOPEN:
            write_line(
                f"reserve: {name_of(number)}: the applications get it; reserve has nothing to reopen, its logs go to "
                "standard output and standard error"
            )
            for worker in self.workers.values():
                worker.signal(number)
        elif reaction is Reaction.HAND_OVER:
            self._try_new_program()
        elif number in (signal.SIGTTIN, signal.SIGTTOU):
            self.wanted = max(1, self.wanted + (1 if number == signal.SIGTTIN else -1))
            self._serving_wanted = self.wanted
            write_line(f"reserve: {name_of(number)}: {_processes(self.wanted)} from now on")
        else:
            write_line(f"reserve: {name_of(number)}: this signal has no meaning, and changes nothing")

    def _stop(self, number: int) -> None:
        """Stop: the first time the requests in flight may finish, the second time they are aborted, the third time the
        processes are killed.
        """
        self._stop_count += 1
        at_once = self._stop_count > 1 or reaction_to(number) is Reaction.STOP_AT_ONCE
        timeout = 0.0 if at_once else self._stop_timeout
        delay = 0.0 if at_once else self._drain_delay  # the workers serve on for so long, so clients may still connect
        line_start = "\n" if number in (signal.SIGINT, signal.SIGQUIT) and os.isatty(2) else ""
        if not self._has_served:
            self._exit_code = ReserveError.exit_code
            if self._stop_count == 1:
                write_line(f"{line_start}reserve: interrupted before the server started")
        elif self._stop_count > 2:
            self._aborted = True
        elif at_once:
            write_line(f"{line_start}reserve: stopping at once")
        else:
            begin = f"stopping in {delay:g} s; then" if delay else "stopping;"
            write_line(
                f"{line_start}reserve: {begin} requests in flight have {timeout:g} s, a second signal stops at once"
            )
        self._notifier.stopping(f"stops; requests in flight have {timeout:g} s", delay + timeout + _GRACE + _EXIT)
        self._release_at = min(self._release_at, self._now() + delay)
        for worker in self.workers.values():
            was_starting, worker.phase = worker.phase is Phase.STARTING, Phase.STOPPING
            worker.kill_at = min(worker.kill_at, self._now() + delay + timeout + _GRACE)
            if self._stop_count > 2 or (was_starting and at_once):
                worker.signal(signal.SIGKILL)
            else:
                if not at_once:
                    worker.tell("stop")  # the application may block the signal
                worker.signal(signal.SIGQUIT if at_once and self._stop_count == 1 else signal.SIGTERM)
        self._zygotes.stop(self._now() + delay + timeout + 2 * _GRACE)

    def _release_listeners(self) -> None:
        """Close the supervisor's copies. The port is free when the workers have closed theirs."""
        for sock in self._open_listeners.all:
            release(sock)
        self._listeners = self._serving_listeners = self._open_listeners = Listeners()

    def _pause(self) -> None:
        """Ctrl-Z: the terminal pauses its own process group only, and the workers are in others."""
        for worker in self.workers.values():
            worker.signal(signal.SIGSTOP)
        suspend()
        for worker in self.workers.values():
            worker.signal(signal.SIGCONT)

    def _reload(self, reason: str = "") -> None:
        """Begin a new generation, with the configuration and the code as they are now.

        :param reason: why, as the beginning of a line.
        """
        try:
            values = self._read_options()
            with changed_directory(values):
                listeners = open_changed(self._open_listeners, values)
        except (OSError, ReserveError) as error:  # no descriptor is free, say
            with self._notifier.reload():
                write_line(f"reserve: the new configuration cannot be used, so the previous one stays: {error}")
            return
        self._listeners = listeners
        self._open_listeners = united(self._open_listeners, listeners)
        self._use(values)
        self.generation += 1
        self._delay = self._not_before = 0.0
        for worker in self.workers.values():
            if worker.phase is Phase.STARTING:  # of an older generation
                worker.phase = Phase.STOPPING
                worker.signal(signal.SIGKILL)
        self._zygotes.kill_unprepared()
        write_line(f"reserve: {reason}reloading")
        self._notifier.reloading("reloads")
        self._is_complete = False
        self._watch()

    # ---- changed files ----

    def _watch(self) -> None:
        """Have files watched as the options say."""
        arguments = self._watch_arguments
        if self._watcher is not None:
            if self._watcher.arguments == arguments:
                return
            self._end_watch()
        if arguments:
            try:
                self._watcher = Watcher(arguments, quiet=bool(self._daemon))
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

    def _use(self, values: Values) -> None:
        self.wanted = values.processes()
        self._stop_timeout = cast("float", values["stop_timeout"])
        self._drain_delay = cast("float", values["drain_delay"])
        self._opens_browser = bool(values["open"])
        self._daemon = os.getpid() if values["daemon"] else 0
        if values["pid_file"] is not None and self._pid_file is None:
            path = os.path.join(str(values["chdir"] or ""), str(values["pid_file"]))
            self._pid_file = PidFile(os.path.join(self._state.directory, path))
        self._preload = bool(values["preload"])
        self._watch_arguments = watch_arguments(values, self._state.directory) if values["reload"] else []

    def _give_up_generation(self) -> None:
        """The present generation does not start, so the one that serves is the present one again."""
        self._listeners = self._serving_listeners
        self.wanted, self._preload = self._serving_wanted, self._serving_preload
        self.generation = self._serving_generation
        write_line("reserve: the new version could not start, so the previous one serves on")

    def _try_new_program(self) -> None:
        if self._trial is None:
            try:
                self._trial = subprocess.Popen(
                    [*program(), "--version"],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    cwd=self._state.directory,
                )
                self._trial_ends = self._now() + _TRIAL
            except OSError as error:
                write_line(f"reserve: the new version of the program cannot be run, so nothing changes: {error}")

    def _reap_trial(self) -> None:
        if self._trial is None:
            return
        code = self._trial.poll()
        if code is None and self._now() >= self._trial_ends:
            self._trial.kill()
            self._trial_ends = float("inf")
        if code is None:
            return
        self._trial, self._trial_ends = None, float("inf")
        if self._stop_count:
            return
        if code == 0:
            self._become_new_program()
        else:
            write_line("reserve: the new version of the program does not run, so nothing changes")

    # ---- workers ----

    def _keep_wanted(self) -> None:
        """Start, retire and kill workers, so that there are as many good ones as wanted."""
        now = self._now()
        if self._release_at <= now:
            self._release_at = float("inf")
            self._release_listeners()
        for worker in self.workers.values():
            if worker.phase is Phase.STARTING and worker.report_at <= now:
                worker.report_at = float("inf")
                write_line(f"reserve: worker process {worker.pid} has not started for {_LONG_START:g} s")
            if worker.kill_at <= now:
                worker.kill_at = float("inf")
                self._aborted = self._aborted or bool(self._stop_count)
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
                if not self._start():
                    break
        excess = len(serving) - self.wanted
        for worker in (outdated + good[::-1])[: max(0, excess)]:
            worker.phase = Phase.RETIRING
            if self._watcher is None:
                worker.kill_at = now + worker.retires_within + _GRACE
                worker.tell("retire")
            else:  # for the developer, the new version is all that counts
                worker.kill_at = now + self._stop_timeout + _GRACE
                worker.tell("stop")
        if not missing and not starting and not outdated and not self._is_complete:
            self._is_complete = True
            for sock in set(self._open_listeners.all) - set(self._listeners.all):
                release(sock)
            self._open_listeners = self._listeners
            if self._watcher is None or self.wanted > 1:
                write_line(f"reserve: {_processes(self.wanted)} serve{'s' if self.wanted == 1 else ''}")
            self._tell_ready()

    def _start(self) -> bool:
        """Start a worker, or what a worker needs; False: that cannot be done now."""
        slot = next(number for number in range(len(self.workers) + 1) if number not in self._slots())
        first = self._serving_generation != self.generation
        start = start_worker
        setup: dict[str, Any] = {"processes": self.wanted}
        if self._scoreboard is not None and slot < self._scoreboard.slots:
            setup["scoreboard"] = self._scoreboard.fd
        if self._preload:
            listeners = pass_listeners(self._listeners, with_files=False)
            try:
                worker = self._zygotes.fork(self.generation, slot, listeners, **setup)
            except OSError as error:  # no descriptor is free, say
                self._handle_start_error(error)
                return False
            if worker is not None:
                self._is_complete = False
                self._add(worker)
                return True
            if self._zygotes.of(self.generation) is not None:  # it imports the application still
                return False
            start = start_zygote
        try:
            process, channel = start(
                self._state.argv,
                pass_listeners(self._listeners, with_files=False),
                self._state.directory,
                announce=first,
                slot=slot,
                generation=self.generation,
                pass_fds=() if self._scoreboard is None else (self._scoreboard.fd,),
                **setup,
            )
        except OSError as error:
            self._handle_start_error(error)
            return False
        process.returncode = 0  # the supervisor waits for it itself
        self._is_complete = False
        if start is start_zygote:
            self._zygotes.add(process.pid, channel, self.generation)
        else:
            self._add(WorkerProcess(process.pid, channel, self.generation, slot, self._now()))
        if not self._serving_generation:
            self._notifier.status("starts the first process", _STEP)
        return start is not start_zygote

    def _handle_start_error(self, error: OSError) -> None:
        """The system starts no more processes now; at the start of the server that ends it."""
        write_line(f"reserve: a worker process cannot be started: {error}")
        self._wait_longer()
        if not self._serving_generation:
            self._stop_count = 1
            self._exit_code = ReserveError.exit_code

    def _slots(self) -> set[int]:
        return {worker.slot for worker in self.workers.values()}

    def _add(self, worker: WorkerProcess) -> None:
        self.workers[worker.pid] = worker
        if worker.phase is Phase.STARTING:
            worker.report_at = self._now() + _LONG_START
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
            worker.retires_within = float(message.get("retires_within", worker.retires_within))
            self._has_served = True
            if worker.generation != self._serving_generation:
                if not self._serving_generation:
                    banner = str(message.get("banner", "")).removesuffix("\n")
                    write_line(in_background(banner, self._daemon))
                    if self._opens_browser:
                        worker.tell("open")
                    self._serving_generation = worker.generation
                    self._tell_ready()
                elif self._watcher is not None:
                    write_line("reserve: the new version serves")
                self._serving_generation = worker.generation
                self._serving_wanted, self._serving_preload = self.wanted, self._preload
                self._serving_listeners = self._listeners
        elif message["type"] == "recycle" and not worker.due and worker.phase is Phase.SERVING:
            worker.due = str(message.get("reason", "")) or "it asks for it"
            write_line(f"reserve: worker process {worker.pid} is replaced: {worker.due}")
            if self._now() - worker.started < _SOON:
                self._wait_longer()

    def _reap(self) -> None:
        """Wait for the children that have ended, and learn of the workers that zygotes have waited for."""
        for zygote, zygote_code in self._zygotes.reap():
            self._handle_zygote_exit(zygote, zygote_code)
        for worker in list(self.workers.values()):
            code = worker.poll()
            if code is not None:
                self._receive_rest(worker)
                del self.workers[worker.pid]
                if self._scoreboard is not None and worker.slot < self._scoreboard.slots:
                    self._scoreboard.clear(worker.slot)
                self.handle_exit(worker, code)
        self._reap_trial()

    def _receive_rest(self, worker: WorkerProcess) -> None:
        if not worker.channel.ended:
            self._receive(worker)
        if not worker.channel.ended:
            self._selector.unregister(worker.channel)
        worker.channel.close()

    def handle_exit(self, worker: WorkerProcess, code: int) -> None:
        """What it means that a worker has ended.

        :param code: its exit code, negative for a signal.
        """
        if code == _ABORTED and self._stop_count:
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
            self._give_up_generation()
            self._tell_ready()
        elif self._watcher is not None and code != UsageError.exit_code:  # that needs another command line
            self._not_before = float("inf")
            self._has_served = True  # Ctrl-C ends the wait, not a start
            write_line("reserve: the application could not start; the next change starts it again, Ctrl-C ends this")
        else:
            self._stop_count = 1
            self._exit_code = max(code, 0) or (1 if code else 0)

    def _wait_longer(self) -> None:
        """Delay the next start: twice as long as the last time, unless that was long ago."""
        now = self._now()
        if now - self._not_before > 2 * _LONGEST_DELAY:
            self._delay = 0.0
        if now >= self._not_before:
            self._delay = min(_LONGEST_DELAY, max(0.5, self._delay * 2))
            self._not_before = now + self._delay

    def _timeout(self) -> float | None:
        """Seconds until :meth:`act` has to be called without an event; None: never."""
        times = [process.kill_at for process in (*self.workers.values(), *self._zygotes.processes)]
        times += [worker.report_at for worker in self.workers.values() if worker.phase is Phase.STARTING]
        times += [self._trial_ends, self._release_at, self._beat_at]
        if not all([worker.channel.flush() for worker in self.workers.values()]):
            times.append(self._now() + _FLUSH_INTERVAL)
        if self._not_before > self._now() and not self._stop_count:
            times.append(self._not_before)
        earliest = min(times, default=float("inf"))
        return None if earliest == float("inf") else max(0.0, earliest - self._now())

    # ---- what others are told ----

    def _tell_ready(self) -> None:
        """The first process serves, or a reload has ended, whether it has failed or not."""
        serving = sum(worker.phase is Phase.SERVING for worker in self.workers.values())
        pid = None if self._parent is None else os.getpid()
        self._notifier.ready(f"{_processes(serving)} of {self.wanted} serve", main_pid=pid)
        self._notifier.watchdog()  # its time begins now
        if self._parent is not None:
            self._parent.ready()

    def _tell_watchdog(self) -> None:
        """The service lives as long as a process serves; the supervisor has to come here for it, too."""
        if self._now() >= self._beat_at:
            self._beat_at = self._now() + self._notifier.watchdog_interval
            if any(worker.phase is not Phase.STARTING for worker in self.workers.values()):
                self._notifier.watchdog()

    # ---- options and the state ----

    def _read_options(self) -> Values:
        command = parse_command_line(self._state.argv)
        return collect(command.given, os.environ, self._state.directory)

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
        state = dataclasses.replace(
            self._state,
            listeners=pass_listeners(self._open_listeners, with_files=True),
            processes=tuple(processes),
            zygotes=self._zygotes.passed(),
            generation=self.generation,
            wanted=self.wanted,
            stop_timeout=self._stop_timeout,
            preload=self._preload,
            scoreboard=-1 if self._scoreboard is None else self._scoreboard.fd,
            signals=(signal.SIGHUP, *self._signals),
            signal_pipe=self._wakeup,  # signals that come until they are blocked
            aborted=self._aborted,
        )
        os.environ.update(self._notifier.environ())
        try:
            become_supervisor(state, handled_signals())
        except OSError as error:
            Notifier.from_environ()  # the worker processes must not have the variables
            write_line(f"reserve: the new version of the program cannot be executed, so nothing changes: {error}")
            self._watch()


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


def _how(code: int) -> str:
    if code < 0:
        return f"was ended by {name_of(-code)}"
    return "has stopped" if code == 0 else f"has ended with exit code {code}"


def _processes(count: int) -> str:
    return "1 process" if count == 1 else f"{count} processes"
