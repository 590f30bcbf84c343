"""The document about all processes, and its sums."""

from __future__ import annotations

import dataclasses
import json
import math
from typing import Any

import pytest

from reserve.control.document import COUNTERS, add_counters, counters_of, document, plain, process
from reserve.control.totals import Histogram, totals
from reserve.engine.metrics.stats import Stats

_BOUNDS = [0.1, 1.0]


def _stats(count: int, **values: Any) -> dict[str, Any]:
    """The stats of a process in which everything that counts is ``count``."""
    histogram = {"bounds": _BOUNDS, "counts": [count, 0, 1], "sum": float(count)}
    requests = {
        "responses": [["GET", 200, count], ["POST", 404, 1]],
        "bytes_received": count,
        "bytes_sent": count,
        "duration": histogram,
        "queue": histogram,
        "application": histogram,
    }
    return {**dict.fromkeys(COUNTERS, count), "requests": requests, "threads": 4, "busy": 1, "unhealthy": [], **values}


def _supervisor(**values: Any) -> dict[str, Any]:
    restarts = {"crash": 1, "recycle": 0, "reload": 2, "kill": 0}
    return {"pid": 1, "wanted": 2, "generation": 3, "uptime": 9.0, "restarts": restarts, **values}


def test_totals_are_the_sums_of_all_processes_and_of_former_ones() -> None:
    processes = [process(_stats(2), pid=10, phase="serving"), process(_stats(3), pid=11, phase="serving", slot=1)]
    result = totals(document(5.0, processes, _supervisor(), counters_of(_stats(100))))
    assert result.handled == 105
    assert result.accepted == 105
    assert result.threads == 8
    assert result.busy == 2
    assert result.idle == 6
    assert dict(((method, status), count) for method, status, count in result.responses) == {
        ("GET", 200): 105,
        ("POST", 404): 3,
    }
    assert result.duration == Histogram(bounds=(0.1, 1.0), counts=(105, 0, 3), sum=105.0)
    assert result.requests == 108
    assert (result.pid, result.wanted, result.generation, result.restarts["reload"]) == (1, 2, 3, 2)
    assert result.healthy


def test_counters_of_a_process_go_to_the_former_ones_when_it_ends() -> None:
    before = totals(document(1.0, [process(_stats(7), pid=10, phase="serving")]))
    former = add_counters({}, _stats(7))
    after = totals(document(2.0, [], None, former))
    assert all(getattr(after, name) == getattr(before, name) for name in COUNTERS)
    assert after.duration == before.duration
    assert after.responses == before.responses
    assert after.threads == 0


def test_every_counter_is_a_field_of_the_stats() -> None:
    assert set(COUNTERS) <= {field.name for field in dataclasses.fields(Stats)}


def test_stats_of_another_version_may_lack_fields() -> None:
    result = totals(document(1.0, [process({"handled": 3}, pid=10, phase="serving")]))
    assert result.handled == 3
    assert result.accepted == 0
    assert result.duration.count == 0


def test_histograms_with_other_bounds_are_not_added() -> None:
    other = _stats(5)
    other["requests"]["duration"] = {"bounds": [1.0], "counts": [5, 0], "sum": 1.0}
    result = add_counters(_stats(2), other)
    assert result["requests"]["duration"]["counts"] == [2, 0, 1]


@pytest.mark.parametrize(
    ("entries", "reasons"),
    [
        ([], ("no process serves",)),
        ([process(_stats(1), pid=7, phase="starting")], ("no process serves",)),
        ([process(_stats(1, unhealthy=["it drains"]), pid=7, phase="serving")], ("it drains",)),
        ([process(_stats(1), pid=7, phase="serving", responding=False)], ("process 7 does not respond",)),
        ([process(_stats(1), pid=7, phase="serving")], ()),
    ],
)
def test_health_of_all(entries: list[dict[str, Any]], reasons: tuple[str, ...]) -> None:
    result = totals(document(1.0, entries))
    assert result.unhealthy == reasons
    assert result.healthy == (not reasons)


def test_each_process_has_one_state() -> None:
    entries = [
        process(_stats(1), pid=1, phase="serving"),
        process(_stats(1), pid=2, phase="serving", responding=False),
        process(None, pid=3, phase="starting", responding=False),
        process(_stats(1), pid=4, phase="retiring"),
    ]
    states = totals(document(1.0, entries)).states
    assert states == {"serving": 1, "unresponsive": 1, "starting": 1, "retiring": 1, "stopping": 0}


def test_a_listener_that_processes_share_counts_once() -> None:
    one = {"address": "127.0.0.1:80", "backlog": 3, "backlog_limit": 100}
    other = {**one, "backlog": 5}
    entries = [
        process(_stats(1, listeners=[one]), pid=1, phase="serving"),
        process(_stats(1, listeners=[other]), pid=2, phase="serving"),
    ]
    (listener,) = totals(document(1.0, entries)).listeners
    assert (listener.backlog, listener.backlog_limit) == (5, 100)


def test_what_json_has_not_becomes_zero() -> None:
    assert json.loads(json.dumps(plain({"a": float("inf"), "b": (1, 2)}), allow_nan=False)) == {"a": 0, "b": [1, 2]}


def test_quantiles() -> None:
    histogram = Histogram(bounds=(1.0, 2.0), counts=(10, 10, 0), sum=0.0)
    assert histogram.quantile(0.5) == 1.0
    assert histogram.quantile(0.75) == 1.5
    assert histogram.quantile(1.0) == 2.0
    assert Histogram(bounds=(1.0,), counts=(0, 5)).quantile(0.99) == math.inf
    assert Histogram().quantile(0.5) is None


def test_the_difference_is_what_came_since() -> None:
    assert Histogram((1.0,), (5, 2)).since(Histogram((1.0,), (3, 2))) == Histogram((1.0,), (2, 0))


@pytest.mark.parametrize("earlier", [Histogram((1.0,), (9, 9)), Histogram((2.0,), (1, 1)), Histogram()])
def test_after_a_restart_everything_came_since(earlier: Histogram) -> None:
    assert Histogram((1.0,), (5, 2)).since(earlier) == Histogram((1.0,), (5, 2))


@pytest.mark.parametrize(
    ("counts", "share", "expected"),
    [
        ((10, 0, 0), 0.5, 0.5),
        ((10, 10, 0), 0.5, 1.0),
        ((10, 10, 0), 0.75, 1.5),
        ((0, 10, 0), 0.5, 1.5),
        ((1, 0, 9), 0.99, math.inf),
        ((0, 0, 0), 0.5, None),
    ],
)
def test_a_quantile_is_interpolated_in_its_bucket(
    counts: tuple[int, ...], share: float, expected: float | None
) -> None:
    assert Histogram((1.0, 2.0), counts).quantile(share) == expected
