"""The lines for StatsD, and the datagrams that have them."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reserve.control.metrics.statsd import MOST_BYTES, datagrams, statsd_lines
from reserve.control.metrics.target import is_statsd_target, statsd_target
from reserve.control.totals import Histogram, Listener, Totals

BEFORE = Totals(
    accepted=5, responses=(("GET", 200, 10), ("POST", 500, 1)), threads=3,
    application=Histogram(bounds=(0.1, 1.0), counts=(4, 0, 0), sum=0.2),
)  # fmt: skip


def test_counters_are_differences_and_those_without_are_left_out() -> None:
    now = replace(BEFORE, responses=(("GET", 200, 17), ("GET", 404, 2), ("POST", 500, 1)))
    lines = list(statsd_lines(BEFORE, now))
    assert [line for line in lines if "requests." in line] == [
        "reserve.requests.GET.200:7|c",
        "reserve.requests.GET.404:2|c",
    ]
    assert not [line for line in lines if "accepted" in line]


def test_a_counter_that_went_back_is_left_out() -> None:
    assert not [line for line in statsd_lines(BEFORE, replace(BEFORE, accepted=1)) if "accepted" in line]


def test_gauges_are_sent_each_time() -> None:
    listener = Listener(address="127.0.0.1:80", backlog=3, backlog_limit=128)
    lines = list(statsd_lines(BEFORE, replace(BEFORE, uptime=2.5, listeners=(listener,))))
    assert "reserve.threads.idle:3|g" in lines
    assert "reserve.uptime_seconds:2.5|g" in lines
    assert "reserve.listen_backlog.127_0_0_1_80:3|g" in lines


def test_a_histogram_is_the_count_mean_and_percentiles_of_what_was_added_in_milliseconds() -> None:
    now = replace(BEFORE, application=Histogram(bounds=(0.1, 1.0), counts=(4, 10, 0), sum=5.2))
    lines = [line for line in statsd_lines(BEFORE, now) if ".application." in line]
    assert lines == [
        "reserve.application.count:10|c",
        "reserve.application.mean:500|g",
        "reserve.application.p50:550|g",
        "reserve.application.p90:910|g",
        "reserve.application.p99:991|g",
    ]
    assert not [line for line in statsd_lines(now, now) if ".application." in line]


def test_a_histogram_of_a_server_that_has_started_again_counts_as_a_whole() -> None:
    now = replace(BEFORE, application=Histogram(bounds=(0.1, 1.0), counts=(3, 0, 0), sum=0.1))
    assert "reserve.application.count:3|c" in statsd_lines(BEFORE, now)
    other = replace(BEFORE, application=Histogram(bounds=(0.2,), counts=(9, 0), sum=0.1))
    assert "reserve.application.count:9|c" in statsd_lines(BEFORE, other)


def test_labels_are_tags_if_asked() -> None:
    now = replace(BEFORE, responses=(("GET", 200, 17),), software="reserve 1.0", python="CPython 3.13, no GIL")
    lines = list(statsd_lines(BEFORE, now, "", tags=True))
    assert "requests:7|c|#method:GET,status:200" in lines
    assert "info:1|g|#version:1.0,python:CPython_3.13_no_GIL" in lines
    assert "uptime_seconds:0|g" in lines


@given(st.lists(st.text(st.characters(exclude_characters="\n", exclude_categories=["Cs"]), min_size=1)))
def test_datagrams_have_all_lines_in_order_and_are_never_too_long(lines: list[str]) -> None:
    sent = list(datagrams(lines, 40))
    assert all(0 < len(data) <= 40 for data in sent)
    expected = [line for line in lines if len(line.encode()) <= 40]
    assert [line for data in sent for line in data.decode().split("\n")] == expected


def test_datagrams_are_filled() -> None:
    sent = list(datagrams(["x" * 99] * 30))
    assert [len(data) for data in sent] == [14 * 100 - 1, 14 * 100 - 1, 2 * 100 - 1]
    assert MOST_BYTES == 1432


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("127.0.0.1:8125", ("127.0.0.1", 8125, "reserve")),
        ("stats.example:9125,shop.web", ("stats.example", 9125, "shop.web")),
        ("[::1]:8125,", ("::1", 8125, "")),
        ("localhost:8125,a.", ("localhost", 8125, "a")),
    ],
)
def test_a_target_is_an_address_and_a_prefix(text: str, expected: tuple[str, int, str]) -> None:
    assert statsd_target(text) == expected


@pytest.mark.parametrize("text", ["", "host", ":8125", "host:0", "unix:/a", "host:1,a b", "host:1,a..b", "host:1,a:b"])
def test_what_is_no_target_is_refused(text: str) -> None:
    assert not is_statsd_target(text)
