"""The loop of the supervisor: it waits for signals, messages and the ends of processes, and reads the options.

The one thread of the process runs it. Nothing in it blocks but a line on standard error, for a second at most. Which
worker processes there should be is decided in :mod:`reserve.supervisor.policy`; this module reports to it what happens,
and does what it says.
"""

from __future__ import annotations

import dataclasses
import logging
import os
import selectors
import signal
import time
from collections import deque
from collections.abc import Callable, Iterable
from typing import cast

from reserve.cli.banner import in_background
from reserve.cli.early.signaltable import Reaction, name_of, reaction_to
from reserve.cli.logfiles import make_pid_file, open_log_files, redirect_stderr, reopened, sentences
from reserve.cli.parser import parse_command_line
from reserve.cli.process import changed_directory
from reserve.cli.processes.spawn import become_supervisor, handled_signals
from reserve.cli.processes.state import State, pass_listeners
from reserve.control.listener import ControlListener
from reserve.control.messages import Message, Ready, Recycle, Report
from reserve.control.relay import Relay
from reserve.daemon.detach import Parent
from reserve.daemon.pidfile import PidFile
from reserve.engine.logs.logfile import LogFile, Reopened, reopen_log_files
from reserve.errors import ReserveError
from reserve.options.sources import Values, collect
from reserve.sockets.notify import Notifier
from reserve.supervisor.actions import Action, Line, Notice, Signal, Tell
from reserve.supervisor.control import SupervisorControl
from reserve.supervisor.listeners import GenerationListeners
from reserve.supervisor.policy import GRACE, Phase, Policy
from reserve.supervisor.processes import Processes
from reserve.supervisor.trial import Trial
from reserve.supervisor.watcher import FileWatch, Watcher, watch_arguments
from reserve.supervisor.workers import WorkerProcess, suspend, write_line
from reserve.supervisor.zygotes import ForkedWorker, ZygoteProcess

__all__ = ["Supervisor"]

