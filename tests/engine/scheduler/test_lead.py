"""The lead, in every order of the steps of two or three threads: it is neither lost nor doubled."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

import pytest

from reserve.engine.scheduler.lead import Follower, Leads
from tests.engine.conftest import Explore
from tests.engine.interleave import Scheduler
from tests.engine.world import count_leads


@pytest.mark.parametrize(("preemptions", "trace"), [(3, "line"), (2, "shared")])
def test_a_lead_that_is_handed_over_is_neither_lost_nor_doubled(
    exploring: Explore, preemptions: int, trace: str
) -> None:
    def scenario(scheduler: Scheduler) -> Callable[[list[str]], None]:
        leads, follower = Leads(deque()), Follower()
        (lead,) = leads.all
        assert lead.take()
        scheduler.spawn("giver", lambda: leads.hand_over(lead))
        scheduler.spawn("follower", lambda: leads.wait(follower, lambda: None))

        def check(blocked: list[str]) -> None:
            assert blocked == [], "the follower sleeps although no thread leads"
            assert follower.lead is lead
            assert not lead.free
            assert not leads.followers

        return check

    assert exploring(scenario, 2, preemptions, trace) > 30


def test_one_of_two_followers_gets_the_lead(exploring: Explore) -> None:
    def scenario(scheduler: Scheduler) -> Callable[[list[str]], None]:
        leads, one, two = Leads(deque()), Follower(), Follower()
        (lead,) = leads.all
        assert lead.take()
        scheduler.spawn("giver", lambda: leads.hand_over(lead))
        scheduler.spawn("one", lambda: leads.wait(one, lambda: None))
        scheduler.spawn("two", lambda: leads.wait(two, lambda: None))

        def check(blocked: list[str]) -> None:
            assert len(blocked) == 1
            assert count_leads(leads, one, two) == 1
            assert not lead.free
            assert list(leads.followers) == [one if blocked == ["one"] else two]

        return check

    assert exploring(scenario, 3, 2, "line", alike=(1, 2)) > 100


def test_the_holder_the_monitor_and_a_follower_take_the_lead_once(exploring: Explore) -> None:
    """The holder releases it and takes it back, the monitor steals it and hands it over, a follower waits for it."""

    def scenario(scheduler: Scheduler) -> Callable[[list[str]], None]:
        leads, follower, holder = Leads(deque()), Follower(), Follower()
        (lead,) = leads.all
        assert lead.take()
        stolen: list[bool] = []

        def hold() -> None:
            lead.release()
            holder.lead = leads.take()

        def steal() -> None:
            if lead.take():
                stolen.append(not leads.wake_follower(lead))

        scheduler.spawn("holder", hold)
        scheduler.spawn("monitor", steal)
        scheduler.spawn("follower", lambda: leads.wait(follower, lambda: None))

        def check(blocked: list[str]) -> None:
            assert count_leads(leads, follower, holder) + sum(stolen) == 1
            assert blocked == ([] if follower.lead else ["follower"])
            assert (follower in leads.followers) == (follower.lead is None)

        return check

    assert exploring(scenario, 3, 2, "line") > 100


@pytest.mark.parametrize("free", [True, False])
def test_close_wakes_every_follower(exploring: Explore, free: bool) -> None:
    def scenario(scheduler: Scheduler) -> Callable[[list[str]], None]:
        leads, one = Leads(deque()), Follower()
        (lead,) = leads.all
        lead.take()

        def holder() -> None:
            if free:
                lead.release()

        scheduler.spawn("follower", lambda: leads.wait(one, lambda: None))
        scheduler.spawn("closer", leads.close)
        scheduler.spawn("holder", holder)

        def check(blocked: list[str]) -> None:
            assert blocked == []

        return check

    assert exploring(scenario, 3, 2, "line") > 100


# ---- two leads ----


def test_two_leads_go_to_two_threads(exploring: Explore) -> None:
    """Both holders pass theirs on, or release it, while two threads come to wait for one."""

    def scenario(scheduler: Scheduler) -> Callable[[list[str]], None]:
        leads, one, two = Leads(deque(), deque()), Follower(), Follower()
        first, second = leads.all
        assert leads.take() is first
        assert leads.take() is second
        assert leads.take() is None
        scheduler.spawn("first", lambda: leads.hand_over(first))
        scheduler.spawn("second", lambda: leads.hand_over(second))
        scheduler.spawn("one", lambda: leads.wait(one, lambda: None))
        scheduler.spawn("two", lambda: leads.wait(two, lambda: None))

        def check(blocked: list[str]) -> None:
            assert blocked == [], "a follower sleeps although a lead is free"
            assert {one.lead, two.lead} == {first, second}
            assert count_leads(leads, one, two) == 2
            assert not leads.followers

        return check

    assert exploring(scenario, 4, 1, "line", alike=(2, 3)) > 100


def test_a_thread_that_takes_one_lead_while_it_is_given_another_passes_that_on(exploring: Explore) -> None:
    def scenario(scheduler: Scheduler) -> Callable[[list[str]], None]:
        leads, follower = Leads(deque(), deque()), Follower()
        first, second = leads.all
        leads.take()
        leads.take()
        scheduler.spawn("releaser", first.release)
        scheduler.spawn("giver", lambda: leads.hand_over(second))
        scheduler.spawn("follower", lambda: leads.wait(follower, lambda: None))

        def check(blocked: list[str]) -> None:
            assert blocked == []
            assert follower.lead is not None
            assert follower.given is None
            assert count_leads(leads, follower) == 2
            assert sum(lead.free for lead in leads.all) == 1
            assert not leads.followers

        return check

    assert exploring(scenario, 3, 2, "line") > 100


def test_a_lead_is_wanted_while_a_thread_waits_for_it_or_no_thread_leads() -> None:
    leads = Leads(deque(), deque())
    assert leads.wanted
    first = leads.take()
    assert first is not None
    assert not leads.wanted
    leads.followers.append(Follower())
    assert leads.wanted
    assert leads.take() is not None
    assert not leads.wanted


def test_the_counts_of_the_leads_are_added_up() -> None:
    leads = Leads(deque(), deque())
    for number, lead in enumerate(leads.all, 1):
        assert lead.take()
        lead.runs = number
        leads.followers.append(Follower())
        leads.hand_over(lead)
    assert (leads.runs, leads.hand_overs) == (3, 2)
