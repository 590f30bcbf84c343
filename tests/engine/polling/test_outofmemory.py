"""``retried``: a function that must not be left half done is called again after MemoryError, and only after that."""

from __future__ import annotations

import pytest

from reserve.engine.polling.outofmemory import retried


def test_a_retried_function_is_called_as_a_whole_until_there_is_memory() -> None:
    steps: list[str] = []

    @retried
    def close(name: str, *, code: int) -> tuple[str, int]:
        steps.append("begin")
        if len(steps) < 6:
            raise MemoryError
        steps.append("end")
        return name, code

    assert close("a", code=7) == ("a", 7)
    assert steps == ["begin"] * 6 + ["end"]


def test_another_error_of_a_retried_function_is_raised_at_once() -> None:
    calls: list[int] = []

    @retried
    def fail() -> None:
        """What it does."""
        calls.append(1)
        if len(calls) == 1:
            raise OSError("closed")

    with pytest.raises(OSError, match="closed"):
        fail()
    assert calls == [1]
    assert (fail.__name__, fail.__doc__) == ("fail", "What it does.")
