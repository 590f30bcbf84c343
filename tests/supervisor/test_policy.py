"""The policy of the supervisor without processes: what it says to do after each event, at times that the test gives."""

from __future__ import annotations

import signal

import pytest

from reserve.supervisor.actions import Action, Line, Notice, Plan, Signal, Tell
from reserve.supervisor.policy import GRACE, Phase, Policy, Worker

START = 1000.0


class Workers:
    """A policy and its workers. The process IDs count from 100."""

    def __init__(self, wanted: int = 2, *, drain_delay: float = 0.0) -> None:
        self.by_pid: dict[int, Worker] = {}
        self.policy = Policy(self.by_pid)
        self.policy.use(wanted, preload=False, stop_timeout=30.0, drain_delay=drain_delay)
        self.policy.keep()
        self.last_pid = 99
        self.now = START

    def start(self) -> Worker:
        self.last_pid += 1
        worker = Worker(self.last_pid, self.policy.generation, 0, self.now)
        self.policy.started(worker, self.now)
        self.by_pid[worker.pid] = worker
        return worker

    def plan(self) -> Plan:
        """What is planned now; as many workers start."""
        plan = self.policy.plan(self.now)
        for _ in range(plan.starts):
            self.start()
        return plan

    def ready(self, pid: int) -> list[Action]:
        return self.policy.ready(self.by_pid[pid], 20.0)

    def end(self, pid: int, code: int) -> list[Action]:
        return self.policy.ended(self.by_pid.pop(pid), code, self.now)

    def serve(self) -> list[Action]:
        """Every worker that starts becomes ready, until none starts any more; returns what the last plans say."""
        actions: list[Action] = []
        while True:
            actions += self.plan().actions
            starting = self.pids(Phase.STARTING)
            if not starting:
                return actions
            for pid in starting:
                self.ready(pid)

    def pids(self, phase: Phase) -> list[int]:
        return [worker.pid for worker in self.by_pid.values() if worker.phase is phase]


def lines(actions: list[Action]) -> list[str]:
    return [action.text for action in actions if isinstance(action, Line)]


@pytest.fixture
def serving() -> Workers:
    """Two workers, 100 and 101, which have served for a minute."""
    workers = Workers()
    workers.serve()
    workers.now += 60
    return workers


# ---- the first start ----


def test_the_first_worker_starts_alone_and_the_others_when_it_serves() -> None:
    workers = Workers(3)
    assert workers.plan() == Plan(1)
    assert workers.plan() == Plan()
    assert workers.ready(100) == [Notice.SERVES, Notice.READY]
    assert workers.plan() == Plan(2)
    assert workers.ready(101) == workers.ready(102) == []
    assert workers.plan() == Plan(0, (Notice.COMPLETE, Line("reserve: 3 processes serve"), Notice.READY))
    assert workers.plan() == Plan()
    assert workers.policy.status == "3 of 3 processes serve"


@pytest.mark.parametrize(("code", "expected"), [(1, 1), (2, 2), (7, 7), (0, 0), (-11, 1)])
def test_a_first_generation_that_does_not_start_ends_everything(code: int, expected: int) -> None:
    workers = Workers()
    workers.plan()
    said = workers.end(100, code)
    assert lines(said) == (["reserve: worker process 100 was ended by SIGSEGV"] if code < 0 else [])
    assert workers.plan() == Plan()
    assert workers.policy.stop_count == 1
    assert workers.policy.exit_code == expected
    assert not workers.policy.has_served


def test_a_first_generation_that_does_not_start_waits_for_a_change_if_files_are_watched() -> None:
    workers = Workers()
    workers.policy.is_watching = True
    workers.plan()
    assert "the next change starts it again" in lines(workers.end(100, 1))[0]
    workers.now += 3600
    assert workers.plan() == Plan()
    assert workers.policy.next_time(workers.now) == float("inf")
    workers.policy.reload()
    assert workers.plan() == Plan(1)


