"""From documents of the server (:mod:`reserve.control.document`) to what ``reserve top`` shows: rows and rates.

Pure; any thread. A document may come from an older or a newer version of the server: what is missing in it counts as
zero or empty. Texts are as the server sent them; the renderer escapes them.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from operator import attrgetter
from typing import Any

from reserve.control.document import VERSION
from reserve.control.totals import UNREADABLE, Histogram, Listener, Totals, totals
from reserve.errors import ReserveError

__all__ = ["Document", "History", "Listener", "Process", "Rates", "Refusal", "Sample", "Thread", "View", "make_view"]

Document = Mapping[str, Any]

_WINDOW = 10.0
"""Seconds before the last sample whose requests are in the histograms: in fewer there are too few for a quantile."""
_TREND = 240
"""How many rates the sparkline of requests may show, at most."""
_LEAST_INTERVAL = 0.1
"""Seconds between two documents, from which on there are rates: in less time the numbers of a server hardly change."""
_CLOCK_STEP = 2.0
"""Seconds by which the server's clock and ours may disagree about the time between two documents. A document is made
up to a second after it was asked for; more is a clock that was set."""
_REFUSALS = (
    ("overload", "refused"),
    ("client connections", "client_connections_refused"),
    ("client requests", "client_requests_refused"),
    ("request timeout", "timed_out"),
    ("tls failed", "tls_failed"),
)
"""The reasons of refusals, each with its counter in ``Stats``."""
_RANKS = {"stuck": 0, "running": 1, "waiting": 1, "finishing": 1, "upgraded": 2, "leading": 3, "idle": 4}
"""Which threads come first when they have done what they do equally long: those of which a person should know."""


@dataclass(frozen=True, slots=True)
class Sample:
    """A document, its sums, and when it came."""

    document: Document
    totals: Totals
    received: float
    """Seconds of a monotonic clock of this process."""

    @classmethod
    def of(cls, document: object, received: float) -> Sample:
        """Make one of what a server has sent.

        :raises ReserveError: it is no document, or one whose structure this version does not know.
        """
        try:
            if isinstance(document, Mapping):
                return cls(document, totals(document), received)
        except UNREADABLE:
            pass
        raise ReserveError("the server has sent no document that this version of reserve top can read")


@dataclass(frozen=True, slots=True, kw_only=True)
class Process:
    """One process of the server."""

    pid: int
    slot: int
    generation: int
    phase: str
    is_responding: bool
    age: float
    """Seconds since its numbers were taken."""
    uptime: float
    threads: int
    max_threads: int
    busy: int
    stuck: int
    queued: int
    connections: int
    rss: int
    rate: float | None
    """Requests a second; None: not known yet."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Thread:
    """One thread of a process, and what it does."""

    pid: int
    name: str
    ident: int
    native_id: int
    state: str
    request: str
    client: str
    seconds: float
    """Since it began what it does."""
    is_current: bool
    """False: its process does not respond, so it may do something else by now."""

    @property
    def key(self) -> tuple[int, int, str]:
        """What tells it from every other thread, also in a later document."""
        return self.pid, self.ident, self.name

    @property
    def is_idle(self) -> bool:
        """It has no request."""
        return self.state in ("idle", "leading")


@dataclass(frozen=True, slots=True, kw_only=True)
class Rates:
    """Events a second between two documents; None: not known."""

    requests: float | None = None
    errors: float | None = None
    """Responses with a status from 500 on."""
    received: float | None = None
    """Bytes of requests."""
    sent: float | None = None
    """Bytes of responses."""
    accepted: float | None = None
    handshakes: float | None = None


@dataclass(frozen=True, slots=True)
class Refusal:
    """How often clients were refused for one reason."""

    reason: str
    total: int
    rate: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """Everything that is shown of a server at one moment."""

    totals: Totals
    """The sums over the processes."""
    newer_version: int
    """The version of the document, if it is newer than this program; else 0."""
    has_supervisor: bool
    processes: tuple[Process, ...]
    threads: tuple[Thread, ...]
    rates: Rates
    trend: tuple[float, ...]
    """The last rates of requests, the oldest first."""
    interval: float
    """Seconds between the documents from which the rates are; 0: there is one document only."""
    duration: Histogram
    queue: Histogram
    application: Histogram
    window: float
    """Seconds that the histograms are about."""
    refusals: tuple[Refusal, ...]


