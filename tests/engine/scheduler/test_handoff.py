"""The policies that decide whether a worker keeps the lead while it runs a handler."""

from __future__ import annotations

import sys

import pytest

from reserve.engine.scheduler.handoff import AdaptiveHandOff, AlwaysHandOver, default_policy


@pytest.mark.parametrize(("enabled", "expected"), [(True, AdaptiveHandOff), (False, AlwaysHandOver)])
def test_without_a_gil_the_lead_is_always_handed_over(
    monkeypatch: pytest.MonkeyPatch, enabled: bool, expected: type
) -> None:
    monkeypatch.setattr(sys, "_is_gil_enabled", lambda: enabled, raising=False)
    assert type(default_policy()) is expected