def test_wrong_usage_ends_everything_even_if_files_are_watched() -> None:
    workers = Workers()
    workers.policy.is_watching = True
    workers.plan()
    assert workers.end(100, 2) == []
    assert workers.policy.stop_count == 1
    assert workers.policy.exit_code == 2


def test_a_system_that_starts_no_process_ends_the_first_start_and_delays_a_later_one(serving: Workers) -> None:
    error = BlockingIOError(11, "no")
    first = Workers()
    assert lines(first.policy.start_failed(error, START)) == [
        "reserve: a worker process cannot be started: [Errno 11] no"
    ]
    assert (first.policy.stop_count, first.policy.exit_code) == (1, 1)
    serving.end(100, -9)
    serving.policy.start_failed(error, serving.now)
    assert (serving.policy.stop_count, serving.policy.exit_code) == (0, 0)
    assert serving.plan() == Plan()
    assert serving.policy.next_time(serving.now) == serving.now + 0.5
    serving.now += 0.5
    assert serving.plan() == Plan(1)


def test_a_start_that_takes_long_is_reported_once() -> None:
    workers = Workers()
    workers.plan()
    assert workers.policy.next_time(START) == START + 30
    assert workers.policy.check_times(START + 29) == []
    assert workers.policy.check_times(START + 30) == [Line("reserve: worker process 100 has not started for 30 s")]
    assert workers.policy.check_times(START + 60) == []


# ---- crashes ----


def test_a_worker_that_has_served_for_long_is_replaced_at_once(serving: Workers) -> None:
    assert serving.end(100, -9) == [Line("reserve: worker process 100 was ended by SIGKILL; another one starts")]
    assert serving.plan() == Plan(1)


@pytest.mark.parametrize(
    ("code", "how"),
    [(0, "has stopped"), (5, "has ended with exit code 5"), (-6, "was ended by SIGABRT")],
)
def test_the_line_says_how_a_worker_has_ended(serving: Workers, code: int, how: str) -> None:
    assert lines(serving.end(101, code)) == [f"reserve: worker process 101 {how}; another one starts"]


def test_the_exit_code_of_an_orphan_is_not_known(serving: Workers) -> None:
    serving.by_pid[100].is_orphan = True
    assert lines(serving.end(100, 0)) == ["reserve: worker process 100 has ended; another one starts"]


def test_crashes_soon_after_a_start_delay_the_next_one_ever_longer_until_it_was_long_ago() -> None:
    workers = Workers(1)
    workers.serve()
    delays = []
    for _ in range(9):
        workers.end(workers.last_pid, -11)
        delay = workers.policy.next_time(workers.now) - workers.now
        workers.now += delay
        assert workers.plan() == Plan(1)
        workers.ready(workers.last_pid)
        delays.append(delay)
    assert delays == [0.5, 1, 2, 4, 8, 16, 30, 30, 30]
    workers.now += 3600
    workers.end(workers.last_pid, -11)
    assert workers.plan() == Plan(1)
    workers.ready(workers.last_pid)
    workers.end(workers.last_pid, -11)
    assert workers.policy.next_time(workers.now) == workers.now + 0.5


def test_several_crashes_at_once_delay_the_next_start_as_one_does() -> None:
    workers = Workers()
    workers.serve()
    workers.end(100, -11)
    workers.end(101, -11)
    assert workers.policy.next_time(workers.now) == workers.now + 0.5
    workers.now += 0.5
    assert workers.plan() == Plan(2)


def test_a_replacement_that_does_not_start_is_tried_again_later(serving: Workers) -> None:
    serving.end(100, -9)
    serving.plan()
    assert lines(serving.end(102, 1)) == ["reserve: worker process 102 could not start; the next attempt is in 0.5 s"]
    assert serving.plan() == Plan()
    serving.now += 0.5
    assert serving.plan() == Plan(1)


# ---- reloads ----