class History:
    """The last samples of one server; the loop of ``reserve top`` owns it."""

    def __init__(self, window: float = _WINDOW) -> None:
        self._window = window
        self._samples: deque[Sample] = deque()
        self._trend: deque[float] = deque(maxlen=_TREND)

    def add(self, sample: Sample) -> View:
        """Take a new document, and return what it shows together with those before."""
        if self._samples and not _is_same_server(self._samples[-1], sample):
            self._samples.clear()
        earlier = (one for one in reversed(self._samples) if _seconds_between(one, sample) >= _LEAST_INTERVAL)
        before = next(earlier, None)
        self._samples.append(sample)
        while len(self._samples) > 2 and sample.received - self._samples[1].received >= self._window:
            self._samples.popleft()
        view = make_view(sample, before, self._samples[0], self._trend)
        if view.rates.requests is None:
            return view
        self._trend.append(view.rates.requests)
        return replace(view, trend=tuple(self._trend))


def make_view(
    now: Sample, before: Sample | None = None, first: Sample | None = None, trend: Sequence[float] = ()
) -> View:
    """What a document shows.

    :param before: the sample from which on the rates are; None: they are not known.
    :param first: the sample from which on the histograms are; None, or the sample ``now`` itself: they are about the
        whole life of the server.
    """
    sums = now.totals
    seconds = _seconds_between(before, now) if before is not None else 0.0
    earlier = before.totals if before is not None and seconds > 0 else None
    window = sums.uptime
    duration, queue, application = (_histogram(sums, name) for name in ("duration", "queue", "application"))
    if first is not None and first is not now and _seconds_between(first, now) > 0:
        window = _seconds_between(first, now)
        duration = duration.since(_histogram(first.totals, "duration"))
        queue = queue.since(_histogram(first.totals, "queue"))
        application = application.since(_histogram(first.totals, "application"))
    entries = list(_mappings(now.document, "processes"))
    version = int(_number(now.document, "version"))

    def rate(count: Callable[[Totals], int]) -> float | None:
        # A counter that has gone back is that of another server.
        grown = -1 if earlier is None else count(sums) - count(earlier)
        return grown / seconds if grown >= 0 else None

    return View(
        totals=sums,
        newer_version=version if version > VERSION else 0,
        has_supervisor=bool(_mapping(now.document, "supervisor")),
        processes=tuple(_process(entry, before if earlier is not None else None) for entry in entries),
        threads=tuple(_threads(entries)),
        rates=Rates(
            requests=rate(attrgetter("requests")),
            errors=rate(_errors),
            received=rate(attrgetter("bytes_received")),
            sent=rate(attrgetter("bytes_sent")),
            accepted=rate(attrgetter("accepted")),
            handshakes=rate(attrgetter("tls_handshakes")),
        ),
        trend=tuple(trend),
        interval=seconds if earlier is not None else 0.0,
        duration=duration,
        queue=queue,
        application=application,
        window=window,
        refusals=tuple(Refusal(reason, getattr(sums, name), rate(attrgetter(name))) for reason, name in _REFUSALS),
    )


def by_longest(thread: Thread) -> tuple[Any, ...]:
    """The order in which stuck threads come first, then those that have done the same for the longest time, idle ones
    last.
    """
    return (
        thread.state != "stuck",
        thread.is_idle,
        -thread.seconds,
        _RANKS.get(thread.state, 3),
        thread.pid,
        thread.name,
    )


# ---- what is in the document ----


def _finite(value: object) -> float:
    """A number of the document; 0 for everything that is none."""
    if isinstance(value, (int, float)) and math.isfinite(value):
        return value
    return 0


def _number(values: Mapping[str, Any], name: str) -> float:
    return _finite(values.get(name))


def _text(values: Mapping[str, Any], name: str) -> str:
    value = values.get(name)
    return value if isinstance(value, str) else ""


