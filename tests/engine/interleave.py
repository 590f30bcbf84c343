"""Drives the engine's own code, thread by thread, through every order of its steps that a bound allows.

A :class:`Scheduler` lets one :class:`Task` (a real thread) run at a time. A task stops at *points*: with ``trace``
before each line of the engine (or before each instruction that touches something shared), otherwise only where
the test calls :meth:`Scheduler.point`. The locks of the engine are replaced (:func:`replace_locks`) by locks that tell
the scheduler that the task is blocked, so that a lost wake-up is seen as a deadlock at once, without a clock. A task
that waits for a lock that was not replaced fails the test after :data:`LIMIT` seconds.
"""

from __future__ import annotations

import _thread
import ast
import contextlib
import dis
import importlib
import importlib.util
import os
import pkgutil
import sys
import threading
import traceback
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from queue import Empty, SimpleQueue
from types import FrameType, ModuleType, SimpleNamespace, TracebackType
from typing import Any

import pytest

import reserve.engine
from reserve.engine.polling import waiter

ENGINE = str(Path(reserve.engine.__file__).parent)
UNTRACED_FILES = {str(Path(ENGINE, "connections", name)) for name in ("output.py", "budget.py")}
"""Code that one thread at a time uses, or that depends on no other code: a stop in it shows nothing new."""
UNTRACED_FUNCTIONS = {"settle"}
"""Functions that read only what the owner of a connection owns: the same holds for them."""
LIMIT = 30.0
"""Seconds of real time that a task may take between two points; less than a millisecond unless it is blocked."""
_SHARED = (
    "STORE_ATTR", "DELETE_ATTR", "LOAD_ATTR", "LOAD_METHOD", "CALL", "STORE_SUBSCR", "BINARY_SUBSCR", "STORE_SLICE",
    "BINARY_SLICE",
)  # fmt: skip


def _is_shared(step: dis.Instruction) -> bool:
    # From CPython 3.14 on, to read an item is one of the binary operations.
    return step.opname.startswith(_SHARED) or (step.opname == "BINARY_OP" and step.argrepr == "[]")


class _Killed(BaseException):
    """Unwinds a task that has not finished when the test is over."""


class Task:
    """One thread under the scheduler."""

    def __init__(self, scheduler: Scheduler, name: str, target: Callable[[], object]) -> None:
        self.name = name
        self.finished = False
        self.error: BaseException | None = None
        self.result: object = None
        self.waiting: Callable[[], bool] | None = None
        """The task is blocked until this returns true."""
        self.killed = False
        self.budget = 0
        self.used = 0
        # Not a lock: on a free-threaded build a thread that waits for one spins first, and gives the processor away to
        # whatever else runs on it.
        self.go: SimpleQueue[None] = SimpleQueue()
        self._scheduler = scheduler
        self._target = target
        self.ident = _thread.start_new_thread(
            self._main, ()
        )  # half the price of a threading.Thread, and thousands are started

    @property
    def runnable(self) -> bool:
        return not self.finished and (self.waiting is None or self.waiting())

    def _main(self) -> None:
        self.go.get()
        try:
            if not self.killed:
                sys.settrace(self._scheduler.tracer)
                self.result = self._target()
        except _Killed:
            pass
        except BaseException as error:
            self.error = error
        finally:
            sys.settrace(None)
            self.finished = True
            self._scheduler.back.put(None)


def _stack(task: Task) -> str:
    frame = sys._current_frames().get(task.ident)
    return "".join(traceback.format_stack(frame)) if frame is not None else "(its thread has ended)"


class CoopLock:
    """``threading.Lock`` for tasks, and for the controller as long as it never has to wait."""

    def __init__(self, scheduler: Scheduler) -> None:
        self._scheduler = scheduler
        self._held = False

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        if timeout >= 0:  # the timeout passes between this point and the next
            self._scheduler.point()
            if self._held:
                return False
        elif self._held:
            if not blocking:
                return False
            self._scheduler.block(lambda: not self._held)
        self._held = True
        return True

    def release(self) -> None:
        if not self._held:
            raise RuntimeError("release unlocked lock")
        self._held = False

    def locked(self) -> bool:
        return self._held

    def __enter__(self) -> bool:
        return self.acquire()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self.release()


