"""Counts of requests and how long they take, for the metrics.

Each thread that responds has a list of its own, which only that thread changes: nothing is lost and no lock is taken.
It appends what it knows of a response, which costs less than adding to every sum, and now and then replaces the list by
one that begins with the sums. Any thread may read all lists meanwhile (:meth:`RequestMetrics.read`): each is either the
old one or the new one, so no count ever decreases.
"""

from __future__ import annotations

import threading
from bisect import bisect_left, bisect_right
from collections import Counter
from operator import add
from typing import Any, NamedTuple, Protocol

from reserve.engine.metrics.stats import HistogramStats, RequestStats

__all__ = ["BOUNDS", "METHODS", "MOST_PENDING", "NOT_RUN", "OTHER", "RequestMetrics", "RequestRecord", "Tally"]

BOUNDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
"""The upper bounds of the parts of every histogram, in seconds."""
OTHER = "other"
"""Stands for every method that is not one of :data:`METHODS`: clients may send any, however long."""
MOST_PENDING = 128
"""How many responses a list has before they are added up."""
NOT_RUN = -1.0
"""In place of the seconds of a response that no application has made."""

METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"})
"""RFC 9110 section 9.3 and RFC 5789."""
_NO_COUNTS = (0,) * (len(BOUNDS) + 1)
_ident = threading.get_ident


class RequestRecord(NamedTuple):
    """What is known of one response. Plain tuples stand in the lists, because they are made faster."""

    method: str
    """One of :data:`METHODS`, else :data:`OTHER`."""
    status: int
    received: int
    """Bytes of the request."""
    sent: int
    """Bytes of the response's body."""
    queue: float
    """Seconds from the end of the request to the call of the application, or :data:`NOT_RUN`."""
    application: float
    """Seconds from the call to its end, or :data:`NOT_RUN`."""


class _Histogram(NamedTuple):
    counts: tuple[int, ...] = _NO_COUNTS
    sum: float = 0.0

    def plus(self, other: _Histogram) -> _Histogram:
        """Both together."""
        return _Histogram(tuple(map(add, self.counts, other.counts)), self.sum + other.sum)


class _Sums(NamedTuple):
    """What one thread has counted, or all of them; never changed."""

    responses: dict[tuple[str, int], int]
    bytes_received: int = 0
    bytes_sent: int = 0
    duration: _Histogram = _Histogram()
    queue: _Histogram = _Histogram()
    application: _Histogram = _Histogram()


class _Pending(dict[int, list[Any]]):
    """The lists by thread: first the :class:`_Sums`, then records. The system gives the number of a thread that has
    ended to a later one, which goes on counting.
    """

    def __missing__(self, ident: int) -> list[Any]:
        pending: list[Any] = [_Sums({})]
        self[ident] = pending
        return pending


class Tally(Protocol):
    """What one thread counts of requests that it has served without a wait (on the straight line, in C)."""

    def read(self) -> tuple[dict[tuple[str, int], int], int, int, tuple[int, ...], float]:
        """Responses by method and status, bytes received and sent, and for the seconds that they took: how many were up
        to each of :data:`BOUNDS` and above, and the sum. Any thread.
        """
        ...