def _mapping(values: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = values.get(name)
    return value if isinstance(value, Mapping) else {}


def _list(values: Mapping[str, Any], name: str) -> Sequence[Any]:
    value = values.get(name)
    return value if isinstance(value, (list, tuple)) else ()


def _mappings(values: Mapping[str, Any], name: str) -> Iterator[Mapping[str, Any]]:
    return (value for value in _list(values, name) if isinstance(value, Mapping))


def _count_requests(stats: Mapping[str, Any]) -> float:
    """Of one process, as :attr:`Totals.requests`."""
    responses = _list(_mapping(stats, "requests"), "responses")
    return sum(_finite(row[2]) for row in responses if isinstance(row, (list, tuple)) and len(row) == 3) or _number(
        stats, "handled"
    )


def _histogram(sums: Totals, name: str) -> Histogram:
    histogram: Histogram = getattr(sums, name)
    return histogram if len(histogram.counts) == len(histogram.bounds) + 1 else Histogram()


def _errors(sums: Totals) -> int:
    return sum(count for _, status, count in sums.responses if status >= 500)


def _is_responding(entry: Mapping[str, Any]) -> bool:
    """A process that has never told its numbers is starting."""
    return entry.get("responding", True) is not False or not _mapping(entry, "stats")


def _process(entry: Mapping[str, Any], before: Sample | None) -> Process:
    stats = _mapping(entry, "stats")
    return Process(
        pid=int(_number(entry, "pid")),
        slot=int(_number(entry, "slot")),
        generation=int(_number(entry, "generation")),
        phase=_text(entry, "phase"),
        is_responding=_is_responding(entry),
        age=_number(entry, "age"),
        uptime=_number(stats, "uptime"),
        threads=int(_number(stats, "threads")),
        max_threads=int(_number(stats, "max_threads")),
        busy=int(_number(stats, "busy")),
        stuck=int(_number(stats, "stuck")),
        queued=int(_number(stats, "queued")),
        connections=int(_number(stats, "connections")),
        rss=int(_number(stats, "rss")),
        rate=_process_rate(entry, before),
    )


def _process_rate(entry: Mapping[str, Any], before: Sample | None) -> float | None:
    """Requests a second of one process, by its own clock: the time for which it has run."""
    stats = _mapping(entry, "stats")
    if before is None or not stats:
        return None
    key = entry.get("pid"), stats.get("started")
    for other in _mappings(before.document, "processes"):
        earlier = _mapping(other, "stats")
        if (other.get("pid"), earlier.get("started")) == key:
            seconds = _number(stats, "uptime") - _number(earlier, "uptime")
            count = _count_requests(stats) - _count_requests(earlier)
            return count / seconds if seconds > 0 and count >= 0 else None
    seconds = _number(stats, "uptime")  # it has started since
    return _count_requests(stats) / seconds if seconds > 0 else None


def _threads(entries: Iterable[Mapping[str, Any]]) -> Iterator[Thread]:
    for entry in entries:
        is_current = _is_responding(entry)
        for worker in _mappings(_mapping(entry, "stats"), "workers"):
            seconds = _number(worker, "seconds")
            state = _text(worker, "state")
            if not is_current and state not in ("idle", "leading"):
                seconds += _number(entry, "age")
            yield Thread(
                pid=int(_number(entry, "pid")),
                name=_text(worker, "name"),
                ident=int(_number(worker, "ident")),
                native_id=int(_number(worker, "native_id")),
                state=state,
                request=_text(worker, "request"),
                client=_text(worker, "client"),
                seconds=seconds,
                is_current=is_current,
            )


# ---- what is between two documents ----


def _seconds_between(before: Sample, now: Sample) -> float:
    """By the clock of the server, which has made the documents; by ours if that was set meanwhile."""
    ours = now.received - before.received
    theirs = now.totals.time - before.totals.time
    return theirs if theirs > 0 and abs(theirs - ours) < _CLOCK_STEP else ours


def _is_same_server(before: Sample, now: Sample) -> bool:
    """Whether the counters of the second document go on from those of the first."""
    documents = before.document, now.document
    supervisors = [_mapping(document, "supervisor").get("pid") for document in documents]
    if supervisors != [None, None]:
        return supervisors[0] == supervisors[1] and now.totals.accepted >= before.totals.accepted
    started = [
        {(entry.get("pid"), _mapping(entry, "stats").get("started")) for entry in _mappings(document, "processes")}
        for document in documents
    ]
    return bool(started[0] & started[1])
