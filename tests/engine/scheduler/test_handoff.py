"""The hand-off policy, and the observer that tells it which handlers wait. All clocks are fake."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from reserve.engine.scheduler.handoff import TICK, AdaptiveHandOff, AlwaysHandOver, StallObserver

HAND_OVER, WATCH, KEEP = (False, TICK), (True, AdaptiveHandOff.FAST_TICK), (True, TICK)
FAST, MIXED, WAITING = (600, 0.0), (300, 6.0), (40, 38.0)
"""Runs, and those that waited: a hello application; 1 in 50 waits; nearly all wait."""


class Ways:
    """A policy, and which way to serve it chooses."""

    def __init__(self) -> None:
        self.policy = AdaptiveHandOff()

    @property
    def way(self) -> tuple[bool, float]:
        return self.policy.keeps, self.policy.tick

    def sample(self, observed: tuple[int, float], late: float = 0.0001, elapsed: float = 0.016) -> tuple[bool, float]:
        """One sample of a monitor whose looks come ``late`` by so much."""
        self.policy.sample(elapsed, max(1, round(elapsed / (self.policy.tick + late))), *observed)
        return self.way


@pytest.fixture
def ways() -> Ways:
    return Ways()


# ---- the policy: every transition ----


def test_the_lead_is_handed_over_until_two_samples_show_fast_handlers(ways: Ways) -> None:
    assert ways.way == HAND_OVER
    assert ways.sample(FAST) == HAND_OVER
    assert ways.sample(FAST) == KEEP


@pytest.mark.parametrize(("observed", "way"), [(MIXED, WATCH), (WAITING, HAND_OVER)])
def test_one_sample_with_waiting_handlers_ends_keeping(
    ways: Ways, observed: tuple[int, float], way: tuple[bool, float]
) -> None:
    for _ in range(5):
        ways.sample(FAST)
    assert ways.sample(observed) == way


def test_one_sample_in_which_most_handlers_wait_ends_the_quick_looks(ways: Ways) -> None:
    ways.sample(MIXED)
    assert ways.sample(MIXED) == WATCH
    assert ways.sample(WAITING) == HAND_OVER


def test_two_samples_of_fast_handlers_end_the_quick_looks(ways: Ways) -> None:
    ways.sample(MIXED)
    ways.sample(MIXED)
    assert ways.sample(FAST) == WATCH
    assert ways.sample(FAST) == KEEP


def test_two_different_samples_bring_the_lead_back_as_far_as_both_say(ways: Ways) -> None:
    ways.sample(FAST)
    assert ways.sample(MIXED) == WATCH


def test_a_sample_that_confirms_the_guess_begins_the_count_anew(ways: Ways) -> None:
    for observed in (FAST, WAITING, FAST):
        assert ways.sample(observed) == HAND_OVER
    assert ways.sample(FAST) == KEEP


def test_an_idle_sample_changes_nothing(ways: Ways) -> None:
    for _ in range(5):
        assert ways.sample((0, 0.0)) == HAND_OVER
    ways.sample(FAST)
    ways.sample((0, 0.0))
    assert ways.sample(FAST) == KEEP
    assert ways.sample((0, 0.0)) == KEEP


def test_a_handler_that_waits_now_and_then_is_no_reason_to_hand_over(ways: Ways) -> None:
    """1 in 1000: the switches of 1000 hand-overs cost more than one wait of a millisecond and a half."""
    for _ in range(20):
        ways.sample((500, 0.5))
    assert ways.way in (KEEP, WATCH)


def test_a_single_run_that_waits_makes_it_hand_over(ways: Ways) -> None:
    ways.sample(FAST)
    ways.sample(FAST)
    assert ways.sample((1, 1.0)) == HAND_OVER
    assert ways.sample((0, 1.0)) == HAND_OVER  # it began in the sample before


def test_the_lead_is_handed_over_sooner_where_the_monitor_itself_is_late(ways: Ways) -> None:
    """On a busy processor the monitor sees a waiting handler only after some milliseconds."""
    ways.sample(MIXED)
    assert ways.sample(MIXED) == WATCH
    assert ways.sample(MIXED, late=0.003) == HAND_OVER


def test_samples_near_the_border_do_not_change_the_way(ways: Ways) -> None:
    """1 run in 20 waits, and the samples differ."""
    ways.sample(MIXED)
    ways.sample(MIXED)
    for runs, waits in ((48, 4.0), (108, 6.0), (205, 9.0), (76, 5.0), (120, 8.0)) * 5:
        assert ways.sample((runs, waits)) == WATCH


def test_handlers_that_compute_are_no_reason_to_hand_over(ways: Ways) -> None:
    """2 ms each, and 20 ms each, with the looks as late as the GIL makes them."""
    for runs, elapsed in ((8, 0.016), (1, 0.02)):
        for _ in range(3):
            ways.sample((runs, 0.0), late=0.005, elapsed=elapsed)
        assert ways.way == KEEP


@pytest.mark.parametrize("observed", [FAST, WAITING])
def test_a_wrong_guess_is_over_within_fifty_milliseconds(ways: Ways, observed: tuple[int, float]) -> None:
    for _ in range(10):
        ways.sample(WAITING if observed is FAST else FAST)
    wrong = ways.way
    samples = 1  # the applications may change in the middle of one
    while ways.way == wrong:
        ways.sample(observed)
        samples += 1
    assert samples * 0.016 <= 0.05


@pytest.mark.parametrize(("before", "request_"), [(WAITING, (1, 0.0)), (FAST, (1, 1.0))])
def test_a_wrong_guess_is_over_within_three_requests_that_come_one_by_one(
    ways: Ways, before: tuple[int, float], request_: tuple[int, float]
) -> None:
    for _ in range(10):
        ways.sample(before)
    wrong = ways.way
    requests = 0
    while ways.way == wrong:
        ways.sample((0, 0.0))
        ways.sample(request_)
        requests += 1
    assert requests <= 3


def test_the_simple_policy_always_hands_over() -> None:
    policy = AlwaysHandOver()
    policy.sample(0.016, 16, 100, 0.0)
    assert (policy.keeps, policy.tick) == HAND_OVER


# ---- the observer ----


class Machine:
    """The clocks, the kernel and the workers that an observer sees."""

    def __init__(self, workers: int = 2, parallel: int = 1) -> None:
        self.wall = self.cpu = self.queued = 0.0
        self.states: dict[int | None, bool | None] = {}
        self.tells = True
        self.reads = 0
        self.workers: list[Any] = [
            SimpleHashable(connection=None, exempt=None, handled=0, seen=-1, thread=SimpleNamespace(native_id=number))
            for number in range(workers)
        ]
        self.observer = StallObserver(
            lambda: self.wall, lambda: self.cpu, self._sleeps, self._run_queue_wait, parallel=parallel
        )

    def run(self, number: int, *, sleeps: bool) -> None:
        """A worker begins a run, and its thread sleeps, or does not."""
        self.workers[number].connection = object()
        self.states[number] = sleeps

    def end_run(self, number: int) -> None:
        self.workers[number].connection = None
        self.workers[number].handled += 1

    def look(self, times: int = 1, *, late: float = 0.0, queued: float = 0.0, cpu: float = 0.0) -> None:
        """The monitor looks; each time it is ``late``, and has waited for a processor for ``queued`` of that."""
        for _ in range(times):
            self.wall += TICK + late
            self.queued += queued
            self.cpu += cpu
            self.observer.look(self.workers, TICK)

    def _sleeps(self, ident: int | None) -> bool | None:
        self.reads += 1
        return self.states[ident] if self.tells else None

    def _run_queue_wait(self) -> float | None:
        self.reads += 1
        return self.queued if self.tells else None


class SimpleHashable(SimpleNamespace):
    __hash__ = object.__hash__


@pytest.fixture
def machine() -> Machine:
    return Machine()


def test_a_handler_whose_thread_sleeps_waits(machine: Machine) -> None:
    machine.look()
    machine.run(0, sleeps=True)
    machine.look(2)
    assert machine.observer.end_sample() == 1.0


def test_a_handler_that_ends_between_two_looks_does_not_wait(machine: Machine) -> None:
    for _ in range(10):
        machine.run(0, sleeps=True)
        machine.look()
        machine.end_run(0)
    assert machine.observer.end_sample() == 0.0
    assert machine.reads == 0, "the kernel is asked only of handlers that stall"


def test_a_handler_that_waits_for_a_processor_does_not_wait(machine: Machine) -> None:
    """Another process has the processor; the monitor gets it in time, or late."""
    machine.run(0, sleeps=False)
    machine.look(3)
    machine.look(3, late=0.003, queued=0.003)
    assert machine.observer.end_sample() == 0.0


def test_a_handler_that_waits_for_the_gil_does_not_wait(machine: Machine) -> None:
    """Another one computes: both stall, one sleeps in the kernel, and the monitor has to wait for the GIL as well."""
    machine.run(0, sleeps=False)
    machine.run(1, sleeps=True)
    machine.look(10, late=0.005)
    assert machine.observer.end_sample() == 0.0


def test_beside_a_thread_of_the_application_that_computes_nothing_waits(machine: Machine) -> None:
    for _ in range(5):
        machine.run(0, sleeps=True)
        machine.look(4, late=0.005)
        machine.end_run(0)
        assert machine.observer.end_sample() == 0.0


def test_on_a_busy_processor_a_handler_whose_thread_sleeps_waits(machine: Machine) -> None:
    """The looks come late, but the kernel says that the monitor waited for the processor, not for the GIL."""
    machine.run(0, sleeps=True)
    machine.look(4, late=0.003, queued=0.003)
    assert machine.observer.end_sample() == 1.0


def test_on_a_busy_processor_a_handler_that_waits_for_the_gil_does_not_wait(machine: Machine) -> None:
    machine.run(0, sleeps=False)
    machine.run(1, sleeps=True)
    machine.look(4, late=0.008, queued=0.003)
    assert machine.observer.end_sample() == 0.0


def test_a_look_that_comes_late_is_followed_by_one_that_tells(machine: Machine) -> None:
    machine.run(0, sleeps=True)
    machine.look(2, late=0.005)
    assert machine.observer.end_sample() == 0.0
    machine.look()
    assert machine.observer.end_sample() == 1.0


def test_a_handler_that_waits_for_long_counts_once(machine: Machine) -> None:
    machine.run(0, sleeps=True)
    waits = []
    for _ in range(4):
        machine.look(16)
        waits.append(machine.observer.end_sample())
    assert waits == [1.0, 0.0, 0.0, 0.0]


def test_each_run_of_a_worker_counts(machine: Machine) -> None:
    for _ in range(5):
        machine.run(0, sleeps=True)
        machine.look(2)
        machine.end_run(0)
    assert machine.observer.end_sample() == 5.0


def test_a_worker_that_is_exempt_does_not_stall(machine: Machine) -> None:
    machine.run(0, sleeps=True)
    machine.workers[0].exempt = object()
    machine.look(5)
    assert machine.observer.end_sample() == 0.0


def test_the_files_of_the_kernel_are_read_a_few_times_in_a_sample() -> None:
    machine = Machine(workers=40)
    for number in range(40):
        machine.run(number, sleeps=number % 2 == 0)
    machine.look(16)
    assert machine.observer.end_sample() == 20.0
    assert machine.reads == StallObserver.READS
    for number in range(40):
        machine.end_run(number)
        machine.run(number, sleeps=True)
    machine.look(16, late=0.005)
    machine.observer.end_sample()
    assert machine.reads <= 2 * StallObserver.READS


def test_a_run_that_has_ended_while_the_kernel_was_asked_does_not_wait(machine: Machine) -> None:
    machine.run(0, sleeps=True)
    machine.look()
    ask = machine.observer._sleeps

    def end_meanwhile(ident: int | None) -> bool | None:
        machine.end_run(0)
        return ask(ident)

    machine.observer._sleeps = end_meanwhile
    machine.look()
    assert machine.observer.end_sample() == 0.0


@pytest.mark.parametrize(("cpu", "waits"), [(0.0001, 1.0), (0.00095, 0.0)])
@pytest.mark.parametrize("late", [0.0, 0.003])
def test_where_the_kernel_tells_nothing_the_time_of_the_process_decides(
    machine: Machine, cpu: float, waits: float, late: float
) -> None:
    machine.tells = False
    for _ in range(3):
        machine.run(0, sleeps=True)
        machine.look(16, late=late, cpu=cpu * (TICK + late) / TICK)
        machine.end_run(0)
        assert machine.observer.end_sample() == waits
    assert machine.reads == 3, "once in a sample"


def test_what_the_caller_has_slept_is_no_part_of_the_sample(machine: Machine) -> None:
    machine.run(0, sleeps=True)
    machine.look()
    machine.wall += 60.0
    machine.observer.rest()
    machine.look()
    assert machine.observer.elapsed == pytest.approx(2 * TICK)
    assert machine.observer.end_sample() == 1.0
    assert (machine.observer.elapsed, machine.observer.looks) == (0.0, 0)


def test_a_monitor_that_leads_for_a_moment_still_ends_its_samples(machine: Machine) -> None:
    """As it does when it gives the lead of a waiting handler to a follower, perhaps several times in a sample."""
    for _ in range(16):
        machine.look()
        machine.wall += 0.0001
        machine.observer.rest()
    assert machine.observer.elapsed == pytest.approx(16 * TICK)


def test_on_a_busy_processor_a_moment_of_leading_does_not_hide_who_waits(machine: Machine) -> None:
    machine.run(0, sleeps=False)
    machine.look(2, late=0.003, queued=0.003)
    machine.wall += 0.0001
    machine.observer.rest()
    machine.end_run(0)
    machine.run(1, sleeps=True)
    machine.look(2, late=0.003, queued=0.003)
    assert machine.observer.end_sample() == 1.0


def test_what_the_monitor_has_waited_while_it_led_for_long_says_nothing_about_its_looks(machine: Machine) -> None:
    machine.run(0, sleeps=False)
    machine.look(3, late=0.003, queued=0.003)
    machine.wall += 0.02
    machine.queued += 0.02
    machine.observer.rest()
    machine.end_run(0)
    machine.run(1, sleeps=True)
    machine.look(2, late=0.005)
    assert machine.observer.end_sample() == 0.0


@pytest.mark.parametrize(("stalled", "cpu", "waits"), [(1, TICK, 0), (2, TICK, 2), (2, 2 * TICK, 0), (3, 2 * TICK, 0)])
def test_where_the_kernel_tells_nothing_several_handlers_may_compute_at_once(
    stalled: int, cpu: float, waits: int
) -> None:
    """Without the GIL, on two processors: two handlers that compute use the time of both."""
    machine = Machine(3, parallel=2)
    machine.tells = False
    for number in range(stalled):
        machine.run(number, sleeps=True)
    machine.look(16, cpu=cpu)
    assert machine.observer.end_sample() == waits
