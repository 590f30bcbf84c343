"""The defaults of a driver: those of a protocol that has no responses."""

from __future__ import annotations

import pytest

from reserve.engine.connections.driver import CLOSE, LINGER, Driver, Wait
from reserve.engine.polling.poller import READ
from reserve.engine.polling.timers import NEVER


def test_a_driver_has_to_say_how_it_steps_and_runs() -> None:
    with pytest.raises(NotImplementedError):
        Driver().step(0, 0.0)
    with pytest.raises(NotImplementedError):
        Driver().run()


def test_a_driver_closes_at_its_deadline_and_refuses_without_a_response_by_default() -> None:
    driver = Driver()
    assert driver.expired("idle", 1.0) is CLOSE
    assert [driver.refuse(reason) for reason in ("overload", "timeout")] == [None, None]
    assert driver.refuse_during_run("timeout") is None
    assert (driver.expire_run(), driver.revoke(), driver.on_close("done")) == (False, False, False)
    assert driver.describe() == ""


def test_a_wait_has_no_deadline_unless_it_is_given() -> None:
    assert Wait("idle", READ).deadline == NEVER
    assert (CLOSE.linger, LINGER.linger) == (False, True)
