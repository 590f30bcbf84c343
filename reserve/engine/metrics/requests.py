"""Counts of requests and how long they take, for the metrics.

Each thread that responds has a :class:`RequestCounts` of its own, which only that thread writes: nothing is lost and no
lock is taken. Any thread may read the sum of all (:meth:`RequestMetrics.read`), while the others go on counting.
"""

from __future__ import annotations

import threading
from bisect import bisect_left

from reserve.engine.metrics.stats import HistogramStats, RequestStats

__all__ = ["BOUNDS", "OTHER", "RequestCounts", "RequestMetrics"]

BOUNDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
"""The upper bounds of the parts of every histogram, in seconds."""
OTHER = "other"
"""Stands for every method that is not one of :data:`_METHODS`: clients may send any, and each would need memory."""

_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"})
"""RFC 9110 section 9.3 and RFC 5789."""
_FIRST = BOUNDS[0]
_ident = threading.get_ident


class Histogram:
    """Numbers of seconds by size; one thread writes it."""

    __slots__ = ("counts", "sum")

    def __init__(self) -> None:
        self.counts = [0] * (len(BOUNDS) + 1)
        self.sum = 0.0


class RequestCounts:
    """What one thread has counted. That thread calls :meth:`count` and :meth:`add`."""

    __slots__ = ("_short", "application", "bytes_received", "bytes_sent", "duration", "queue",
                 "responses")  # fmt: skip

    def __init__(self) -> None:
        self.responses: dict[tuple[str, int], int] = {}
        """How many responses there were, by method and status."""
        self.bytes_received = 0
        self.bytes_sent = 0
        self.duration = Histogram()
        self.queue = Histogram()
        self.application = Histogram()
        self._short = 0
        """Requests all of whose times are in the first part of the histograms, which is how most of them are: one
        addition is less than three searches.
        """

    def count(self, method: str, status: int, received: int, sent: int) -> None:
        """Count a response that no application has made.

        :param received: bytes of the request.
        :param sent: bytes of the response's body.
        """
        key = method, status
        try:
            self.responses[key] += 1
        except KeyError:
            if method not in _METHODS:
                key = OTHER, status
            self.responses[key] = self.responses.get(key, 0) + 1
        self.bytes_received += received
        self.bytes_sent += sent

    def add(self, method: str, status: int, received: int, sent: int, queue: float, application: float) -> None:
        """Count the response of an application.

        :param queue: seconds from the end of the request to the call of the application.
        :param application: seconds from the call to its end.
        """
        self.count(method, status, received, sent)
        duration = queue + application
        self.queue.sum += queue
        self.application.sum += application
        self.duration.sum += duration
        if duration <= _FIRST:
            self._short += 1
        else:
            self.queue.counts[bisect_left(BOUNDS, queue)] += 1
            self.application.counts[bisect_left(BOUNDS, application)] += 1
            self.duration.counts[bisect_left(BOUNDS, duration)] += 1

    def counts_of(self, histogram: Histogram) -> list[int]:
        """The counts of one of the histograms. Any thread."""
        counts = list(histogram.counts)
        counts[0] += self._short
        return counts


class RequestMetrics:
    """The counts of all threads of one server, which owns it."""

    def __init__(self) -> None:
        self._threads: dict[int, RequestCounts] = {}
        """By thread. The system gives the number of a thread that has ended to a later one, which goes on counting."""

    def counts(self) -> RequestCounts:
        """Those of the calling thread."""
        ident = _ident()
        counts = self._threads.get(ident)
        if counts is None:
            counts = self._threads[ident] = RequestCounts()
        return counts

    def read(self) -> RequestStats:
        """The sum over all threads. Any thread."""
        threads = list(self._threads.values())
        responses: dict[tuple[str, int], int] = {}
        for counts in threads:
            for key, number in list(counts.responses.items()):
                responses[key] = responses.get(key, 0) + number

        def histogram(name: str) -> HistogramStats:
            one = [(counts, getattr(counts, name)) for counts in threads]
            sums = [sum(column) for column in zip(*(counts.counts_of(item) for counts, item in one), strict=True)]
            total = sum(item.sum for _, item in one)
            return HistogramStats(bounds=BOUNDS, counts=tuple(sums) or (0,) * (len(BOUNDS) + 1), sum=total)

        return RequestStats(
            responses=tuple((method, status, number) for (method, status), number in sorted(responses.items())),
            bytes_received=sum(counts.bytes_received for counts in threads),
            bytes_sent=sum(counts.bytes_sent for counts in threads),
            duration=histogram("duration"),
            queue=histogram("queue"),
            application=histogram("application"),
        )
