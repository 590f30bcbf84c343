"""How much memory this process has."""

from __future__ import annotations

from reserve.engine.metrics.memory import resident_memory


def test_the_memory_of_this_process_is_known() -> None:
    assert 1 << 20 < resident_memory() < 1 << 40
