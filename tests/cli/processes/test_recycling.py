"""When a worker process asks for another one in its place."""

from __future__ import annotations

import pytest

from reserve.cli.parser import parse_command_line
from reserve.cli.processes.recycling import Limits
from reserve.options.sources import collect


def limits(*options: str, chance: float = 0.0) -> Limits:
    values = collect(parse_command_line([*options, "app", "echo"]).given, {}, "/nonexistent")
    return Limits(values, lambda: chance)


@pytest.mark.parametrize(
    ("options", "chance", "expected"),
    [
        (["--max-requests", "100"], 0.0, 100),
        (["--max-requests", "100"], 1.0, 110),
        (["--max-requests", "100", "--max-requests-jitter", "50"], 1.0, 150),
        (["--max-requests", "100", "--max-requests-jitter", "0"], 1.0, 100),
    ],
)
def test_the_number_of_requests_has_a_jitter(options: list[str], chance: float, expected: int) -> None:
    made = limits(*options, chance=chance)
    assert made.reason(expected - 1, 0, 0.0) == ""
    assert made.reason(expected, 0, 0.0) == f"it has served {expected} requests (--max-requests)"


def test_the_memory_and_the_time_of_a_process_have_limits() -> None:
    made = limits("--max-memory", "100m", "--max-lifetime", "1h", chance=1.0)
    assert made.reason(10**9, 100 << 20, 3959.0) == ""
    assert made.reason(0, (100 << 20) + 1, 0.0) == "it uses 100 MiB of memory (--max-memory)"
    assert made.reason(0, 0, 3961.0) == "it has served for 3961 s (--max-lifetime)"


def test_a_limit_below_the_memory_of_a_new_process_replaces_none() -> None:
    """Otherwise each new process would be replaced at once, for ever."""
    made = limits("--max-memory", "30m", "--max-requests", "5")
    assert made.check_start(30 << 20) == ""
    assert made.reason(0, 31 << 20, 0.0)
    assert made.check_start(49 << 20).startswith(
        "--max-memory is 30 MiB, and this process uses 49 MiB when it begins to serve;"
    )
    assert made.reason(4, 60 << 20, 0.0) == ""
    assert made.reason(5, 60 << 20, 0.0) == "it has served 5 requests (--max-requests)"


def test_without_such_an_option_there_are_no_limits_and_no_supervisor() -> None:
    assert not limits()
    for option in (["--max-requests", "9"], ["--max-memory", "100m"], ["--max-lifetime", "9"]):
        assert limits(*option)
        values = collect(parse_command_line([*option, "app", "echo"]).given, {}, "/nonexistent")
        assert values.need_supervisor() == option[0]
    assert collect([], {}, "/nonexistent").need_supervisor() == ""
