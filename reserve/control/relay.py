"""What one process asks the others of its server for: documents, and what the commands of the control socket need.

Used by the one thread of the supervisor, or with the lock of a hand-over (:mod:`reserve.cli.processes.handover`);
nothing in it waits. A question to several workers has a second: those that
have not responded by then, because they are stopped, or because C code holds their GIL, are told as not responding. A
worker that is silent gets no more questions until it responds, so that none pile up.

The counters of all processes together never decrease: a worker sends its last ones when it ends, and those of one that
was killed are the last that were told.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from reserve.control.collector import FRESH
from reserve.control.commands import Reply
from reserve.control.document import add_counters, counters_of, document, process
from reserve.control.messages import Answer, Collect, Last, Message
from reserve.control.process import reopened_result, version_result
from reserve.control.protocol import Refusal, Request
from reserve.engine.logs.logfile import Reopened

__all__ = ["Relay", "Worker"]

_DEADLINE = 1.0
"""Seconds that the workers have to respond."""
_MOST_THREADS = 5000
"""In a document for a worker; one with more goes without its threads, because messages are bounded."""
_MOST_BYTES = 32 << 20
"""Of the stacks, or the connections, of all workers."""
_NEVER = float("inf")

_Answers = dict[int, Mapping[str, Any]]
"""What workers have answered, by process ID: ``result`` or ``error``; those that have not are missing."""


class _Supervisor(Protocol):
    """What the commands do to the whole server."""

    def reload_by_command(self) -> str:
        """Begin a reload, and return why that is not possible; empty: it has begun."""

    def stop_by_command(self, *, at_once: bool) -> None: ...

    def reopen_logs(self) -> Iterable[Reopened]:
        """Open the log files of this process again, and return what became of each; the workers are asked then."""

    def resize_to(self, count: int) -> None: ...


class _Policy(Protocol):
    """What the relay tells of all processes together."""

    @property
    def wanted(self) -> int: ...

    @property
    def generation(self) -> int: ...

    @property
    def stop_count(self) -> int: ...

    @property
    def restarts(self) -> Mapping[str, int]: ...


class _Channel(Protocol):
    @property
    def ended(self) -> bool: ...

    @property
    def is_behind(self) -> bool: ...

    def send(self, kind: str, **values: Any) -> None: ...


class Worker(Protocol):
    """A process that is asked."""

    @property
    def pid(self) -> int: ...

    @property
    def slot(self) -> int: ...

    @property
    def generation(self) -> int: ...

    @property
    def phase_name(self) -> str:
        """Its phase, as a document has it."""

    @property
    def channel(self) -> _Channel: ...

    def signal(self, number: int) -> None: ...


@dataclass(slots=True)
class _Question:
    """A question to several workers."""

    deadline: float
    done: Callable[[_Answers], object]
    waiting: set[int]
    """The process IDs of those that have not answered."""
    answers: _Answers = field(default_factory=dict)


class Relay:
    """The questions of one supervisor, or of a process that hands over, which makes it. It is the target of the control
    sockets.

    :param supervisor: carries out what concerns the whole server.
    :param workers: of the supervisor, by process ID.
    :param policy: of the supervisor.
    :param now: seconds of a monotonic clock.
    :param counts: what :meth:`passed` has returned before this process has executed the program again.
    """

    def __init__(
        self,
        supervisor: _Supervisor,
        workers: Mapping[int, Worker],
        policy: _Policy,
        now: Callable[[], float],
        counts: Mapping[str, Any],
    ) -> None:
        self._supervisor = supervisor
        self._workers = workers
        self._policy = policy
        self._now = now
        self._former: dict[str, Any] = dict(counts.get("former") or {})
        self._started = now() - float(counts.get("uptime", 0.0))
        self._last_id = int(counts.get("last_id", 0))  # a late answer must not be taken for another one
        self._questions: dict[int, _Question] = {}
        self._silent: dict[int, float] = {}
        """Since when a worker owes an answer, by process ID."""
        self._known: dict[int, tuple[Mapping[str, Any], float]] = {}
        """The last stats of each worker, and when it has told them."""
        self._told_last: set[int] = set()
        """The workers that have told their last stats, by process ID."""
        self._told_last.update(map(int, counts.get("told_last") or ()))
        for pid, known in (counts.get("known") or {}).items():
            self._known[int(pid)] = known, now()
        self._document: dict[str, Any] | None = None
        self._document_at = -_NEVER
        self._collecting: list[Callable[[dict[str, Any]], object]] = []
        """Who gets the document that is being collected; empty: none is."""
        self._threads: dict[str, int] = {}
        self._log_level = ""
        """What the commands ``threads`` and ``log-level`` have set, for processes that start later; empty: nothing."""
        self._set_until = 0
        """The first generation for which the options hold again, because it begins with a reload after that."""

    # ---- the commands of the control socket ----

    def perform(self, request: Request, reply: Reply) -> None:
        """See :class:`~reserve.control.commands.Target`."""
        command, arguments = request.command, request.arguments
        if command == "version":
            reply(version_result())
        elif command == "status":
            self.collect(reply)
        elif command in ("stacks", "connections"):
            self._look(command, arguments, reply)
        elif command == "stop":
            self._supervisor.stop_by_command(at_once=bool(arguments.get("now", False)))
            reply({"stopping": True})
        elif self._policy.stop_count:
            raise Refusal("the server is stopping")
        elif command == "reload":
            reason = self._supervisor.reload_by_command()
            reply(Refusal(reason) if reason else {"reloading": True})
        elif command == "log-reopen":
            self._reopen(reply)
        elif command == "processes":
            self._supervisor.resize_to(int(arguments["count"]))
            reply({"count": arguments["count"]})
        else:
            self._set(command, arguments, reply)

    def _look(self, command: str, arguments: Mapping[str, Any], reply: Reply) -> None:
        workers = [worker for worker in self._in_order() if worker.pid > 0]
        pid = arguments.get("pid")
        if pid is not None:
            workers = [worker for worker in workers if worker.pid == pid]
            if not workers:
                pids = ", ".join(str(worker.pid) for worker in self._in_order()) or "none"
                raise Refusal(f"there is no worker process {pid} of this server", f"it has {pids}")

        def done(answers: _Answers) -> None:
            rows = []
            for worker in workers:
                answer = answers.get(worker.pid, {})
                if "result" in answer:
                    rows.append(answer["result"])
                else:
                    error = {"error": answer["error"]} if "error" in answer else {}
                    rows.append(
                        {"pid": worker.pid, "responding": bool(answer), command_rows: [], "left_out": 0, **error}
                    )
            reply({"time": time.time(), "processes": rows})

        command_rows = "threads" if command == "stacks" else command
        rest = {name: value for name, value in arguments.items() if name != "pid"}
        rest["most"] = _MOST_BYTES // max(1, len(workers))
        self.ask(command, rest, workers, done)

    def _reopen(self, reply: Reply) -> None:
        """Open all log files again, first those of this process: what root creates belongs to the workers' user."""
        rows = [reopened_result(self._supervisor.reopen_logs())]
        workers = [worker for worker in self._in_order() if worker.pid > 0]

        def done(answers: _Answers) -> None:
            for worker in workers:
                answer = answers.get(worker.pid, {})
                if "result" in answer:
                    rows.append(answer["result"])
                else:  # it starts, is stopped, or is another version: it opens them when it can
                    worker.signal(signal.SIGUSR1)
            reply({"processes": rows})

        self.ask("log-reopen", {}, workers, done)

    def _set(self, command: str, arguments: Mapping[str, Any], reply: Reply) -> None:
        """A setting for all processes, also for those that start later."""
        workers = [worker for worker in self._in_order() if worker.phase_name == "serving"]

        def done(answers: _Answers) -> None:
            changed = [pid for pid, answer in answers.items() if "result" in answer]
            errors = {str(pid): str(answer["error"]) for pid, answer in answers.items() if "error" in answer}
            silent = [worker.pid for worker in workers if worker.pid not in answers]
            if errors and not changed:
                reply(Refusal(next(iter(errors.values()))))
                return
            self._set_until = self._policy.generation + 1
            if command == "threads":
                self._threads = {name: int(arguments[name]) for name in ("min", "max")}
            else:
                self._log_level = str(arguments["level"])
            reply({**arguments, "processes": changed, "silent": silent, "errors": errors})

        self.ask(command, arguments, workers, done)

    # ---- documents ----

    def collect(self, done: Callable[[dict[str, Any]], object]) -> None:
        """Call ``done`` with a document, now or within a second."""
        if self._document is not None and self._now() - self._document_at < FRESH:
            done(self._document)
            return
        self._collecting.append(done)
        if len(self._collecting) == 1:
            self.ask("stats", {}, self._in_order(), self._collected)

    def _collected(self, answers: _Answers) -> None:
        now = self._now()
        processes = []
        for worker in self._in_order():
            stats, at = self._known.get(worker.pid, (None, now))
            processes.append(
                process(
                    stats,
                    pid=max(0, worker.pid),
                    phase=worker.phase_name,
                    slot=worker.slot,
                    generation=worker.generation,
                    age=round(max(0.0, now - at), 3),
                    responding=worker.pid in answers,
                )
            )
        supervisor = {
            "pid": os.getpid(),
            "wanted": self._policy.wanted,
            "generation": self._policy.generation,
            "uptime": now - self._started,
            "restarts": dict(self._policy.restarts),
        }
        self._document, self._document_at = document(time.time(), processes, supervisor, self._former), now
        waiting, self._collecting = self._collecting, []
        for done in waiting:
            done(self._document)

    def _in_order(self) -> list[Worker]:
        return sorted(self._workers.values(), key=lambda worker: (worker.slot, worker.pid))

    # ---- questions ----

    def ask(
        self,
        command: str,
        arguments: Mapping[str, Any],
        workers: Iterable[Worker],
        done: Callable[[_Answers], object],
    ) -> None:
        """Ask workers, and call ``done`` with their answers when all have answered, at the latest after a second."""
        now = self._now()
        self._last_id += 1
        asked: set[int] = set()
        for worker in workers:
            # The process ID of a worker that a zygote forks is not known at first.
            if worker.pid <= 0 or worker.channel.ended or now - self._silent.get(worker.pid, now) >= _DEADLINE:
                continue
            self._silent.setdefault(worker.pid, now)
            asked.add(worker.pid)
            worker.channel.send("ask", id=self._last_id, command=command, arguments=dict(arguments))
        question = _Question(now + _DEADLINE, done, asked)
        self._questions[self._last_id] = question
        if not asked:
            self._finish(self._last_id)

    def receive(self, worker: Worker, message: Message) -> bool:
        """A message of a worker; False: it is not for the relay."""
        if isinstance(message, Answer):
            self._answer(worker, message)
        elif isinstance(message, Last):
            self._learn(worker, message.stats, is_last=True)
        elif isinstance(message, Collect):
            self.collect(lambda found: self.tell(worker, found))
        else:
            return False
        return True

    def _answer(self, worker: Worker, message: Answer) -> None:
        self._silent.pop(worker.pid, None)
        if message.stats is not None:
            self._learn(worker, message.stats)
        question = self._questions.get(message.id)
        if question is None or worker.pid not in question.waiting:
            return  # too late
        question.waiting.discard(worker.pid)
        question.answers[worker.pid] = message.values
        for other in self._questions.values():
            if other is not question and worker.pid in other.waiting:
                self._silent[worker.pid] = self._now()  # it owes more answers
        if not question.waiting:
            self._finish(message.id)

    def _learn(self, worker: Worker, stats: Mapping[str, Any], *, is_last: bool = False) -> None:
        """Remember stats. An answer that comes after the last ones was made before them, by another thread."""
        if is_last:
            self._told_last.add(worker.pid)
        elif worker.pid in self._told_last:
            return
        self._known[worker.pid] = stats, self._now()

    @staticmethod
    def tell(worker: Worker, found: dict[str, Any]) -> None:
        """Send a document to a worker."""
        if worker.channel.ended or worker.channel.is_behind:  # one that asks on and on, and reads nothing
            return
        processes = found["processes"]
        if sum(len((one["stats"] or {}).get("workers", ())) for one in processes) > _MOST_THREADS:
            processes = [{**one, "stats": one["stats"] and {**one["stats"], "workers": []}} for one in processes]
        worker.channel.send("document", document={**found, "processes": processes})

    def _finish(self, number: int) -> None:
        question = self._questions.pop(number)
        question.done(question.answers)

    # ---- what the supervisor reports ----

    def worker_ready(self, worker: Worker) -> None:
        """A worker serves: it gets what commands have set before."""
        if worker.generation >= self._set_until:
            return
        if self._threads:
            self.ask("threads", self._threads, [worker], _ignore)
        if self._log_level:
            self.ask("log-level", {"level": self._log_level}, [worker], _ignore)

    def worker_ended(self, worker: Worker) -> None:
        """A worker has ended, and its messages were read."""
        self._silent.pop(worker.pid, None)
        self._told_last.discard(worker.pid)
        stats, _ = self._known.pop(worker.pid, (None, 0.0))
        if stats is not None:
            self._former = add_counters(self._former, counters_of(stats))
        self._document = None  # it would have the process
        for number, question in list(self._questions.items()):
            question.waiting.discard(worker.pid)
            if not question.waiting and number in self._questions:
                self._finish(number)

    def timeout(self) -> float:
        """When :meth:`act` has to be called at the latest, on the clock; infinite: nothing is due."""
        return min((question.deadline for question in self._questions.values()), default=_NEVER)

    def act(self) -> None:
        """End the questions whose time is over."""
        now = self._now()
        for number, question in list(self._questions.items()):
            if question.deadline <= now and number in self._questions:
                self._finish(number)

    def passed(self) -> dict[str, Any]:
        """What the program that this process becomes has to know: the counters, also those of the workers that go on
        and may be killed before they are asked again.
        """
        return {
            "former": self._former,
            "last_id": self._last_id,
            "known": {str(pid): counters_of(stats) for pid, (stats, _) in self._known.items()},
            "told_last": sorted(self._told_last),
            "uptime": self._now() - self._started,
            "restarts": dict(self._policy.restarts),
        }


def _ignore(answers: _Answers) -> None:
    """What is done with answers that change nothing."""