_STEP = 300.0
"""Seconds that the first process may take to start, even if the start-up timeout of the service manager is less."""
_EXIT = 5.0
"""Seconds that the exit of the supervisor may take after that of its processes."""
_FLUSH_INTERVAL = 1.0
"""Seconds between two attempts to send a message to a worker that does not read."""
_MOST_REPORTED = 256
"""So many different lines of workers are remembered, so that each is written once for all of them."""
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
        self._listeners = GenerationListeners(state.listeners)
        self._selector = selectors.DefaultSelector()
        self._signals: deque[int] = deque(state.signals)
        self._wakeup = -1
        """The descriptor from which the numbers of more signals are read; -1: the loop does not run yet."""
        self.workers: dict[int, WorkerProcess] = {}
        self.policy = Policy(
            self.workers,
            state.generation,
            is_serving=state.has_served,
            stop_count=state.stops,
            aborted=state.aborted,
            restarts=state.counts.get("restarts"),
        )
        self.policy.use(state.wanted, preload=state.preload, stop_timeout=state.stop_timeout)
        self._is_announced = state.has_served
        """The service manager has been told that the server is ready, since the start or the last reload."""
        self._reported: deque[tuple[str, int]] = deque(maxlen=_MOST_REPORTED)
        """What workers had written last: what it said, and their generation; 0: the server stopped."""
        self._opens_browser = False
        self._error_file: LogFile | None = None
        """What standard error becomes when a worker is ready; None: it stays."""
        self._release_at = float("inf")
        """When the listeners are closed, on the supervisor's clock."""
        self._watch_arguments: list[str] = []
        """For the process that notices changes; empty: none does."""
        try:
            values = self._read_options()
        except ReserveError:
            if not state.has_served:
                raise  # the options were right a moment ago
        else:
            self._use(values)
        if state.wanted:
            self.policy.use(state.wanted, preload=state.preload, stop_timeout=state.stop_timeout)
        self.policy.keep()
        self._trial: Trial | None = None
        self._watch = FileWatch(self._selector)
        self._processes = Processes(state, self.policy, self.workers, self._selector, now)
        self._processes.adopt()
        self._relay = Relay(self, self.workers, self.policy, now, state.counts)
        self._control = SupervisorControl(state.controls, self._relay, self._selector, now)
        if state.stops:
            self._listeners.release()

    def run(self, wakeup: int) -> int:
        """Supervise until everything has stopped, and return the exit code of the process.

        :param wakeup: the descriptor from which the numbers of signals are read.
        """
        self._wakeup = wakeup
        self._selector.register(wakeup, selectors.EVENT_READ)
        self._watch_files()
        if self.policy.is_complete and not self.policy.stop_count:  # this process became the supervisor as it served
            self._tell_ready()
        while self.act():
            self.wait(self._timeout())
        return self.end()

    def act(self) -> bool:
        """Do what is to be done now; False: everything has stopped."""
        if self._signals:  # what a signal does depends on which workers serve
            for worker in list(self.workers.values()):
                if not worker.channel.ended:
                    self._receive(worker)
        while self._signals:
            self.handle_signal(self._signals.popleft())
        self._reap()
        self._keep_wanted()
        self._relay.act()
        self._control.listener.act()
        self._tell_watchdog()
        return not self.policy.stop_count or bool(self.workers) or bool(self._processes.zygotes.processes)

    def wait(self, timeout: float | None) -> None:
        """Wait for signals and messages, and handle the messages.

        :param timeout: seconds; None: for ever.
        """
        for key, events in self._selector.select(timeout):
            if isinstance(key.data, ZygoteProcess):
                self._processes.zygotes.receive(key.data)
            elif isinstance(key.data, WorkerProcess):
                self._receive(key.data)
            elif isinstance(key.data, Watcher):
                self._receive_changes(key.data)
            elif isinstance(key.data, ControlListener):
                key.data.handle(key.fileobj, events)
            else:
                self._signals.extend(os.read(key.fd, 4096))

    def end(self) -> int:
        """Close everything, and return the exit code of the process."""
        self._watch.end()
        self._listeners.release()
        if self._trial is not None:
            self._trial.close()
        self._control.close()
        self._selector.close()
        self._processes.close()
        if self._pid_file is not None:
            self._pid_file.remove()
        if self.policy.has_served:
            write_line(_STOPPED_MESSAGE)
        return self.policy.exit_code

    def _perform(self, actions: Iterable[Action]) -> None:
        """Do what the policy says."""
        for action in actions:
            if isinstance(action, Line):
                write_line(action.text, action.level)
            elif isinstance(action, Tell):
                self.workers[action.pid].tell(action.kind)
            elif isinstance(action, Signal):
                self.workers[action.pid].signal(action.number)
            elif action is Notice.SERVES:
                self._listeners.keep()
            elif action is Notice.GIVEN_UP:
                self._listeners.give_up()
            elif action is Notice.COMPLETE:
                self._listeners.release_superfluous()
            else:
                self._tell_ready()

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
        elif self.policy.stop_count:
            return
        elif reaction is Reaction.RELOAD:
            if self._terminal_closed():
                self._stop(number)
            else:
                self._reload()
        elif reaction is Reaction.REOPEN:
            results = reopened(name_of(number))  # first: a file that root creates belongs to the user of the workers
            for _, text in results or [(True, f"{name_of(number)}: there is no log file to open again")]:
                write_line(f"reserve: {text}")
            for worker in self.workers.values():
                worker.signal(number)
        elif reaction is Reaction.HAND_OVER:
            self._try_new_program()
        elif number in (signal.SIGTTIN, signal.SIGTTOU):
            self._perform(self.policy.resize(number))
        else:
            write_line(f"reserve: {name_of(number)}: this signal has no meaning, and changes nothing")

    def _stop(self, number: int) -> None:
        """Stop; what that means depends on how often it was said."""
        now = self._now()
        stop = self.policy.stop(now, at_once=reaction_to(number) is Reaction.STOP_AT_ONCE)
        if stop.text:
            line_start = "\n" if number in (signal.SIGINT, signal.SIGQUIT) and os.isatty(2) else ""
            write_line(f"{line_start}reserve: {stop.text}")
        in_all = stop.delay + stop.timeout
        when = f"stops in {stop.delay:g} s; then" if stop.delay else "stops;"
        self._notifier.stopping(f"{when} requests in flight have {stop.timeout:g} s", in_all + GRACE + _EXIT)
        self._release_at = min(self._release_at, now + stop.delay)
        self._perform(stop.actions)
        self._processes.zygotes.stop(now + in_all + 2 * GRACE)

    def _pause(self) -> None:
        """Ctrl-Z: the terminal pauses its own process group only, and the workers are in others."""
        for worker in self.workers.values():
            worker.signal(signal.SIGSTOP)
        suspend()
        for worker in self.workers.values():
            worker.signal(signal.SIGCONT)

    def _reload(self, reason: str = "") -> str:
        """Begin a new generation, with the configuration and the code as they are now.

        :param reason: why, as the beginning of a line.
        :returns: why that is not possible; empty: it has begun.
        """
        try:
            values = self._read_options()
            with changed_directory(values):
                controls = self._control.opened(values)
                try:
                    self._listeners.change(values)
                except BaseException:
                    self._control.discard(controls)
                    raise
        except (OSError, ReserveError) as error:  # no descriptor is free, say
            text = f"the new configuration cannot be used, so the previous one stays: {error}"
            with self._notifier.reload():
                write_line(f"reserve: {text}")
            return text
        self._control.change(controls)
        self._use(values)
        self._perform(self.policy.reload())
        self._processes.zygotes.kill_unprepared()
        write_line(f"reserve: {reason}reloading")
        self._notifier.reloading("reloads")
        self._is_announced = False
        self._watch_files()
        return ""

    # ---- commands of the control socket ----

    def reload_by_command(self) -> str:
        """As SIGHUP, which may also mean that the terminal was closed."""
        return self._reload()

    def stop_by_command(self, *, at_once: bool) -> None:
        """As SIGTERM or SIGQUIT."""
        self._stop(signal.SIGQUIT if at_once else signal.SIGTERM)

    def reopen_logs(self) -> list[Reopened]:
        """As SIGUSR1, but for the workers, which the command itself asks. Returns what became of each file."""
        results = reopen_log_files()
        for _, text in sentences(results, "log-reopen"):
            write_line(f"reserve: {text}")
        return results

    def resize_to(self, count: int) -> None:
        """Have so many workers from now on."""
        self._perform(self.policy.resize_to(count))

    # ---- changed files ----

    def _watch_files(self) -> None:
        """Have files watched as the options say."""
        try:
            self._watch.change(self._watch_arguments, quiet=bool(self._daemon))
        except OSError as error:
            write_line(f"reserve: no file is watched (--reload): {error}")
        self.policy.is_watching = self._watch.is_active

    def _receive_changes(self, watcher: Watcher) -> None:
        lines = self._watch.receive(watcher)
        if self.policy.is_watching and not self._watch.is_active:
            self.policy.is_watching = False
            write_line("reserve: what watches files has ended, so no change is noticed any more (--reload)")
        elif lines and not self.policy.stop_count:
            self._reload(f"{lines[-1] if len(lines) == 1 else 'several files'} changed: ")

    # ---- a new program ----

    def _try_new_program(self) -> None:
        if self._trial is None:
            try:
                self._trial = Trial(self._state.directory, self._now())
            except OSError as error:
                write_line(
                    f"reserve: the new version of the program cannot be run, so nothing changes: {error}", logging.ERROR
                )

    def _reap_trial(self) -> None:
        if self._trial is None:
            return
        code = self._trial.poll(self._now())
        if code is None:
            return
        self._trial = None
        if self.policy.stop_count:
            return
        if code == 0:
            self._become_new_program()
        else:
            write_line("reserve: the new version of the program does not run, so nothing changes", logging.ERROR)

    def _become_new_program(self) -> None:
        """Execute the program anew, in this process, and have it reload."""
        self._watch.end()
        state = dataclasses.replace(
            self._state,
            listeners=pass_listeners(self._listeners.open, with_files=True),
            processes=tuple(self._processes.passed()),
            served=bool(self.policy.serving_generation),
            zygotes=self._processes.zygotes.passed(),
            generation=self.policy.generation,
            wanted=self.policy.wanted,
            stop_timeout=self.policy.stop_timeout,
            preload=self.policy.preload,
            scoreboard=self._processes.scoreboard_fd,
            signals=(signal.SIGHUP, *self._signals),
            signal_pipe=self._wakeup,  # signals that come until they are blocked
            aborted=self.policy.aborted,
            controls=self._control.passed(),
            counts=self._relay.passed(),
        )
        os.environ.update(self._notifier.environ())
        try:
            become_supervisor(state, handled_signals())
        except OSError as error:
            Notifier.from_environ()  # the worker processes must not have the variables
            write_line(
                f"reserve: the new version of the program cannot be executed, so nothing changes: {error}",
                logging.ERROR,
            )
            self._watch_files()

    # ---- workers ----

    def _keep_wanted(self) -> None:
        """Do what is due, and start and retire workers, so that there are as many good ones as wanted."""
        now = self._now()
        if self._release_at <= now:
            self._release_at = float("inf")
            self._listeners.release()
        self._perform(self.policy.check_times(now))
        self._processes.zygotes.end_unneeded(self.policy.needed_generations, self._now() + GRACE)
        plan = self.policy.plan(now)
        for _ in range(plan.starts):
            if not self._start():
                break
        self._perform(plan.actions)

    def _start(self) -> bool:
        """Start a worker, or what a worker needs; False: a worker cannot be started now."""
        try:
            started = self._processes.start(self._listeners.present)
        except OSError as error:
            self._perform(self.policy.start_failed(error, self._now()))
            return False
        if started is None:
            return False
        self.policy.started(started, self._now())
        is_zygote = isinstance(started, ZygoteProcess)
        if not is_zygote:
            self._processes.add(started)
        if not self.policy.serving_generation and not isinstance(started, ForkedWorker):
            self._notifier.status("starts the first process", _STEP)
        return not is_zygote

    def _receive(self, worker: WorkerProcess, *, everything: bool = False) -> None:
        for message in worker.receive(everything=everything):
            self.handle_message(worker, message)
        if worker.channel.ended:
            self._selector.unregister(worker.channel)

    def handle_message(self, worker: WorkerProcess, message: Message) -> None:
        """What a message of a worker changes."""
        if isinstance(message, Ready):
            if worker.phase is not Phase.STARTING:
                return
            if not self.policy.serving_generation:
                write_line(in_background(message.banner.removesuffix("\n"), self._daemon))
                if self._opens_browser:
                    worker.tell("open")
            self._perform(self.policy.ready(worker, message.retires_within))
            self._relay.worker_ready(worker)
        elif isinstance(message, Recycle):
            self._perform(self.policy.recycle(worker, message.reason, self._now()))
        elif isinstance(message, Report):  # the other workers have the same application, and say the same
            key = message.about, 0 if self.policy.stop_count else worker.generation
            if key not in self._reported:
                self._reported.append(key)
                write_line(f"reserve: worker process {worker.pid}: {message.text}", logging.WARNING)
        else:
            self._relay.receive(worker, message)

    def _reap(self) -> None:
        """Wait for the children that have ended, and learn of the workers that zygotes have waited for."""
        for zygote, zygote_code in self._processes.zygotes.reap():
            self._perform(self.policy.zygote_ended(zygote, zygote_code, self._now()))
        for worker in list(self.workers.values()):
            code = worker.poll()
            if code is not None:
                if not worker.channel.ended:
                    self._receive(worker, everything=True)
                self._processes.remove(worker)
                self._relay.worker_ended(worker)
                self._perform(self.policy.ended(worker, code, self._now()))
        self._reap_trial()

    def _timeout(self) -> float | None:
        """Seconds until :meth:`act` has to be called without an event; None: never."""
        now = self._now()
        times = [self.policy.next_time(now), self._release_at, self._beat_at]
        times += [self._relay.timeout(), self._control.listener.timeout()]
        times += [zygote.kill_at for zygote in self._processes.zygotes.processes]
        if self._trial is not None:
            times.append(self._trial.ends)
        if not self._processes.flush():
            times.append(now + _FLUSH_INTERVAL)
        earliest = min(times)
        return None if earliest == float("inf") else max(0.0, earliest - now)

    # ---- what others are told ----

    def _tell_ready(self) -> None:
        """The first process serves, or a reload has ended, whether it has failed or not."""
        redirect_stderr(self._error_file)
        if self._is_announced:
            self._notifier.resume(self.policy.status)
        else:
            self._is_announced = True
            self._notifier.ready(self.policy.status, main_pid=None if self._parent is None else os.getpid())
        self._notifier.watchdog()  # its time begins now
        if self._parent is not None:
            self._parent.ready()

    def _tell_watchdog(self) -> None:
        """The service lives as long as a process serves; the supervisor has to come here for it, too."""
        if self._now() >= self._beat_at:
            self._beat_at = self._now() + self._notifier.watchdog_interval
            if any(worker.phase is not Phase.STARTING for worker in self.workers.values()):
                self._notifier.watchdog()

    # ---- options ----

    def _read_options(self) -> Values:
        command = parse_command_line(self._state.argv)
        return collect(command.given, os.environ, self._state.directory)

    def _use(self, values: Values) -> None:
        """Have the options hold for the present generation."""
        self.policy.use(
            values.processes(),
            preload=bool(values["preload"]),
            stop_timeout=cast("float", values["stop_timeout"]),
            drain_delay=cast("float", values["drain_delay"]),
        )
        self._opens_browser = bool(values["open"])
        self._daemon = os.getpid() if values["daemon"] else 0
        if values["pid_file"] is not None and self._pid_file is None:
            directory = os.path.join(self._state.directory, str(values["chdir"] or ""))
            self._pid_file = make_pid_file(values, directory)
        self._watch_arguments = watch_arguments(values, self._state.directory) if values["reload"] else []
        try:  # as the workers do: a file that is created after a SIGUSR1 then belongs to their user
            with changed_directory(values):
                self._error_file = open_log_files(values)
        except (OSError, ReserveError) as error:  # the workers say it, too, and do not start
            write_line(f"reserve: {error}", logging.ERROR)
