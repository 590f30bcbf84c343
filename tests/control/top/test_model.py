"""From documents to rows and rates."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reserve.control.top.model import History, Sample, make_view
from reserve.control.totals import Histogram
from reserve.errors import ReserveError
from tests.control.top.documents import document, histogram, process, stats, supervisor, worker


def _views(*documents: dict[str, Any]) -> Any:
    """What the last one shows after the others; they come as long after each other as their clock says."""
    history = History()
    start = documents[0]["time"]
    return [history.add(Sample.of(one, one["time"] - start)) for one in documents][-1]


def test_rates_are_between_the_last_two_documents() -> None:
    def at(time: float, count: int) -> dict[str, Any]:
        responses = [["GET", 200, 10 * count], ["POST", 503, count]]
        fields = {"accepted": 3 * count, "tls_handshakes": 2 * count, "refused": count, "handled": count}
        taken = stats(time, responses=responses, bytes_received=100 * count, bytes_sent=500 * count, **fields)
        return document(2e6 + time, process(taken=taken))

    view = _views(at(100.0, 7), at(102.0, 11))
    rates = view.rates
    assert (rates.requests, rates.errors, rates.received, rates.sent) == (22.0, 2.0, 200.0, 1000.0)
    assert (rates.accepted, rates.handshakes) == (6.0, 4.0)
    assert view.processes[0].rate == 22.0
    assert (view.refusals[0].reason, view.refusals[0].total, view.refusals[0].rate) == ("overload", 11, 2.0)
    assert view.interval == 2.0
    assert view.trend == (22.0,)


def test_one_document_has_no_rates() -> None:
    view = _views(document())
    assert view.rates.requests is None
    assert view.processes[0].rate is None
    assert view.interval == 0
    assert view.trend == ()


def test_runs_of_handlers_count_where_there_are_no_responses() -> None:
    documents = [document(2e6 + t, process(taken=stats(t, handled=int(t)))) for t in (100.0, 110.0)]
    assert _views(*documents).rates.requests == 1.0


def test_the_counters_of_processes_that_have_ended_count_on() -> None:
    def of(handled: int) -> dict[str, Any]:
        return {"accepted": handled, "handled": handled, "refused": 5}

    before = document(2e6, process(1, stats(handled=80)), process(2, stats(handled=20)), supervisor=supervisor())
    after = document(
        2e6 + 10,
        process(2, stats(110, handled=30)),
        process(3, stats(5, handled=10)),
        supervisor=supervisor(),
        former=of(80),
    )
    view = _views(before, after)
    assert view.rates.requests == 2.0
    assert view.totals.refused == 5
    assert [one.rate for one in view.processes] == [1.0, 2.0]  # the second has started since, 5 s ago


@pytest.mark.parametrize(
    "after",
    [
        document(2e6 + 1, process(7, stats(1.0, started=5.0, handled=3))),
        document(2e6 + 1, process(100, stats(1.0, started=5.0, handled=3))),
        document(2e6 + 1, process(100, stats(1.0, handled=3)), supervisor=supervisor()),
    ],
)
def test_another_server_begins_anew(after: dict[str, Any]) -> None:
    view = _views(document(2e6, process(taken=stats(handled=500, accepted=9))), after)
    assert view.rates.requests is None
    assert view.window == view.totals.uptime


def test_counters_that_go_back_are_no_rate() -> None:
    first = document(2e6, process(taken=stats(100, handled=500)))
    assert _views(first, document(2e6 + 1, process(taken=stats(101, handled=3)))).rates.requests is None


def test_a_clock_that_is_set_does_not_change_the_rates() -> None:
    history = History()
    history.add(Sample.of(document(2e6, process(taken=stats(100, handled=0))), 50.0))
    view = history.add(Sample.of(document(1e6, process(taken=stats(102, handled=10))), 52.0))
    assert view.rates.requests == 5.0


def test_histograms_are_about_the_last_ten_seconds() -> None:
    documents = [
        document(2e6 + t, process(taken=stats(100.0 + t, duration=histogram(t, 1), queue=histogram(0, t))))
        for t in range(0, 31, 2)
    ]
    view = _views(*documents)
    assert view.window == 10
    assert view.duration.counts[:3] == (10, 0, 0)
    assert view.queue.count == 10


def test_a_first_document_has_the_histograms_of_the_whole_life() -> None:
    view = _views(document(2e6, process(taken=stats(duration=histogram(4, 1)))))
    assert view.duration.count == 5
    assert view.window == 100.0


def test_a_process_that_does_not_respond_is_shown_as_last_known() -> None:
    workers = [worker(1, "GET /slow", 3.0), worker(2)]
    silent = process(11, stats(workers=workers), age=7.0, responding=False)
    view = _views(document(2e6, process(10), silent, supervisor=supervisor()))
    assert [one.is_responding for one in view.processes] == [True, False]
    assert [(one.seconds, one.is_current) for one in view.threads] == [(10.0, False), (0.0, False)]


def test_a_process_that_starts_is_no_silent_one() -> None:
    starting = process(11, phase="starting", responding=False)
    starting["stats"] = None
    (row,) = _views(document(2e6, starting)).processes
    assert row.is_responding
    assert row.phase == "starting"


def test_two_documents_of_nearly_the_same_moment_have_the_rates_of_the_last_interval() -> None:
    documents = [document(2e6 + t, process(taken=stats(100.0 + t, handled=10 * int(t)))) for t in (0.0, 1.0, 1.01)]
    view = _views(*documents)
    assert view.interval == pytest.approx(1.01)
    assert view.rates.requests == pytest.approx(10 / 1.01)


def test_a_newer_version_of_the_document_is_told() -> None:
    assert _views(document(version=2)).newer_version == 2
    assert _views(document()).newer_version == 0


@given(st.data())
def test_a_document_of_another_version_may_lack_numbers(data: Any) -> None:
    complete = document(2e6, process(taken=stats(workers=[worker(1, "GET /")])), supervisor=supervisor(), former={})
    places = [complete["processes"][0]["stats"]]
    places += [places[0]["requests"], places[0]["workers"][0]]
    place = data.draw(st.sampled_from(places))
    del place[data.draw(st.sampled_from(sorted(place)))]
    assert _views(document(2e6 - 1, supervisor=supervisor()), complete).processes


@pytest.mark.parametrize("sent", [None, [], {}, {"processes": 3}, {"processes": [{}]}, {"processes": [3]}])
def test_what_is_no_document_is_refused(sent: object) -> None:
    with pytest.raises(ReserveError, match="no document"):
        Sample.of(sent, 0.0)


def test_a_server_without_processes_has_a_view() -> None:
    view = make_view(Sample.of({"version": 1, "time": 2e6, "processes": []}, 0.0))
    assert view.duration == Histogram()
    assert not view.totals.healthy