def test_a_reload_starts_one_successor_at_a_time_and_retires_a_worker_after_each(serving: Workers) -> None:
    assert serving.policy.reload() == []
    assert serving.plan() == Plan(1)
    assert serving.plan() == Plan()
    assert serving.ready(102) == [Notice.SERVES]
    assert serving.plan() == Plan(1, (Tell(100, "retire"),))
    assert serving.by_pid[100].kill_at == serving.now + 20.0 + GRACE
    assert serving.ready(103) == []
    assert serving.plan() == Plan(0, (Tell(101, "retire"),))
    assert serving.plan() == Plan(0, (Notice.COMPLETE, Line("reserve: 2 processes serve"), Notice.READY))
    assert serving.end(100, 0) == serving.end(101, 3) == []
    assert serving.plan() == Plan()
    assert serving.policy.exit_code == 0


def test_a_reload_that_fails_keeps_the_previous_generation_and_its_options(serving: Workers) -> None:
    serving.policy.use(5, preload=True, stop_timeout=30.0)
    serving.policy.reload()
    serving.plan()
    text = "reserve: the new version could not start, so the previous one serves on"
    assert serving.end(102, 1) == [Notice.GIVEN_UP, Line(text), Notice.READY]
    assert (serving.policy.wanted, serving.policy.preload) == (2, False)
    assert (serving.policy.generation, serving.policy.serving_generation) == (1, 1)
    plan = serving.plan()
    assert plan.starts == 0
    assert [action for action in plan.actions if isinstance(action, Tell)] == []
    assert serving.pids(Phase.SERVING) == [100, 101]


def test_a_reload_during_a_reload_kills_the_worker_that_starts(serving: Workers) -> None:
    serving.policy.reload()
    serving.plan()
    assert serving.policy.reload() == [Signal(102, signal.SIGKILL)]
    assert serving.plan() == Plan(1)
    assert serving.end(102, -9) == []
    assert serving.policy.generation == 3


def test_a_reload_does_not_wait_until_a_delay_is_over() -> None:
    workers = Workers(1)
    workers.serve()
    workers.end(100, -11)
    assert workers.plan() == Plan()
    workers.policy.reload()
    assert workers.plan() == Plan(1)


def test_a_developer_does_not_wait_for_connections_of_the_previous_version() -> None:
    workers = Workers(1)
    workers.policy.is_watching = True
    assert lines(workers.serve()) == []
    workers.policy.reload()
    workers.plan()
    assert workers.ready(101) == [Notice.SERVES, Line("reserve: the new version serves")]
    assert workers.plan() == Plan(0, (Tell(100, "stop"),))
    assert workers.by_pid[100].kill_at == START + 30.0 + GRACE


def test_a_worker_that_does_not_retire_in_time_is_killed_once(serving: Workers) -> None:
    serving.policy.resize(signal.SIGTTOU)
    serving.plan()
    due = serving.policy.next_time(serving.now)
    assert due == serving.now + 20.0 + GRACE
    assert serving.policy.check_times(due) == [
        Line("reserve: worker process 101 has not stopped in time, and is killed"),
        Signal(101, signal.SIGKILL),
    ]
    assert serving.policy.check_times(due + 60) == []
    assert not serving.policy.aborted


# ---- recycling ----


def test_workers_that_ask_for_it_are_replaced_one_after_the_other_by_a_successor_that_serves(serving: Workers) -> None:
    assert lines(serving.policy.recycle(serving.by_pid[100], "it has served 9 requests", serving.now)) == [
        "reserve: worker process 100 is replaced: it has served 9 requests"
    ]
    assert serving.policy.recycle(serving.by_pid[100], "it has served 10 requests", serving.now) == []
    assert lines(serving.policy.recycle(serving.by_pid[101], "", serving.now)) == [
        "reserve: worker process 101 is replaced: it asks for it"
    ]
    assert serving.plan() == Plan(1)
    assert serving.plan() == Plan()
    serving.ready(102)
    assert serving.plan() == Plan(1, (Tell(100, "retire"),))
    serving.ready(103)
    assert serving.plan() == Plan(0, (Tell(101, "retire"),))


