"""The policies that decide whether a worker keeps the lead while it runs a handler."""

from __future__ import annotations

import sys

import pytest

from reserve.engine.scheduler.handoff import AdaptiveHandOff, AlwaysHandOver, default_policy


class Times:
    def __init__(self) -> None:
        self.wall = self.cpu = 0.0

    def pass_(self, wall: float, cpu: float) -> None:
        self.wall += wall
        self.cpu += cpu


@pytest.fixture
def times() -> Times:
    return Times()


@pytest.fixture
def policy(times: Times) -> AdaptiveHandOff:
    return AdaptiveHandOff(lambda: times.wall, lambda: times.cpu)


def test_it_hands_over_until_it_knows_better(policy: AdaptiveHandOff, times: Times) -> None:
    assert not policy.keep()
    for expected in (False, True):
        times.pass_(0.02, 0.01)
        policy.sample(100, 0)
        assert policy.keep() is expected


def test_one_sample_with_waiting_handlers_is_enough(policy: AdaptiveHandOff, times: Times) -> None:
    for _ in range(5):
        policy.sample(100, 0)
    times.pass_(0.02, 0.001)
    policy.sample(3, 19)
    assert not policy.keep()


def test_handlers_that_compute_do_not_wait(policy: AdaptiveHandOff, times: Times) -> None:
    for _ in range(5):
        times.pass_(0.02, 0.0195)
        policy.sample(3, 19)
    assert policy.keep()


def test_an_idle_moment_teaches_nothing(policy: AdaptiveHandOff, times: Times) -> None:
    for _ in range(5):
        times.pass_(0.02, 0.0)
        policy.sample(0, 0)
    assert not policy.keep()


def test_the_other_policy_always_hands_over() -> None:
    policy = AlwaysHandOver()
    policy.sample(100, 0)
    assert policy.keep() is False


@pytest.mark.parametrize(("enabled", "expected"), [(True, AdaptiveHandOff), (False, AlwaysHandOver)])
def test_without_a_gil_the_lead_is_always_handed_over(
    monkeypatch: pytest.MonkeyPatch, enabled: bool, expected: type
) -> None:
    monkeypatch.setattr(sys, "_is_gil_enabled", lambda: enabled, raising=False)
    assert type(default_policy()) is expected
