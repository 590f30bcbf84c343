"""The queue, the stepper and the monitor without a server and without threads, and the doubles that they stand on."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, cast

from reserve.engine.connections.budget import Budget
from reserve.engine.connections.connection import Connection
from reserve.engine.connections.states import TRANSITIONS, State
from reserve.engine.logs.errorlog import ErrorLog
from reserve.engine.polling.poller import READ, WRITE
from reserve.engine.polling.waiter import Alarm
from reserve.engine.scheduler.handoff import AlwaysHandOver
from reserve.engine.scheduler.lead import Follower, Leads
from reserve.engine.scheduler.monitor import Monitor
from reserve.engine.scheduler.readyqueue import ReadyQueue
from reserve.engine.scheduler.stepper import Stepper
from reserve.engine.server import Server
from reserve.engine.settings import EngineSettings
from reserve.testing import MemorySocket
from tests.engine.interleave import ArmedPoller, Scheduler


class FakePoller(ArmedPoller):
    """Blocks its task until there is an event or a wake-up; the test adds the events."""

    def __init__(self, scheduler: Scheduler) -> None:
        super().__init__(scheduler)
        self.events: list[tuple[int, int]] = []
        self.timeout: float | None = None

    def fire(self, fd: int) -> None:
        if fd in self.armed:
            self.events.append((fd, self.armed.pop(fd)))

    def poll(self, timeout: float | None) -> list[tuple[int, int]]:
        self.timeout = timeout
        if timeout != 0 and not (self.signalled or self.events):
            self.scheduler.block(lambda: self.signalled or bool(self.events))
        self.signalled = False
        events, self.events = self.events, []
        return events

    def close(self) -> None:
        pass


class StandingClock:
    """A clock whose time the test sets; that wakes no thread."""

    def __init__(self) -> None:
        self.time = 1000.0

    def now(self) -> float:
        return self.time

    def timeout(self, deadline: float) -> float | None:
        return 0.0 if deadline <= self.time else None

    def subscribe(self, wake: Callable[[], None]) -> None:
        pass

    unsubscribe = subscribe


class OpenClock(StandingClock):
    """Gives a poller the deadline itself as the timeout, so that the test sees for which deadline it waits."""

    def timeout(self, deadline: float) -> float | None:
        return deadline


class NumberedSocket(MemorySocket):
    """A socket in memory that has a descriptor's number."""

    def __init__(self, fd: int) -> None:
        super().__init__()
        self._fd = fd

    def fileno(self) -> int:
        return self._fd


class ServerDouble:
    """What a connection asks of its server; base of the classes that have the attributes ``queue`` and ``settings``."""

    queue: ReadyQueue
    settings: EngineSettings
    clock: StandingClock
    budget: Budget

    def __init__(self) -> None:
        self.retiring = self.stopping = False
        self.closed: list[Connection] = []
        """The connections that have been closed, in this order."""

    def flush_lent(self, connection: Connection) -> None:
        self.queue.park(connection, WRITE, self.clock.now() + self.settings.write_timeout, "write", State.FLUSHING)

    def connection_closed(self, connection: Connection) -> None:
        self.closed.append(connection)

    def run_finished(self) -> None:
        """Nothing: no shutdown waits for it."""

    def close_file(self, close: Callable[[], None], size: int) -> None:
        close()


class TracedConnection(Connection):
    """A connection that allows only the transitions of its state that the table has, and remembers them."""

    __slots__ = ("transitions",)

    def __init__(self, *arguments: Any) -> None:
        self.transitions: list[tuple[State, State]] = []
        super().__init__(*arguments)

    @property  # type: ignore[override]
    def state(self) -> State:
        return _STATE.__get__(self)

    @state.setter
    def state(self, state: State) -> None:
        try:
            before = _STATE.__get__(self)
        except AttributeError:  # the first
            before = state
        if state is not before:
            assert state in TRANSITIONS[before], f"{before!r} to {state!r}"
            self.transitions.append((before, state))
        _STATE.__set__(self, state)


_STATE: Any = Connection.__dict__["state"]


class World(ServerDouble):
    """A queue with its parts, without threads of its own. The thread of the test, or tasks, call their methods."""

    def __init__(self, scheduler: Scheduler, leads: int = 1) -> None:
        super().__init__()
        self.scheduler = scheduler
        self.poller = FakePoller(scheduler)
        self.clock = OpenClock()
        self.settings = EngineSettings()
        self.log = ErrorLog()
        self.alarm = Alarm()
        self.monitor = Monitor(AlwaysHandOver(), self.alarm, self.log)
        policy = AlwaysHandOver()
        self.queue = ReadyQueue(self.poller, self.clock, policy, self.alarm, leads=leads)  # type: ignore[arg-type]
        self.stepper = Stepper(self.queue, self.clock, self.settings, self.log)
        self.monitor._queue, self.monitor._stepper = self.queue, self.stepper
        self.monitor._pool = cast(
            Any, SimpleNamespace(workers=(), grow_wanted=False, grow=lambda: None, is_exhausted=lambda: False)
        )
        self.budget = Budget(1_000_000, 1_000_000)
        self.alarm.asleep = False

    def connection(self, fd: int = 7) -> TracedConnection:
        server = cast(Server, self)
        connection = TracedConnection(server, cast(Any, NumberedSocket(fd)), ("127.0.0.1", fd))
        set_driver(connection)
        connection.state = State.OWNED
        self.queue.registry.add(connection)
        return connection

    def record_failures(self) -> list[str]:
        """The failures that the stepper logs from now on."""
        failures: list[str] = []
        log = cast(Any, SimpleNamespace(failure=lambda text, error: failures.append(f"{text}: {error}")))
        self.stepper._log = self.stepper.closer._log = log
        return failures

    def park(self, connection: Connection, deadline: float = 2000.0) -> None:
        self.queue.park(connection, READ, deadline, "test", State.PARKED)


def set_driver(connection: Connection, **methods: Any) -> None:
    """Give the connection a driver that has ``on_close`` (without a final run) and ``methods``."""
    defaults = {
        "on_close": lambda reason: False,
        "count_run": lambda: None,
        "client": lambda: "",
        "straight": None,
        "leave_straight_line": lambda deadline: None,
    }
    connection.driver = cast(Any, SimpleNamespace(**{**defaults, **methods}))


def count_leads(leads: Leads, *followers: Follower) -> int:
    """How many leads there are; it has to be one."""
    have = [lead for follower in followers for lead in (follower.lead, follower.given) if lead is not None]
    assert len(set(have)) == len(have), "two threads have the same lead"
    assert not any(lead.free for lead in have)
    return sum(lead.free for lead in leads.all) + len(have)