def test_workers_that_ask_for_it_at_once_are_replaced_ever_later() -> None:
    workers = Workers(1)
    workers.serve()
    for delay in (0.5, 1.0, 2.0):
        workers.policy.recycle(workers.by_pid[workers.last_pid], "it uses 90 MiB", workers.now)
        workers.now += delay - 0.25
        assert workers.plan().starts == 0
        workers.now += 0.25
        assert workers.plan().starts == 1
        workers.ready(workers.last_pid)


def test_a_worker_that_retires_already_is_not_replaced(serving: Workers) -> None:
    serving.policy.resize(signal.SIGTTOU)
    serving.plan()
    assert serving.policy.recycle(serving.by_pid[101], "it has lived for 5 s", serving.now) == []


# ---- the number of workers ----


def test_signals_change_the_number_and_never_to_none(serving: Workers) -> None:
    assert lines(serving.policy.resize(signal.SIGTTIN)) == ["reserve: SIGTTIN: 3 processes from now on"]
    assert serving.plan() == Plan(1)
    serving.ready(102)
    serving.plan()
    for _ in range(4):
        said = serving.policy.resize(signal.SIGTTOU)
    assert lines(said) == ["reserve: SIGTTOU: there is 1 process, and one has to stay"]
    assert serving.plan() == Plan(0, (Tell(102, "retire"), Tell(101, "retire")))
    assert serving.pids(Phase.SERVING) == [100]


def test_a_reload_that_fails_keeps_the_number_that_signals_have_set(serving: Workers) -> None:
    serving.policy.resize(signal.SIGTTIN)
    serving.serve()
    serving.policy.reload()
    serving.plan()
    serving.end(103, 1)
    assert serving.policy.wanted == 3


# ---- the supervisor in the place of a process that served ----


def test_a_supervisor_that_takes_workers_over_replaces_them_at_its_reload() -> None:
    by_pid: dict[int, Worker] = {}
    policy = Policy(by_pid, 4, is_serving=True)
    policy.use(1, preload=False, stop_timeout=30.0)
    policy.keep()
    worker = by_pid[100] = Worker(100, 4, 0, START)
    worker.phase = Phase.SERVING
    policy.adopt(worker, START)
    assert policy.is_complete
    assert policy.has_served
    assert policy.plan(START) == Plan()
    policy.reload()
    assert policy.plan(START) == Plan(1)


@pytest.mark.parametrize(("stops", "seconds"), [(1, 30.0 + GRACE), (2, GRACE)])
def test_workers_that_are_taken_over_during_a_stop_have_as_long_as_it_gives_them(stops: int, seconds: float) -> None:
    worker = Worker(100, 4, 0, START)
    worker.phase = Phase.STOPPING
    policy = Policy({100: worker}, 4, is_serving=True, stop_count=stops)
    policy.use(1, preload=False, stop_timeout=30.0)
    policy.adopt(worker, START)
    assert policy.next_time(START) == START + seconds
    assert policy.plan(START) == Plan()
    assert policy.needed_generations == ()


def test_a_worker_that_is_taken_over_while_it_starts_is_reported_when_that_takes_long() -> None:
    worker = Worker(100, 4, 0, START)
    policy = Policy({100: worker}, 4, is_serving=True)
    policy.adopt(worker, START)
    assert policy.next_time(START) == START + 30


# ---- zygotes ----


def test_after_the_end_of_a_zygote_its_workers_serve_until_others_replace_them(serving: Workers) -> None:
    zygote = Worker(50, 1, 0, START)
    zygote.phase = Phase.SERVING
    said = lines(serving.policy.zygote_ended(zygote, -9, serving.now))
    assert "50 was ended by SIGKILL; its workers serve until those of a new one replace them" in said[0]
    assert serving.policy.needed_generations == (2, 1)
    assert serving.plan() == Plan()
    serving.now += 0.5
    assert serving.plan() == Plan(1)


