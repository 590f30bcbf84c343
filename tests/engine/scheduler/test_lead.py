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