class Scheduler:
    """Runs one task at a time, on the order of the thread of the test (the controller).

    :param trace: ``"line"``, ``"shared"`` (every instruction that touches an attribute, an item, or calls), or "".
    """

    def __init__(self, trace: str = "") -> None:
        self.tasks: list[Task] = []
        self.current: Task | None = None
        self.back: SimpleQueue[None] = SimpleQueue()
        self._trace = trace
        self._offsets: dict[Any, set[int]] = {}
        self.tracer = self._called if trace else None

    def lock(self) -> CoopLock:
        return CoopLock(self)

    def spawn(self, name: str, target: Callable[[], object]) -> Task:
        task = Task(self, name, target)
        self.tasks.append(task)
        return task

    # ---- the controller ----

    def run(self, task: Task, budget: int = sys.maxsize) -> int:
        """Let ``task`` run for ``budget`` points, or until it blocks or ends; the number of points it used."""
        if not task.runnable:
            return 0
        task.waiting = None
        task.budget, task.used = budget, 0
        self._switch_to(task)
        return task.used

    def finish(self) -> list[str]:
        """Unwind the tasks that have not finished; their names."""
        unfinished = [task for task in self.tasks if not task.finished]
        if self.current is not None:  # the test failed in run(), and this task is still running
            return [task.name for task in unfinished]
        for task in unfinished:
            task.killed = True
            self._switch_to(task)
        return [task.name for task in unfinished]

    def _switch_to(self, task: Task) -> None:
        """Let ``task`` run until it stops at a point, blocks or ends."""
        self.current = task
        task.go.put(None)
        try:
            self.back.get(timeout=LIMIT)
        except Empty:
            raise AssertionError(
                f"{task.name} does not come to its next point within {LIMIT:g} s: it waits for a lock that"
                f" replace_locks() has not replaced, or loops for ever:\n{_stack(task)}"
            ) from None
        self.current = None

    # ---- the tasks ----

    def point(self) -> None:
        """The task may be stopped here."""
        task = self.current
        assert task is not None
        task.used += 1
        if task.used > task.budget:
            task.used -= 1
            self._yield(task)
            task.used = 1

    def block(self, until: Callable[[], bool]) -> None:
        """The task cannot go on before ``until()`` is true."""
        task = self.current
        assert task is not None, "the controller itself would block"
        while not until():
            task.waiting = until
            self._yield(task)

    def _yield(self, task: Task) -> None:
        if not task.killed:
            self.back.put(None)
            task.go.get()
        if task.killed:
            raise _Killed

    def _called(self, frame: FrameType, event: str, arg: Any) -> Any:
        name = frame.f_code.co_filename
        if not name.startswith(ENGINE) or name in UNTRACED_FILES or frame.f_code.co_name in UNTRACED_FUNCTIONS:
            return None
        if self._trace == "shared":
            frame.f_trace_opcodes = True
            frame.f_trace_lines = False
        return self._stepped

    def _stepped(self, frame: FrameType, event: str, arg: Any) -> Any:
        task = self.current
        if task is not None and task.killed:
            return self._stepped
        if event == "line" or (event == "opcode" and frame.f_lasti in self._interesting(frame.f_code)):
            self.point()
        return self._stepped

    def _interesting(self, code: Any) -> set[int]:
        found = self._offsets.get(code)
        if found is None:
            found = self._offsets[code] = {step.offset for step in dis.get_instructions(code) if _is_shared(step)}
        return found


class ArmedPoller:
    """What every poller of a test keeps: which descriptors are armed for what, and whether a thread has signalled."""

    has_edges = False
    can_share = True
    batch = 64

    def __init__(self, scheduler: Scheduler) -> None:
        self.scheduler = scheduler
        self.armed: dict[int, int] = {}
        self.signalled = False
        self.wakeup = SimpleNamespace(signal=self.signal, fd=-2)

    def signal(self) -> None:
        self.signalled = True

    def add(self, fd: int, mask: int) -> None:
        self.armed[fd] = mask

    arm = add

    def remove(self, fd: int) -> None:
        self.armed.pop(fd, None)

    def share(self) -> None:
        self.batch = 1


Scenario = Callable[[Scheduler], "Callable[[list[str]], None]"]
"""Spawns its tasks and returns the check, which is given the names of the tasks that are blocked at the end."""