def test_a_zygote_that_cannot_start_makes_a_reload_fail(serving: Workers) -> None:
    serving.policy.reload()
    zygote = Worker(50, 2, 0, serving.now)
    assert Notice.GIVEN_UP in serving.policy.zygote_ended(zygote, 1, serving.now)


def test_a_zygote_of_another_generation_is_not_missed(serving: Workers) -> None:
    zygote = Worker(50, 1, 0, START)
    serving.policy.reload()
    assert serving.policy.zygote_ended(zygote, -9, serving.now) == []


# ---- the stop ----


def test_a_stop_lets_requests_finish_and_a_second_one_aborts_them_and_a_third_kills(serving: Workers) -> None:
    first = serving.policy.stop(serving.now, at_once=False)
    assert first.text == "stopping; requests in flight have 30 s, a second signal stops at once"
    assert (first.delay, first.timeout) == (0.0, 30.0)
    assert first.actions == (
        Tell(100, "stop"),
        Signal(100, signal.SIGTERM),
        Tell(101, "stop"),
        Signal(101, signal.SIGTERM),
    )
    assert serving.policy.next_time(serving.now) == serving.now + 30 + GRACE
    assert serving.plan() == Plan()
    second = serving.policy.stop(serving.now, at_once=False)
    assert (second.text, second.timeout) == ("stopping at once", 0.0)
    assert second.actions == (Signal(100, signal.SIGTERM), Signal(101, signal.SIGTERM))
    assert serving.policy.next_time(serving.now) == serving.now + GRACE
    third = serving.policy.stop(serving.now, at_once=False)
    assert third.text == ""
    assert third.actions == (Signal(100, signal.SIGKILL), Signal(101, signal.SIGKILL))
    assert serving.end(100, 0) == []
    assert serving.policy.exit_code == 3


def test_a_stop_at_once_kills_the_workers_that_start(serving: Workers) -> None:
    serving.policy.reload()
    serving.plan()
    stop = serving.policy.stop(serving.now, at_once=True)
    assert stop.text == "stopping at once"
    assert stop.actions == (
        Signal(100, signal.SIGQUIT),
        Signal(101, signal.SIGQUIT),
        Signal(102, signal.SIGKILL),
    )


def test_workers_serve_on_for_the_drain_delay() -> None:
    workers = Workers(1, drain_delay=7.0)
    workers.serve()
    stop = workers.policy.stop(START, at_once=False)
    assert stop.text.startswith("stopping in 7 s; then requests in flight have 30 s")
    assert (stop.delay, stop.timeout) == (7.0, 30.0)
    assert workers.policy.next_time(START) == START + 7 + 30 + GRACE


def test_a_stop_before_a_worker_has_served_is_a_start_that_failed() -> None:
    workers = Workers()
    workers.plan()
    assert workers.policy.stop(START, at_once=False).text == "interrupted before the server started"
    assert workers.policy.stop(START, at_once=False).text == ""
    assert workers.end(100, 3) == []
    assert workers.policy.exit_code == 1


@pytest.mark.parametrize(("codes", "expected"), [((0, 0), 0), ((0, 3), 3), ((-9, 0), 0)])
def test_the_exit_code_says_whether_a_worker_has_aborted_requests(
    serving: Workers, codes: tuple[int, int], expected: int
) -> None:
    serving.policy.stop(serving.now, at_once=False)
    for pid, code in zip((100, 101), codes, strict=True):
        assert serving.end(pid, code) == []
    assert serving.policy.exit_code == expected


def test_a_worker_that_is_killed_after_the_stop_timeout_has_aborted_requests(serving: Workers) -> None:
    serving.policy.stop(serving.now, at_once=False)
    assert Signal(101, signal.SIGKILL) in serving.policy.check_times(serving.now + 30 + GRACE)
    assert serving.policy.exit_code == 3
