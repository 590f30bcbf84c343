"""The counts of requests over all threads."""

from __future__ import annotations

import threading
from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from reserve.engine.metrics.requests import BOUNDS, MOST_PENDING, RequestMetrics
from reserve.engine.metrics.stats import HistogramStats

SECONDS = st.one_of(st.floats(0, 60), st.sampled_from(BOUNDS))


def expected(values: list[float]) -> list[int]:
    counts = [0] * (len(BOUNDS) + 1)
    for value in values:
        counts[sum(value > bound for bound in BOUNDS)] += 1
    return counts


@given(st.lists(st.tuples(SECONDS, SECONDS)))
def test_each_time_is_in_the_part_that_its_bound_ends(times: list[tuple[float, float]]) -> None:
    metrics = RequestMetrics()
    for queue, application in times:
        metrics.add("GET", 200, 10, 20, queue, application)
    found = metrics.read()
    columns: list[tuple[HistogramStats, list[float]]] = [
        (found.queue, [queue for queue, _ in times]),
        (found.application, [application for _, application in times]),
        (found.duration, [queue + application for queue, application in times]),
    ]
    for histogram, values in columns:
        assert histogram.bounds == BOUNDS
        assert list(histogram.counts) == expected(values)
        assert abs(histogram.sum - sum(values)) < 1e-6
    assert found.bytes_received == 10 * len(times)
    assert found.bytes_sent == 20 * len(times)


def test_responses_are_counted_by_method_and_status() -> None:
    metrics = RequestMetrics()
    for method, status in (("GET", 200), ("GET", 200), ("PATCH", 404), ("XYZ", 200), ("get", 200), ("", 400)):
        metrics.add(method, status, 1, 2)
    found = metrics.read()
    assert found.responses == (("GET", 200, 2), ("PATCH", 404, 1), ("other", 200, 2), ("other", 400, 1))
    assert (found.bytes_received, found.bytes_sent) == (6, 12)
    assert sum(found.duration.counts) == 0, "no application was called"


@given(st.lists(st.tuples(st.sampled_from(["GET", "POST", "HEAD"]), st.integers(200, 599)), max_size=3 * MOST_PENDING))
def test_responses_of_several_methods_and_statuses_are_counted(pairs: list[tuple[str, int]]) -> None:
    metrics = RequestMetrics()
    for method, status in pairs:
        metrics.add(method, status, 1, 2, 0.0, 0.002)
    assert {(method, status): number for method, status, number in metrics.read().responses} == Counter(pairs)


def test_any_method_that_a_client_makes_up_needs_no_memory() -> None:
    metrics = RequestMetrics()
    for number in range(1000):
        metrics.add(f"M{number}", 405, 0, 0)
    assert metrics.read().responses == (("other", 405, 1000),)
    assert all(len(pending) <= MOST_PENDING for pending in metrics.pending.values())


def test_a_method_that_a_client_makes_up_is_not_kept_until_the_counts_are_added_up() -> None:
    metrics = RequestMetrics()
    metrics.add("M" * 16384, 405, 0, 0)
    ((_, record),) = metrics.pending.values()
    assert record[0] == "other"


@given(st.lists(st.tuples(SECONDS, SECONDS) | st.none(), max_size=4 * MOST_PENDING))
def test_responses_with_and_without_an_application_may_alternate(times: list[tuple[float, float] | None]) -> None:
    metrics = RequestMetrics()
    for one in times:
        metrics.add("GET", 200, 1, 1, *(one or ()))
    found = metrics.read()
    ran = [one for one in times if one is not None]
    assert sum(count for _, _, count in found.responses) == found.bytes_sent == len(times)
    assert list(found.application.counts) == expected([application for _, application in ran])
    assert list(found.queue.counts) == expected([queue for queue, _ in ran])


def test_no_count_decreases_while_threads_go_on() -> None:
    metrics = RequestMetrics()
    ended = threading.Event()

    def work() -> None:
        while not ended.is_set():
            metrics.add("GET", 200, 1, 1, 0.0, 0.002)

    workers = [threading.Thread(target=work) for _ in range(3)]
    for worker in workers:
        worker.start()
    last = 0
    try:
        for _ in range(2000):
            found = metrics.read()
            total = sum(count for _, _, count in found.responses)
            assert total >= last
            assert total == found.bytes_sent == found.bytes_received == sum(found.application.counts)
            last = total
    finally:
        ended.set()
        for worker in workers:
            worker.join()


def test_no_count_of_any_thread_is_lost() -> None:
    metrics = RequestMetrics()
    each, threads = 2000, 8

    def work() -> None:
        for _ in range(each):
            metrics.add("POST", 201, 1, 1, 0.0, 0.02)

    workers = [threading.Thread(target=work) for _ in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    found = metrics.read()
    assert found.responses == (("POST", 201, each * threads),)
    assert sum(found.duration.counts) == each * threads


def test_a_server_that_has_served_nothing_has_empty_histograms() -> None:
    found = RequestMetrics().read()
    assert found.responses == ()
    assert found.queue.counts == (0,) * (len(BOUNDS) + 1)
