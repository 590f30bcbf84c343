"""The policies that decide whether a worker keeps the lead while it runs a handler."""

from __future__ import annotations

import sys

import pytest

from reserve.engine.scheduler.handoff import AdaptiveHandOff, AlwaysHandOver, default_policy


class Times:
    """The two clocks that the policy compares."""

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


def test_the_lead_is_handed_over_until_two_samples_show_fast_handlers(policy: AdaptiveHandOff, times: Times) -> None:
    assert not policy.keep()
    for expected in (False, True):
        times.pass_(0.02, 0.01)
        policy.sample(100, 0)
        assert policy.keep() is expected


def test_one_sample_of_waiting_handlers_makes_it_hand_over(policy: AdaptiveHandOff, times: Times) -> None:
    for _ in range(5):
        policy.sample(100, 0)
    times.pass_(0.02, 0.001)
    policy.sample(3, 19)
    assert not policy.keep()


def test_handlers_that_compute_count_as_fast(policy: AdaptiveHandOff, times: Times) -> None:
    for _ in range(5):
        times.pass_(0.02, 0.0195)
        policy.sample(3, 19)
    assert policy.keep()


def test_an_idle_sample_changes_nothing(policy: AdaptiveHandOff, times: Times) -> None:
    for _ in range(5):
        times.pass_(0.02, 0.0)
        policy.sample(0, 0)
    assert not policy.keep()


def test_the_simple_policy_always_hands_over() -> None:
    policy = AlwaysHandOver()
    policy.sample(100, 0)
    assert policy.keep() is False


@pytest.mark.parametrize(("enabled", "expected"), [(True, AdaptiveHandOff), (False, AlwaysHandOver)])
def test_without_a_gil_the_lead_is_always_handed_over(
    monkeypatch: pytest.MonkeyPatch, enabled: bool, expected: type
) -> None:
    monkeypatch.setattr(sys, "_is_gil_enabled", lambda: enabled, raising=False)
    assert type(default_policy()) is expected
