"""The policy of the supervisor: which worker processes there should be, and what happens when one ends.

It decides, and does nothing itself: it has no processes, no channels and no clock. The supervisor reports each event,
with the time of its clock in seconds if that matters, and performs the actions that are returned, in their order.

One rule starts and ends workers at a start, a crash, a reload and a recycle alike (:meth:`Policy.plan`): as many *good*
workers as wanted (of the present generation, and not due for replacement), started one at a time while there are others
to replace; and a worker that is not good retires only when there would be one too many.

A *generation* is a start or a reload. If the first one does not start, the server ends; if a later one does not, the
one that serves is the present one again. A worker that crashes soon, or a replacement that does not start, delays the
next start, each time for twice as long.
"""

from __future__ import annotations

import enum
import logging
import signal
from collections.abc import Mapping

from reserve.cli.early.signaltable import name_of
from reserve.errors import ReserveError, UsageError
from reserve.supervisor.actions import Action, Line, Notice, Plan, Signal, Stop, Tell

__all__ = ["GRACE", "REASONS", "Phase", "Policy", "Worker"]

GRACE = 5.0
"""Seconds that a worker has to end after its stop timeout, before it is killed."""
_ABORTED = 3
"""The exit code of a worker, and of the supervisor, after a stop that has aborted requests."""
_LONGEST_DELAY = 30.0
"""Seconds between two attempts to replace workers that do not start or soon crash."""
_SOON = 10.0
"""Seconds. A worker that crashes, or asks for another one, earlier after its start delays its successor."""
_LONG_START = 30.0
"""Seconds after which a line says that a worker has not started yet."""
_NEVER = float("inf")
REASONS = ("crash", "recycle", "reload", "kill")
"""Why a worker was replaced: :data:`reserve.control.document.RESTARTS`."""


class Phase(enum.Enum):
    """How far a worker process is."""

    STARTING = "starting"
    SERVING = "serving"
    RETIRING = "retiring"
    """It takes no new connections, and ends when its connections have."""
    STOPPING = "stopping"


class Worker:
    """What the policy knows of one worker process.

    :param pid: its process ID.
    :param generation: which start or reload it belongs to.
    :param slot: its number, the lowest that was free.
    :param started: when it was started, on the supervisor's clock.
    """

    kind = "worker process"
    """What it is, for messages."""

    def __init__(self, pid: int, generation: int, slot: int, started: float) -> None:
        self.pid = pid
        self.generation = generation
        self.slot = slot
        self.started = started
        self.phase = Phase.STARTING
        self.due = ""
        """Why it is to be replaced; empty: it is not."""
        self.kill_at = _NEVER
        """When it is killed, on the supervisor's clock."""
        self.was_killed = False
        """It had not stopped in time."""
        self.report_at = _NEVER
        """When a line says that it has not started yet, on the same clock."""
        self.retires_within = _NEVER
        """Seconds that it may take to end after it was told to retire."""
        self.is_orphan = False
        """Its parent has ended, so its exit code is not known."""

    @property
    def phase_name(self) -> str:
        """Its phase, as a document has it."""
        return self.phase.value