class RequestMetrics:
    """The counts of all threads of one server, which owns it."""

    def __init__(self) -> None:
        self.pending = _Pending()
        """By thread, each as :func:`threading.get_ident` names it. The thread appends a tuple in the order of
        :class:`RequestRecord`, and calls :meth:`fold` when there are more than :data:`MOST_PENDING`. (The driver of
        HTTP does so itself for each request, to save calls.)
        """

        self.tallies: dict[int, Tally] = {}
        """The counts that threads keep in C, by the same numbers."""

    def add(
        self, method: str, status: int, received: int, sent: int, queue: float = NOT_RUN, application: float = NOT_RUN
    ) -> None:
        """Count a response; the arguments are those of :class:`RequestRecord`. Any thread."""
        pending = self.pending[_ident()]
        pending.append((method if method in METHODS else OTHER, status, received, sent, queue, application))
        if len(pending) > MOST_PENDING:
            self.fold()

    def fold(self) -> None:
        """Add up what the calling thread has counted."""
        ident = _ident()
        self.pending[ident] = [_folded(self.pending[ident])]

    def read(self) -> RequestStats:
        """The sum over all threads. Any thread."""
        each = [_folded(pending.copy()) for pending in list(self.pending.values())]
        each += [_sums_of(tally) for tally in list(self.tallies.values())]
        responses: Counter[tuple[str, int]] = Counter()
        for sums in each:
            responses.update(sums.responses)
        return RequestStats(
            responses=tuple((method, status, number) for (method, status), number in sorted(responses.items())),
            bytes_received=sum(sums.bytes_received for sums in each),
            bytes_sent=sum(sums.bytes_sent for sums in each),
            duration=_united([sums.duration for sums in each]),
            queue=_united([sums.queue for sums in each]),
            application=_united([sums.application for sums in each]),
        )


def _folded(pending: list[Any]) -> _Sums:
    """The sums with what follows them in the list of a thread, which this does not change."""
    sums: _Sums = pending[0]
    if len(pending) == 1:
        return sums
    methods, statuses, received, sent, queues, applications = zip(*pending[1:], strict=True)
    if any(queues):
        # Both columns have NOT_RUN in the same places.
        waited = [seconds for seconds in queues if seconds != NOT_RUN]
        taken = [seconds for seconds in applications if seconds != NOT_RUN]
        duration = _histogram_of(list(map(add, waited, taken)))
        queue, application = _histogram_of(waited), _histogram_of(taken)
    else:  # they were on the straight line: none has waited
        queue = _Histogram((len(queues), *_NO_COUNTS[1:]), 0.0)
        duration = application = _histogram_of(list(applications))
    return _Sums(
        _with_counts(sums.responses, methods, statuses),
        sums.bytes_received + sum(received),
        sums.bytes_sent + sum(sent),
        sums.duration.plus(duration),
        sums.queue.plus(queue),
        sums.application.plus(application),
    )


def _with_counts(
    known: dict[tuple[str, int], int], methods: tuple[str, ...], statuses: tuple[int, ...]
) -> dict[tuple[str, int], int]:
    """The numbers of responses by method and status, with more of them. As a rule there are few different ones: to look
    through all for each of these costs less than to make and hash a pair for each response.
    """
    responses = known.copy()
    different = set(methods)
    for method in different:
        if len(different) == 1:
            those = statuses
        else:
            those = tuple(status for each, status in zip(methods, statuses, strict=True) if each == method)
        for status in set(those):
            responses[method, status] = responses.get((method, status), 0) + those.count(status)
    return responses


def _histogram_of(values: list[float]) -> _Histogram:
    """The histogram of these values, which it sorts."""
    counts = [0] * len(_NO_COUNTS)
    if values and max(values) <= BOUNDS[0]:
        counts[0] = len(values)
        return _Histogram(tuple(counts), sum(values))
    values.sort()
    below = part = 0
    while below < len(values):
        part = bisect_left(BOUNDS, values[below], part)  # of the smallest value that is not counted yet
        up_to = bisect_right(values, BOUNDS[part], below) if part < len(BOUNDS) else len(values)
        counts[part] += up_to - below
        below = up_to
    return _Histogram(tuple(counts), sum(values))


def _sums_of(tally: Tally) -> _Sums:
    responses, received, sent, counts, seconds = tally.read()
    taken = _Histogram(counts, seconds)
    no_wait = _Histogram((sum(counts), *_NO_COUNTS[1:]), 0.0)
    return _Sums(responses, received, sent, taken, no_wait, taken)


def _united(histograms: list[_Histogram]) -> HistogramStats:
    counts = [sum(column) for column in zip(*(one.counts for one in histograms), strict=True)]
    return HistogramStats(bounds=BOUNDS, counts=tuple(counts) or _NO_COUNTS, sum=sum(one.sum for one in histograms))
