"""The engine without a server as a model whose every step the test decides: see ``test_model``."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, ClassVar, cast

from reserve.engine.clients.places import HELD, ClientLimit, ClientLimits, Place
from reserve.engine.connections.budget import Budget
from reserve.engine.connections.connection import Connection
from reserve.engine.connections.driver import AGAIN, CLOSE, LINGER, RUN, Action, Wait
from reserve.engine.connections.registry import admit
from reserve.engine.connections.states import CLOSE_IDLE, NOTIFY, State
from reserve.engine.connections.straightline import DECLINED, RAN
from reserve.engine.polling.poller import EDGES, READ, WRITE
from reserve.engine.polling.timers import NEVER
from reserve.engine.polling.waiter import Alarm
from reserve.engine.scheduler.monitor import Monitor
from reserve.engine.scheduler.readyqueue import _MONITOR_POLL, ReadyQueue
from reserve.engine.scheduler.requesttimeout import RequestWatchdog
from reserve.engine.scheduler.stepper import Stepper
from reserve.engine.scheduler.worker import Worker
from reserve.engine.scheduler.workers import Waiting, WorkerPool
from reserve.engine.settings import EngineSettings
from reserve.errors import RequestTimeout
from tests.engine.interleave import ArmedPoller, Scheduler, Task
from tests.engine.world import NumberedSocket, ServerDouble, StandingClock, TracedConnection

IDLE = 10.0
RDHUP = 0x2000
"""What epoll says of a client that has ended its side."""
RESPONSE = b"abcd"


class ModelSocket(NumberedSocket):
    """A socket in memory whose descriptor must be closed only once."""

    @property
    def readable(self) -> bool:
        return bool(self.incoming) or self.ended

    def detach(self) -> int:
        assert self._fd >= 0, "closed twice"
        self._fd = -1
        return -1


class ModelPoller(ArmedPoller):
    """Level-triggered and one-shot, as the real pollers, or edge-triggered where that is asked for; ``poll`` is a place
    where a thread can block.
    """

    def __init__(self, scheduler: Scheduler, has_edges: bool) -> None:
        super().__init__(scheduler)
        self.has_edges = has_edges
        self.edges: set[int] = set()
        """The descriptors with an arrival that is not reported yet."""
        self.sockets: dict[int, ModelSocket] = {}
        self.spurious: set[int] = set()
        self.polling = 0
        self.leads = 1
        """How many threads may poll at once."""

    def happened(self) -> list[tuple[int, int]]:
        found = []
        for fd, mask in self.armed.items():
            sock = self.sockets[fd]
            if mask & EDGES:
                if fd in self.edges:
                    found.append((fd, READ | RDHUP if sock.ended else READ))
                elif fd in self.spurious:
                    found.append((fd, READ))
                continue
            seen = (READ if sock.readable else 0) | (WRITE if sock.room != 0 else 0)
            if seen & mask or fd in self.spurious:
                found.append((fd, (seen & mask) or mask))
        return found

    def poll(self, timeout: float | None) -> list[tuple[int, int]]:
        assert self.polling < self.leads, "more threads poll than may lead"
        self.polling += 1
        try:
            if timeout == _MONITOR_POLL:  # it passes, however long the step
                self.scheduler.point()
            elif timeout != 0:
                self.scheduler.block(lambda: self.signalled or bool(self.happened()))
        finally:
            self.polling -= 1
        self.signalled = False
        found = self.happened()[: self.batch]
        for fd, _ in found:
            if not self.armed[fd] & EDGES:
                del self.armed[fd]
            self.edges.discard(fd)
            self.spurious.discard(fd)
        return found

    def add(self, fd: int, mask: int) -> None:
        """As the kernel, which looks at what has arrived already."""
        super().add(fd, mask)
        self.edges.discard(fd)
        self.arrived(fd)

    arm = add

    def arrived(self, fd: int) -> None:
        if self.armed.get(fd, 0) & EDGES and self.sockets[fd].readable:
            self.edges.add(fd)

    def remove(self, fd: int) -> None:
        super().remove(fd)
        self.edges.discard(fd)


class ModelDriver:
    """Every byte is a request, whose run responds. ``l`` lends its connection meanwhile, ``x`` fails, ``c`` closes,
    ``a`` asks for one more step and has no response, ``u`` ignores the exception of its request timeout.
    """

    def __init__(self, world: ModelWorld, connection: Connection) -> None:
        self.world = world
        self.connection = connection
        self.request = b""
        self.unparsed = b""
        """What the straight line has received and declined."""
        self.on_line = False
        self.straight = world if world.poller.has_edges and world.running is None else None
        self.kind = "idle" if self.straight is None else "keep-alive"
        self.finished = False
        self.outbox: list[bytes] = []
        self.wait = Wait(self.kind, READ, NEVER)
        self.served = 0
        self.reasons: list[str] = []
        self.final_runs = 0
        self.expiries = 0
        self.called = 0
        self.refused: list[str] = []
        self.begun = self.expired_run = self.revoked = self.responded = False
        self.wait_until = NEVER
        self.place: Place | None = None
        """That of the current request, if there is a limit for its client."""

    def request_id(self) -> str:
        return ""

    def running_since(self) -> float:
        return 0.0

    def step(self, events: int, now: float) -> Action:
        assert self.connection.output is None, "stepped while output waits"
        self.world.owned_by_one(self.connection)
        while self.outbox:
            self.connection.write(self.outbox.pop())
        if self.finished:
            return LINGER
        if self.connection.output is not None:
            return self.wait
        if self.place is not None:
            return self.take_place()
        try:
            self.request = self.unparsed[:1] or self.connection.recv(1)
            self.unparsed = self.unparsed[1:]
        except BlockingIOError:
            if self.world.stopping or events & CLOSE_IDLE:
                return CLOSE
            if self.wait.deadline == NEVER or self.served:
                self.wait.deadline = now + IDLE
                self.served = 0
            return self.wait
        if not self.request:
            return CLOSE
        assert not self.revoked
        self.begun = self.expired_run = self.responded = False
        if self.request == b"a":
            return AGAIN
        if self.world.running is not None:
            self.place = self.world.running.place("127.0.0.1", lambda: self.world.notify(self.connection))
            self.wait_until = now + 4.0
            return self.take_place()
        return RUN

    def take_place(self) -> Action:
        assert self.place is not None
        if self.place.enter(1000) is HELD:
            return RUN
        self.wait.kind, self.wait.events, self.wait.deadline = "place", 0, self.wait_until
        return self.wait

    def run(self) -> None:
        connection = self.connection
        if connection.final_run:
            self.final_runs += 1
            self.world.scheduler.point()
            return
        place = self.place
        try:
            self.respond()
        finally:
            if place is not None:
                place.leave()
                if not self.revoked:
                    self.place = None
                    self.wait.kind, self.wait.events, self.wait.deadline = self.kind, READ, NEVER

    def serve_straight(self, now: float) -> float | int:
        """What :attr:`ModelWorld.straight_line` calls: one request that is alone, and whose response leaves at once."""
        connection = self.connection
        self.world.owned_by_one(connection)
        assert not connection.final_run
        assert connection.output is None
        if self.outbox:  # an arrival has replaced the notification
            return DECLINED
        self.world.scheduler.point()  # bytes may arrive after the event and before the receive
        try:
            data = connection.recv(64)
        except BlockingIOError:
            return DECLINED
        if len(data) != 1 or data == b"a":
            self.unparsed = data
            return DECLINED
        self.request = data
        self.begun = self.responded = False
        served = self.served
        self.respond()
        if connection.output is not None or self.finished or data == b"l" or self.world.retiring:
            return RAN
        self.served = served
        connection.deadline = self.world.clock.now() + IDLE
        self.world.straight += 1
        return self.world.clock.now()

    def leave_straight_line(self, deadline: float) -> None:
        self.wait.deadline = deadline

    def respond(self) -> None:
        connection = self.connection
        self.world.scheduler.point()
        if self.request == b"u":
            self.world.scheduler.point()
        elif self.world.interrupted.pop(threading.get_ident(), None):
            raise RequestTimeout
        if self.request == b"x":
            raise ValueError("the application fails")
        if self.expired_run:
            raise RequestTimeout  # as the token of the response does
        if self.request == b"w":
            with Waiting(self.world.pool):
                self.world.scheduler.point()
        if self.request == b"f":
            self.world.pool.call_after_run(self.after_run)
        self.begun = True
        self.world.owned_by_one(connection)
        connection.write(RESPONSE)
        if self.request == b"l" and connection.output is not None:
            connection.lend()
            self.world.scheduler.point()
            connection.reclaim()
        self.finished = self.request == b"c"
        self.served += 1
        self.world.served += 1

    def after_run(self) -> None:
        self.called += 1
        self.world.scheduler.point()

    def expired(self, kind: str, now: float) -> Action:
        assert now >= self.connection.deadline, "expired too early"
        self.expiries += 1
        if kind == "place" and self.place is not None and self.place.enter(1000) is HELD:
            return RUN
        return CLOSE

    def refuse(self, reason: str) -> bytes | None:
        assert reason == ("timeout" if self.expired_run else "overload")
        assert not self.begun or reason == "overload"
        assert not self.connection.final_run, "a final run is refused"
        self.world.owned_by_one(self.connection)
        self.refused.append(reason)
        assert len(self.refused) == 1, "refused twice"
        return None if self.responded else b"no"

    def refuse_during_run(self, reason: str) -> bytes | None:
        assert reason == "timeout"
        assert self.expired_run
        self.responded = True
        return b"no"

    def count_run(self) -> None:
        self.world.owned_by_one(self.connection)

    def client(self) -> str:
        return ""

    def describe(self) -> str:
        return "model"

    def expire_run(self) -> bool:
        if self.begun or self.connection.lent or self.connection.final_run:
            return False
        assert not self.expired_run, "claimed twice"
        self.expired_run = True
        self.world.timed_out += 1
        return True

    def revoke(self) -> bool:
        if self.connection.lent:
            return False
        assert self.expired_run
        self.revoked = True
        return True

    def on_close(self, reason: str) -> bool:
        self.reasons.append(reason)
        if self.place is not None:
            self.place.leave()
        return True


class ModelThread:
    """The thread of a worker: a task of the scheduler."""

    ident = None

    def __init__(self, world: ModelWorld, worker: Worker) -> None:
        self.name = worker.thread.name
        self.task: Task | None = None
        self._start = lambda: world.scheduler.spawn(self.name, lambda: world.pool._main(worker))
        self._tasks = world.tasks

    def start(self) -> None:
        self.task = self._start()
        self._tasks.append(self.task)

    def is_alive(self) -> bool:
        return self.task is not None and not self.task.finished


class ModelWorld(ServerDouble):
    """The engine without a server: real queue, stepper, workers and monitor under the scheduler."""

    def __init__(
        self,
        workers: int,
        connections: int,
        keep: bool,
        room: int | None,
        queued: int = 1000,
        timed: bool = False,
        limited: bool = False,
        edges: bool = False,
        leads: int = 1,
    ) -> None:
        super().__init__()
        self.scheduler = Scheduler()
        SCHEDULERS[:] = [self.scheduler]
        self.poller = ModelPoller(self.scheduler, edges)
        self.poller.leads = leads
        self.straight = 0
        """How many requests the straight line has served."""
        self.clock = StandingClock()
        self.settings = EngineSettings(
            threads=workers, linger_timeout=5.0, write_timeout=5.0, max_queued=queued, queue_timeout=4.0,
            request_timeout=5.0 if timed else 0.0,
        )  # fmt: skip
        self.budget = Budget(1000, 1000)
        limits = ClientLimits(
            EngineSettings(max_connections_per_client=connections, max_running_per_client=1 if limited else 0)
        )
        self.clients, self.running = limits, limits.running
        self.failures: list[str] = []
        self.log = SimpleNamespace(
            failure=lambda text, error, kind="": self.failures.append(f"{text}: {error!r}"),
            warning=lambda text, kind: None,
            stack=lambda level, text, frame: None,
            error=lambda text: None,
        )
        logs = cast(Any, self.log)
        policy = cast(Any, SimpleNamespace(keeps=keep, tick=0.001, sample=lambda elapsed, looks, runs, waits: None))
        self.alarm = Alarm()
        self.monitor = Monitor(policy, self.alarm, logs, cast(Any, self.clock))
        # What it sees of the kernel only feeds the policy, which decides the same at every moment here.
        observer = SimpleNamespace(elapsed=0.0, look=lambda workers, tick: None, rest=lambda: None)
        self.monitor._observer = cast(Any, observer)
        self.queue = ReadyQueue(cast(Any, self.poller), cast(Any, self.clock), policy, self.alarm, self.settings, leads)
        self.stepper = Stepper(self.queue, cast(Any, self.clock), self.settings, logs)
        self.pool = WorkerPool(
            self.settings, self.queue, self.stepper, logs, lambda: None, lambda: None, cast(Any, self.clock)
        )
        self.monitor._queue, self.monitor._stepper = self.queue, self.stepper
        self.monitor._pool = self.pool
        self.interrupted: dict[int, Any] = {}
        self.timed_out = self.given_up = 0
        if timed:
            self.monitor._request_watchdog = RequestWatchdog(
                self.pool, self.stepper, cast(Any, self.clock), self.settings, logs
            )
        self.served = 0
        self.requests = 0
        self.releases_seen: list[int] = []
        self.tasks: list[Task] = []
        make, give_up = self.pool._make, self.pool.give_up

        def count(worker: Worker) -> None:
            self.given_up += 1
            give_up(worker)

        self.pool.give_up = count  # type: ignore[method-assign]

        def make_worker() -> Worker:
            worker = make()
            worker.thread = cast(Any, ModelThread(self, worker))
            return worker

        self.pool._make = make_worker  # type: ignore[method-assign]
        for worker in self.pool.workers:
            worker.thread = cast(Any, ModelThread(self, worker))
            worker.thread.start()
        self.monitor_task = self.scheduler.spawn("monitor", self.monitor._main)
        self.tasks.append(self.monitor_task)
        self.all: list[Connection] = []
        self.drivers: list[ModelDriver] = []
        self.sockets: list[ModelSocket] = []
        for fd in range(7, 7 + connections):
            sock = ModelSocket(fd)
            sock.room = room
            connection = TracedConnection(cast(Any, self), cast(Any, sock), ("127.0.0.1", fd))
            assert admit(connection)
            driver = ModelDriver(self, connection)
            connection.driver = cast(Any, driver)
            self.poller.sockets[fd] = sock
            self.all.append(connection)
            self.drivers.append(driver)
            self.sockets.append(sock)
            self.queue.registry.add(connection)
            self.queue.put(connection)
        self.used: dict[str, int] = {}

    def notify(self, connection: Connection) -> None:
        self.queue.notify(connection, NOTIFY)

    def straight_line(self, connection: Connection, now: float) -> float | int:
        driver = cast(Any, connection.driver)
        driver.on_line = True
        try:
            outcome: float | int = driver.serve_straight(now)
        finally:
            driver.on_line = False
        return outcome

    # ---- events ----

    LIMITS: ClassVar[dict[str, int]] = {
        "q": 2, "l": 1, "x": 1, "c": 1, "end": 1, "spurious": 1, "time": 2, "send": 1, "room": 2, "stop": 1,
        "a": 1, "close-idle": 1, "u": 1, "w": 2, "f": 2,
    }  # fmt: skip

    def actions(self, alphabet: str) -> list[str]:
        found = [f"run {index}" for index, task in enumerate(self.tasks) if task.runnable]
        for kind in alphabet.split():
            if self.used.get(kind, 0) >= self.LIMITS[kind]:
                continue
            if kind in ("time", "stop"):
                found.append(kind)
            else:
                found += [
                    f"{kind} {index}"
                    for index, connection in enumerate(self.all)
                    if connection.state is not State.CLOSED
                    and not (kind == "spurious" and connection.fd not in self.poller.armed)
                ]
        return found

    def do(self, action: str) -> None:
        kind, _, number = action.partition(" ")
        index = int(number or 0)
        if kind == "run":
            if self.tasks[index].name == "monitor":
                self.releases_seen = [lead.releases for lead in self.queue.leads.all]
            self.scheduler.run(self.tasks[index], 1)
            return
        self.used[kind] = self.used.get(kind, 0) + 1
        connection, sock = self.all[index], self.sockets[index]
        if kind in "qlxcauwf":
            sock.incoming += kind.encode()
            self.poller.arrived(connection.fd)
        elif kind == "end":
            sock.ended = True
            self.poller.arrived(connection.fd)
        elif kind == "spurious":
            self.poller.spurious.add(connection.fd)
        elif kind == "room":
            sock.room = (sock.room or 0) + 2
        elif kind == "time":
            self.clock.time += 6.0
            self.poller.signal()
            self.alarm.wake()
        elif kind == "send":
            self.drivers[index].outbox.append(b"s")
            self.queue.notify(connection, NOTIFY)
        elif kind == "close-idle":
            self.queue.notify(connection, CLOSE_IDLE)
        elif kind == "stop":
            self.retiring = self.stopping = True
            for one in list(self.queue.connections.values()):
                self.queue.notify(one, NOTIFY)

    def interrupt_one(self) -> None:
        """Begin where an application that ignores its request timeout has just been interrupted."""
        self.do("u 0")
        turns = 0
        while not self.pool.busy():
            self.scheduler.run(self.tasks[turns % len(self.pool.workers)], 1)
            turns += 1
            assert turns < 100
        self.do("time")
        while not self.timed_out:
            self.scheduler.run(self.monitor_task, 1)
            turns += 1
            assert turns < 200
        self.used.clear()

    # ---- invariants ----

    def owned_by_one(self, connection: Connection) -> None:
        assert not connection.token
        assert not any(connection in queue for queue in self.queue._queues())

    def check(self) -> None:
        for task in self.tasks:
            assert task.error is None, f"{task.name} failed with {task.error!r}"
        for text in self.failures:
            assert "the application fails" in text or "ClientDisconnected" in text, text
        queue, workers = self.queue, self.pool.workers
        leads = [lead for worker in workers for lead in (worker.lead, worker.given) if lead is not None]
        if queue.monitor_lead is not None and queue.monitor_lead not in leads and not queue.monitor_lead.free:
            leads.append(queue.monitor_lead)  # else it has just passed it on
        leads += [lead for lead in queue.leads.all if lead.free]
        assert len(leads) == len(set(leads)) == len(queue.leads.all), f"{len(leads)} leads"
        held = 0
        for connection, driver, sock in zip(self.all, self.drivers, self.sockets, strict=True):
            running = sum(worker.connection is connection for worker in workers)
            slot, calls = len(connection.token), queue.run_queue.waiting.count(connection)
            ready = sum(one.count(connection) for one in queue._queues()) - calls
            if connection.state is State.CLOSED:
                assert running + slot + ready + calls == 0
                assert self.closed.count(connection) == 1, "not closed exactly once"
                assert len(driver.reasons) == driver.final_runs == 1, "its driver was not told exactly once"
                assert connection.fd not in self.poller.armed
                assert connection.timer_at == NEVER
                continue
            assert connection not in self.closed
            held += 1
            assert connection.edges == bool(self.poller.armed.get(connection.fd, 0) & EDGES)
            if connection.between_requests:
                assert connection.edges
                assert connection.armed == READ
            if slot and connection.edges:
                assert connection.between_requests
                assert connection.fd in self.poller.edges or not sock.readable, "an arrival is not reported"
            if connection.lent:
                claimed = (
                    connection.reclaim_waiter is not None
                    and not cast(Any, connection.reclaim_waiter)._acquire.__self__._held
                )
                assert running == 1
                assert calls == 0
                assert slot + ready + claimed == 1, f"token lost: {slot} {ready} {claimed}"
            else:
                assert running + slot + ready + calls == 1, f"{running} {slot} {ready} {calls} {connection.state!r}"
            if slot and connection.lent and connection.state is State.OWNED:
                assert connection.output is None or connection.failed  # nothing to flush: it only waits for its worker
            elif slot:
                assert connection.state in (State.PARKED, State.FLUSHING, State.LINGERING)
                assert not connection.pending
                assert not connection.notice
                assert not connection.missed
                assert connection.fd in self.poller.armed, "it waits for an event that is not armed"
                assert connection.deadline == NEVER or connection.timer_at <= connection.deadline + 1
            elif ready or calls:
                assert connection.state is State.READY
            if running and not connection.final_run:
                assert not driver.refused, "refused while it is served"
        assert self.holding(self.clients.connections) == held, "connections of the client are not counted"
        assert self.holding(self.running) <= 1
        assert len(queue.run_queue.waiting) <= self.settings.max_queued + len(self.all)
        if not any(worker.connection for worker in workers):
            held = sum(c.output.size for c in self.all if c.output is not None)
            counted = sum(c.counted[0] for c in self.all)
            assert self.budget.memory == counted
            assert counted >= held or any(c.state is State.OWNED for c in self.all)

    @staticmethod
    def holding(limit: ClientLimit | None) -> int:
        return 0 if limit is None else limit.holding()[0].get("127.0.0.1", 0)

    def settle(self) -> None:
        """Let the threads run without further events, with clients that read everything: all must be served."""
        for sock in self.sockets:
            sock.room = None
        unchanged = 0
        for _ in range(80):
            before = self.fingerprint()
            for task in self.tasks:
                self.scheduler.run(task, 1)
            self.check()
            unchanged = unchanged + 1 if self.fingerprint() == before else 0
            if unchanged == 3:  # the monitor steals what it saw at its last look
                break
        for connection, sock, driver in zip(self.all, self.sockets, self.drivers, strict=True):
            if connection.state is State.CLOSED:
                continue
            assert not self.stopping or connection.state is State.LINGERING, "the connection is open after the stop"
            assert connection.state in (State.PARKED, State.LINGERING), f"{connection.state!r} for ever"
            assert not sock.readable, "received bytes are not read"
            assert not driver.unparsed or driver.finished, "received bytes are not served"
            assert connection.output is None
            assert not driver.outbox or driver.refused, "data given to send has not left"
        # Then every deadline passes, and every thread ends.
        for _ in range(2):
            self.clock.time += 100.0
            self.poller.signal()
            self.alarm.wake()
            for _ in range(30):
                for task in self.tasks:
                    self.scheduler.run(task, 1)
        assert len(self.closed) == len(self.all), "a deadline was overlooked"
        assert (self.budget.memory, self.budget.disk) == (0, 0), "the budget was not given back"
        for limit in (self.clients.connections, self.clients.running):
            assert limit is None or limit.holding() == ({}, 0), "a place of the client was not given back"
        self.check()
        self.queue.close()
        self.monitor.close()
        for _ in range(10):
            for task in self.tasks:
                self.scheduler.run(task, 5)
        assert all(task.finished for task in self.tasks), "a thread does not end"

    def fingerprint(self) -> Any:
        queue, poller = self.queue, self.poller
        return (
            tuple(
                (
                    worker.thread.task.waiting is None, worker.thread.task.runnable,
                    worker.lead is not None, worker.given is not None,
                    self._index(worker.connection), worker._acquire.__self__._held, worker.run_due, worker.interrupted,
                    worker.exempt is None, worker.finishing,
                )
                for worker in cast("tuple[Any, ...]", self.pool.workers)
            ),
            len(self.interrupted), self.timed_out, [one.thread.is_alive() for one in self.pool._stuck].count(True),
            len(queue.leads.followers),
            tuple(lead.free for lead in queue.leads.all), queue.monitor_lead is None, self.alarm.asleep,
            [lead.releases for lead in queue.leads.all] == self.releases_seen,
            self.monitor_task.waiting is None,
            tuple(tuple(map(self._index, one)) for one in queue._queues()), len(queue._reactor.polling),
            poller.polling, poller.signalled, tuple(sorted(poller.armed.items())), tuple(poller.spurious),
            tuple(poller.edges),
            self.clock.time, self.stopping, tuple(sorted(self.used.items())),
            tuple(
                (
                    c.state, len(c.token), c.pending, c.notice, c.missed, c.armed, c.lent, c.output and c.output.size,
                    c.closing is not None,
                    c.deadline, c.timer_at, c.final_run, c.reclaim_waiter is not None, c.failed, c.wait_kind,
                    c.queued_at, c.counted, len(d.refused), c.edges, c.between_requests, d.unparsed, d.on_line,
                    bytes(s.incoming), s.ended, s.room,
                    len(d.outbox), d.begun, d.expired_run, d.revoked, d.request, d.finished, d.served, d.wait.deadline,
                    d.place and d.place.state,
                )
                for c, s, d in zip(self.all, self.sockets, self.drivers, strict=True)
            ),
        )  # fmt: skip

    def _index(self, thing: Any) -> int:
        return self.all.index(thing) if thing in self.all else -1

    def end(self) -> None:
        self.queue.closed = True
        self.monitor._closed = True
        self.scheduler.finish()


SCHEDULERS: list[Scheduler] = []
"""The scheduler of the world that was made last: the locks that the engine makes are its locks."""


def _visit(make: Callable[[], ModelWorld], path: tuple[str, ...], alphabet: str, seen: set[Any]) -> list[str]:
    """Play ``path``; settle from its state if that is new; the actions that are possible there."""
    world = make()
    try:
        for action in path:
            world.do(action)
        world.check()
        state = world.fingerprint()
        if state in seen:
            return []
        seen.add(state)
        actions = world.actions(alphabet)
        world.settle()
        return actions
    except AssertionError as error:
        raise AssertionError(f"after {list(path)}: {error}") from error
    finally:
        world.end()


def drive(make: Callable[[], ModelWorld], alphabet: str, states: int) -> tuple[int, int]:
    """Explore at most ``states`` states breadth first; how many there were, and the length of the longest path."""
    seen: set[Any] = set()
    paths: deque[tuple[str, ...]] = deque([()])
    depth = 0
    while paths and len(seen) < states:
        path = paths.popleft()
        depth = len(path)
        paths.extend((*path, action) for action in _visit(make, path, alphabet, seen))
    return len(seen), depth