class Policy:
    """The decisions of one supervisor, which makes it and calls it on its one thread.

    :param workers: of the supervisor, which adds and removes them, by process ID.
    :param generation: the present one.
    :param is_serving: whether workers of it serve already.
    :param stop_count: how many signals to stop have come.
    :param aborted: whether a worker has aborted requests at the stop.
    :param restarts: the :attr:`restarts` before this process has executed the program again.
    """

    def __init__(
        self,
        workers: Mapping[int, Worker],
        generation: int = 1,
        *,
        is_serving: bool = False,
        stop_count: int = 0,
        aborted: bool = False,
        restarts: Mapping[str, int] | None = None,
    ) -> None:
        self._workers = workers
        self.wanted = 0
        """How many workers there should be."""
        self.preload = False
        """Zygotes fork the workers."""
        self.stop_timeout = 0.0
        """Seconds that requests in flight have at a stop."""
        self._drain_delay = 0.0
        self._serving_wanted, self._serving_preload = self.wanted, self.preload
        """Those of the generation that serves."""
        self.is_watching = False
        """Files are watched (``--reload``), so a developer waits for the next version."""
        self.generation = generation
        self.serving_generation = generation if is_serving else 0
        """The last one of which a worker was ready."""
        self.stop_count = stop_count
        self.has_served = is_serving
        self._is_complete = is_serving
        self._aborted = aborted
        self._exit_code = 0
        self._delay = 0.0
        self._not_before = 0.0
        self.restarts: dict[str, int] = {name: int((restarts or {}).get(name, 0)) for name in REASONS}
        """How many workers were replaced, by reason."""

    @property
    def exit_code(self) -> int:
        """That of the process, when everything has stopped."""
        return self._exit_code or (_ABORTED if self._aborted else 0)

    @property
    def aborted(self) -> bool:
        """A worker has aborted requests at the stop, or was killed."""
        return self._aborted

    @property
    def is_complete(self) -> bool:
        """No start and no reload is under way."""
        return self._is_complete

    @property
    def needed_generations(self) -> tuple[int, ...]:
        """Those of which workers may have to start."""
        return () if self.stop_count else (self.generation, self.serving_generation)

    @property
    def status(self) -> str:
        """For the service manager."""
        serving = sum(worker.phase is Phase.SERVING for worker in self._workers.values())
        return f"{serving} of {_processes(self.wanted)} serve{'s' if self.wanted == 1 else ''}"

    # ---- what is wanted ----

    def use(self, wanted: int, *, preload: bool, stop_timeout: float, drain_delay: float | None = None) -> None:
        """The options that hold for the present generation.

        :param drain_delay: seconds; None: as it was.
        """
        self.wanted, self.preload, self.stop_timeout = wanted, preload, stop_timeout
        if drain_delay is not None:
            self._drain_delay = drain_delay

    def keep(self) -> None:
        """Have a reload that fails go back to the options as they are now."""
        self._serving_wanted, self._serving_preload = self.wanted, self.preload

    def resize(self, number: int) -> list[Action]:
        """SIGTTIN or SIGTTOU has come: one worker more or fewer, but not none."""
        if number != signal.SIGTTIN and self.wanted == 1:
            return [Line(f"reserve: {name_of(number)}: there is 1 process, and one has to stay")]
        self.wanted += 1 if number == signal.SIGTTIN else -1
        self._serving_wanted = self.wanted
        return [Line(f"reserve: {name_of(number)}: {_processes(self.wanted)} from now on")]

    def resize_to(self, count: int) -> list[Action]:
        """A command says how many workers there should be until the next reload."""
        self.wanted = self._serving_wanted = count
        return [Line(f"reserve: {_processes(count)} from now on")]

    def reload(self) -> list[Action]:
        """Begin a new generation."""
        self.generation += 1
        self._delay = self._not_before = 0.0
        self._is_complete = False
        actions: list[Action] = []
        for worker in self._workers.values():
            if worker.phase is Phase.STARTING:  # of an older generation
                worker.phase = Phase.STOPPING
                actions.append(Signal(worker.pid, signal.SIGKILL))
        return actions

    def stop(self, now: float, *, at_once: bool) -> Stop:
        """Stop: the first time the requests in flight may finish, the second time they are aborted, the third time the
        processes are killed.

        :param at_once: the requests are aborted the first time, too.
        """
        self.stop_count += 1
        at_once = self.stop_count > 1 or at_once
        timeout = 0.0 if at_once else self.stop_timeout
        delay = 0.0 if at_once else self._drain_delay  # the workers serve on for so long, so clients may still connect
        text = ""
        if not self.has_served:
            self._exit_code = ReserveError.exit_code
            if self.stop_count == 1:
                text = "interrupted before the server started"
        elif self.stop_count > 2:
            self._aborted = True
        elif at_once:
            text = "stopping at once"
        else:
            begin = f"stopping in {delay:g} s; then" if delay else "stopping;"
            text = f"{begin} requests in flight have {timeout:g} s, a second signal stops at once"
        actions: list[Action] = []
        for worker in self._workers.values():
            was_starting, worker.phase = worker.phase is Phase.STARTING, Phase.STOPPING
            worker.kill_at = min(worker.kill_at, now + delay + timeout + GRACE)
            if self.stop_count > 2 or (was_starting and at_once):
                actions.append(Signal(worker.pid, signal.SIGKILL))
            else:
                if not at_once:
                    actions.append(Tell(worker.pid, "stop"))  # the application may block the signal
                number = signal.SIGQUIT if at_once and self.stop_count == 1 else signal.SIGTERM
                actions.append(Signal(worker.pid, number))
        return Stop(text, delay, timeout, tuple(actions))

    # ---- time ----

    def check_times(self, now: float) -> list[Action]:
        """Report the workers that start too slowly, and kill those that are due."""
        actions: list[Action] = []
        for worker in self._workers.values():
            if worker.phase is Phase.STARTING and worker.report_at <= now:
                worker.report_at = _NEVER
                actions.append(
                    Line(f"reserve: worker process {worker.pid} has not started for {_LONG_START:g} s", logging.WARNING)
                )
            if worker.kill_at <= now:
                worker.kill_at = _NEVER
                worker.was_killed = True
                self._aborted = self._aborted or bool(self.stop_count)
                actions.append(
                    Line(
                        f"reserve: worker process {worker.pid} has not stopped in time, and is killed", logging.WARNING
                    )
                )
                actions.append(Signal(worker.pid, signal.SIGKILL))
        return actions

    def next_time(self, now: float) -> float:
        """When something is due without an event; infinite: never."""
        times = [worker.kill_at for worker in self._workers.values()]
        times += [worker.report_at for worker in self._workers.values() if worker.phase is Phase.STARTING]
        if self._not_before > now and not self.stop_count:
            times.append(self._not_before)
        return min(times, default=_NEVER)

    def plan(self, now: float) -> Plan:
        """Start and retire workers, so that there are as many good ones as wanted."""
        if self.stop_count:
            return Plan()
        serving = [worker for worker in self._workers.values() if worker.phase is Phase.SERVING]
        starting = [worker for worker in self._workers.values() if worker.phase is Phase.STARTING]
        good = [worker for worker in serving if worker.generation == self.generation and not worker.due]
        outdated = [worker for worker in serving if worker not in good]
        missing = self.wanted - len(good) - len(starting)
        starts = 0
        if missing > 0 and now >= self._not_before:
            one_at_a_time = outdated or self.serving_generation != self.generation
            starts = (0 if starting else 1) if one_at_a_time else missing
        actions: list[Action] = []
        excess = len(serving) - self.wanted
        for worker in (outdated + good[::-1])[: max(0, excess)]:
            worker.phase = Phase.RETIRING
            if not self.is_watching:
                worker.kill_at = now + worker.retires_within + GRACE
                actions.append(Tell(worker.pid, "retire"))
            else:  # for the developer, the new version is all that counts
                worker.kill_at = now + self.stop_timeout + GRACE
                actions.append(Tell(worker.pid, "stop"))
        if not missing and not starting and not outdated and not self._is_complete:
            self._is_complete = True
            actions.append(Notice.COMPLETE)
            if not self.is_watching or self.wanted > 1:
                actions.append(Line(f"reserve: {_processes(self.wanted)} serve{'s' if self.wanted == 1 else ''}"))
            actions.append(Notice.READY)
        return Plan(starts, tuple(actions))

    # ---- events of workers ----

    def adopt(self, worker: Worker, now: float) -> None:
        """The supervisor has a worker that this process had before it became the supervisor."""
        if worker.phase is Phase.STARTING:
            worker.report_at = now + _LONG_START
        if self.stop_count:
            worker.kill_at = now + (self.stop_timeout if self.stop_count == 1 else 0.0) + GRACE

    def started(self, worker: Worker, now: float) -> None:
        """A worker, or the zygote that it needs, was started."""
        worker.report_at = now + _LONG_START
        self._is_complete = False

    def start_failed(self, error: OSError, now: float) -> list[Action]:
        """The system starts no more processes now, or there is no interpreter; at the start of the server that ends it,
        and a reload.
        """
        actions: list[Action] = [Line(f"reserve: a worker process cannot be started: {error}", logging.ERROR)]
        if not self.serving_generation:
            self.stop_count = 1
            self._exit_code = ReserveError.exit_code
        elif self.generation != self.serving_generation:
            actions += self._give_up_generation(now)
        else:
            self._wait_longer(now)
        return actions

    def ready(self, worker: Worker, retires_within: float) -> list[Action]:
        """A worker that was STARTING serves.

        :param retires_within: seconds; infinite: it has not said that.
        """
        worker.phase = Phase.SERVING
        worker.retires_within = retires_within
        self.has_served = True
        if worker.generation == self.serving_generation:
            return []
        actions: list[Action] = [Notice.SERVES]
        if not self.serving_generation:
            actions.append(Notice.READY)
        elif self.is_watching:
            actions.append(Line("reserve: the new version serves"))
        self.serving_generation = worker.generation
        self.keep()
        return actions

    def recycle(self, worker: Worker, reason: str, now: float) -> list[Action]:
        """A worker asks for a successor.

        :param reason: why; empty: it does not say.
        """
        if worker.due or worker.phase is not Phase.SERVING:
            return []
        worker.due = reason or "it asks for it"
        if now - worker.started < _SOON:
            self._wait_longer(now)
        return [Line(f"reserve: worker process {worker.pid} is replaced: {worker.due}")]

    def ended(self, worker: Worker, code: int, now: float) -> list[Action]:
        """A worker has ended.

        :param worker: it is not among those of the supervisor any more.
        :param code: its exit code, negative for a signal.
        """
        if code == _ABORTED and self.stop_count:
            self._aborted = True
        reason = self._reason(worker)
        if reason:
            self.restarts[reason] += 1
        if self.stop_count or worker.phase in (Phase.RETIRING, Phase.STOPPING):
            return []
        if worker.phase is Phase.STARTING:
            return self._failed_start(worker, code, now)
        how = "has ended" if worker.is_orphan else _how(code)
        if now - worker.started < _SOON:
            self._wait_longer(now)
        return [Line(f"reserve: worker process {worker.pid} {how}; another one starts", logging.ERROR)]

    def _reason(self, worker: Worker) -> str:
        """Why another one takes the place of a worker that has ended; empty: none does."""
        if self.stop_count or worker.phase is Phase.STOPPING:
            return ""
        if worker.was_killed:
            return "kill"
        if worker.phase is Phase.RETIRING:
            return "recycle" if worker.due else "reload" if worker.generation != self.generation else ""
        return "crash"

    def zygote_ended(self, zygote: Worker, code: int, now: float) -> list[Action]:
        """A zygote has ended that was not told to.

        :param code: its exit code, negative for a signal.
        """
        if self.stop_count or zygote.generation != self.generation:
            return []
        if zygote.phase is Phase.STARTING or zygote.generation != self.serving_generation:
            return self._failed_start(zygote, code, now)
        self.generation += 1
        self._wait_longer(now)
        text = f"{zygote.kind} {zygote.pid} {_how(code)}; its workers serve until those of a new one replace them"
        return [Line(f"reserve: {text}", logging.ERROR)]

    def _failed_start(self, worker: Worker, code: int, now: float) -> list[Action]:
        name = f"{worker.kind} {worker.pid}"
        if worker.generation == self.serving_generation:
            self._wait_longer(now)
            return [Line(f"reserve: {name} could not start; the next attempt is in {self._delay:g} s", logging.ERROR)]
        actions: list[Action] = []
        if code < 0:
            actions.append(Line(f"reserve: {name} {_how(code)}", logging.ERROR))
        if self.serving_generation:
            actions += self._give_up_generation(now)
        elif self.is_watching and code != UsageError.exit_code:  # that needs another command line
            self._not_before = _NEVER
            self.has_served = True  # Ctrl-C ends the wait, not a start
            text = "the application could not start; the next change starts it again, Ctrl-C ends this"
            actions.append(Line(f"reserve: {text}", logging.ERROR))
        else:
            self.stop_count = 1
            self._exit_code = max(code, 0) or (1 if code else 0)
        return actions

    def _give_up_generation(self, now: float) -> list[Action]:
        """The present generation does not start, so the one that serves is the present one again."""
        self.wanted, self.preload = self._serving_wanted, self._serving_preload
        self.generation = self.serving_generation
        text = "the new version could not start, so the previous one serves on"
        if not any(worker.phase is Phase.SERVING for worker in self._workers.values()):
            self._wait_longer(now)  # each attempt reads the code and the configuration anew
            text = "the new version could not start, and no process of the previous one is left; "
            text += f"the next attempt is in {self._delay:g} s"
        return [Notice.GIVEN_UP, Line(f"reserve: {text}", logging.ERROR), Notice.READY]

    def _wait_longer(self, now: float) -> None:
        """Delay the next start: twice as long as the last time, unless that was long ago."""
        if now - self._not_before > 2 * _LONGEST_DELAY:
            self._delay = 0.0
        if now >= self._not_before:
            self._delay = min(_LONGEST_DELAY, max(0.5, self._delay * 2))
            self._not_before = now + self._delay


def _how(code: int) -> str:
    if code < 0:
        return f"was ended by {name_of(-code)}"
    return "has stopped" if code == 0 else f"has ended with exit code {code}"


def _processes(count: int) -> str:
    return "1 process" if count == 1 else f"{count} processes"