def _play(scenario: Scenario, trace: str, prefix: list[tuple[int, int]], start: int) -> list[tuple[int, int]]:
    """Run the segments of ``prefix``, then from task ``start`` on each as far as it goes; the segments added."""
    scheduler = Scheduler(trace)
    try:
        check = scenario(scheduler)
        tasks = scheduler.tasks
        for index, count in prefix:
            scheduler.run(tasks[index], count)
        added: list[tuple[int, int]] = []
        turn = start
        while any(task.runnable for task in tasks):
            if tasks[turn].runnable:
                added.append((turn, scheduler.run(tasks[turn])))
            turn = (turn + 1) % len(tasks)
        for task in tasks:
            if task.error is not None:
                raise AssertionError(f"{task.name} failed") from task.error
        check([task.name for task in tasks if not task.finished])
        return added
    except AssertionError as error:
        raise AssertionError(f"schedule {prefix} then task {start} ({trace}): {error}") from (error.__cause__ or error)
    finally:
        scheduler.finish()


def _scripts(
    scenario: Scenario,
    trace: str,
    prefix: list[tuple[int, int]],
    start: int,
    preemptions: int,
    count: int,
    alike: Sequence[int],
) -> Iterator[int]:
    if start in alike and not {index for index, _ in prefix}.issuperset(alike[: alike.index(start)]):
        return
    added = _play(scenario, trace, prefix, start)
    yield 1
    if not preemptions:
        return
    for position, (task, points) in enumerate(added):
        for cut in range(1, points + 1):
            for other in range(count):
                if other != task:
                    yield from _scripts(
                        scenario, trace, [*prefix, *added[:position], (task, cut)], other, preemptions - 1, count, alike
                    )


@contextlib.contextmanager
def _one_processor() -> Iterator[None]:
    """The calling thread, and every thread that it starts, run on one processor while the block runs.

    One task runs at a time, so a second processor does no work. A task that it begins on another one has to wake that
    one up, which takes many times as long as the task's step.
    """
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    allowed = os.sched_getaffinity(0)
    # Not the same one for all processes of pytest-xdist.
    os.sched_setaffinity(0, {sorted(allowed)[os.getpid() % len(allowed)]})
    try:
        yield
    finally:
        os.sched_setaffinity(0, allowed)


def explore(scenario: Scenario, tasks: int, preemptions: int, trace: str, alike: Sequence[int] = ()) -> int:
    """Try every schedule with at most so many preemptions; the number of schedules. Raises AssertionError.

    :param alike: tasks (in the order of their numbers) that do the same. They begin in this order only: every other
        order is one of these with their names exchanged.
    """
    with _one_processor():
        return sum(sum(_scripts(scenario, trace, [], start, preemptions, tasks, alike)) for start in range(tasks))


def modules_with_locks() -> list[str]:
    """Every module of the engine that makes locks, read from the sources, so that a new one cannot be forgotten."""
    found = []
    for module in pkgutil.walk_packages(reserve.engine.__path__, "reserve.engine."):
        spec = importlib.util.find_spec(module.name)
        assert spec is not None
        assert spec.origin is not None
        if not spec.origin.endswith(".py"):  # in C: replace_locks() knows where it is used
            continue
        source = Path(spec.origin).read_text("utf-8")
        names = {
            node.attr
            for node in ast.walk(ast.parse(source))
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "threading"
        }
        assert "from threading import" not in source, f"{module.name}: its locks could not be replaced"
        assert not names & {"RLock", "Condition", "Semaphore"}, f"{module.name}: the explorer replaces Lock alone"
        if "Lock" in names:
            found.append(module.name)
    return found


def replace_locks(monkeypatch: pytest.MonkeyPatch, scheduler: Callable[[], Scheduler]) -> None:
    """From now on the engine makes its locks with the scheduler that ``scheduler()`` returns."""
    fake = ModuleType("threading")
    vars(fake).update(vars(threading), Lock=lambda: scheduler().lock())
    for name in modules_with_locks():
        importlib.import_module(name)
        monkeypatch.setattr(f"{name}.threading", fake)
    monkeypatch.setattr(waiter, "new_lock", fake.Lock)  # else it may be the one in C
