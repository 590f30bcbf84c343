"""The sums over all processes of a document, for the metrics, the page and the terminal. Pure; any thread."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from reserve.control.document import COUNTERS, HISTOGRAMS, RESTARTS, add_counters

__all__ = ["UNREADABLE", "Histogram", "Listener", "Totals", "totals"]

_GAUGES = (
    "threads",
    "busy",
    "waiting",
    "upgraded",
    "stuck",
    "file_threads",
    "queued",
    "waiting_requests",
    "connections",
    "parked",
    "flushing",
    "lingering",
    "owned",
    "buffered",
    "spooled",
    "spooled_responses",
    "rss",
    "max_threads",
    "max_connections",
    "max_queued",
    "buffer_limit",
    "spool_limit",
)
"""The fields of the stats that are numbers of this moment, or limits."""


UNREADABLE = (ArithmeticError, AttributeError, LookupError, TypeError, ValueError)
"""What reading a document raises that has another form than any version has made."""


@dataclass(frozen=True, slots=True)
class Histogram:
    """How many of something took how long, in all processes."""

    bounds: tuple[float, ...] = ()
    """Seconds: the upper bound of each part but the last, which has none."""
    counts: tuple[int, ...] = ()
    """How many are in each part alone."""
    sum: float = 0.0
    """Seconds of all together."""

    @property
    def count(self) -> int:
        """How many there are."""
        return sum(self.counts)

    def since(self, earlier: Histogram) -> Histogram:
        """What has come since an earlier state. If the server was restarted meanwhile, everything."""
        if self.bounds != earlier.bounds or len(self.counts) != len(earlier.counts):
            return self
        counts = tuple(now - before for now, before in zip(self.counts, earlier.counts, strict=True))
        if min(counts, default=0) < 0:
            return self
        return Histogram(self.bounds, counts, max(0.0, self.sum - earlier.sum))

    def quantile(self, share: float) -> float | None:
        """The seconds that a share of all did not exceed; None: there are none.

        Within a part they are taken to be spread evenly, as Prometheus does (``histogram_quantile``). In the last part
        it is infinity: what is there took longer than every bound. The script of the status page computes the same,
        from the documents that it has fetched.

        :param share: from 0 to 1.
        """
        wanted, below, lower = share * self.count, 0, 0.0
        if not self.count:
            return None
        for bound, count in zip(self.bounds, self.counts, strict=False):
            if count and below + count >= wanted:
                return lower + (bound - lower) * max(0.0, wanted - below) / count
            below, lower = below + count, bound
        return math.inf


@dataclass(frozen=True, slots=True, kw_only=True)
class Listener:
    """A listening socket, which all processes share."""

    address: str
    backlog: int
    """Connections that wait for the server to accept them; -1: unknown."""
    backlog_limit: int
    """How many may wait; -1: unknown."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Totals:
    """The sums. Fields that :class:`~reserve.engine.metrics.stats.Stats` has, too, are of all processes that it has
    now; the counters also of those that it had.
    """

    time: float = 0.0
    """When the document was made, in seconds since the epoch."""
    software: str = ""
    python: str = ""
    pid: int = 0
    """The process to which signals go: the supervisor, or the one process."""
    uptime: float = 0.0
    """Seconds since the start of the server."""
    healthy: bool = False
    """A process serves, and no process that serves is unhealthy or does not respond."""
    unhealthy: tuple[str, ...] = ()
    """Why not."""
    states: Mapping[str, int] = field(default_factory=dict)
    """How many processes are ``serving``, ``retiring``, ``starting``, ``stopping`` and ``unresponsive``, each once."""
    wanted: int = 1
    """How many processes there should be."""
    generation: int = 1
    """How many starts and reloads there were."""
    restarts: Mapping[str, int] = field(default_factory=dict)
    """How many processes were replaced, by reason: :data:`~reserve.control.document.RESTARTS`."""
    listeners: tuple[Listener, ...] = ()
    responses: tuple[tuple[str, int, int], ...] = ()
    """(method, status, how many)."""
    bytes_received: int = 0
    bytes_sent: int = 0
    duration: Histogram = field(default_factory=Histogram)
    queue: Histogram = field(default_factory=Histogram)
    application: Histogram = field(default_factory=Histogram)
    threads: int = 0
    busy: int = 0
    waiting: int = 0
    upgraded: int = 0
    stuck: int = 0
    file_threads: int = 0
    queued: int = 0
    waiting_requests: int = 0
    connections: int = 0
    parked: int = 0
    flushing: int = 0
    lingering: int = 0
    owned: int = 0
    buffered: int = 0
    spooled: int = 0
    spooled_responses: int = 0
    rss: int = 0
    max_threads: int = 0
    max_connections: int = 0
    max_queued: int = 0
    buffer_limit: int = 0
    spool_limit: int = 0
    accepted: int = 0
    reclaimed: int = 0
    handled: int = 0
    timed_out: int = 0
    refused: int = 0
    client_connections_refused: int = 0
    client_requests_refused: int = 0
    tls_handshakes: int = 0
    tls_resumed: int = 0
    tls_failed: int = 0
    tls_kernel: int = 0
    hand_overs: int = 0
    log_lines_dropped: int = 0
    steals: int = 0

    @property
    def idle(self) -> int:
        """Worker threads that run nothing."""
        return max(0, self.threads - self.busy)

    @property
    def requests(self) -> int:
        """Responses of all methods and statuses; of an application that is not HTTP the runs of its handlers."""
        return sum(count for _, _, count in self.responses) or self.handled


def totals(document: Mapping[str, Any]) -> Totals:
    """The sums over the processes of a document. Another version may have made it: what is missing counts as 0."""
    processes = document["processes"]
    known = [process["stats"] for process in processes if process["stats"] is not None]
    supervisor = document.get("supervisor")
    counters: dict[str, Any] = add_counters({}, document.get("former") or {})
    for stats in known:
        counters = add_counters(counters, stats)
    requests = counters.get("requests", {})
    values: dict[str, Any] = {name: sum(int(stats.get(name, 0)) for stats in known) for name in _GAUGES}
    values.update((name, int(counters.get(name, 0))) for name in COUNTERS)
    for name in HISTOGRAMS:
        part = requests.get(name, {})
        values[name] = Histogram(
            bounds=tuple(part.get("bounds", ())), counts=tuple(part.get("counts", ())), sum=part.get("sum", 0.0)
        )
    unhealthy = tuple(_complaints(processes))
    newest = known[-1] if known else {}
    return Totals(
        time=float(document.get("time", 0.0)),
        software=str(newest.get("software", "")),
        python=str(newest.get("python", "")),
        pid=int(supervisor["pid"] if supervisor else processes[0]["pid"] if processes else 0),
        uptime=float(supervisor["uptime"] if supervisor else newest.get("uptime", 0.0)),
        healthy=not unhealthy,
        unhealthy=unhealthy,
        states=_states(processes),
        wanted=int(supervisor["wanted"]) if supervisor else 1,
        generation=int(supervisor["generation"]) if supervisor else 1,
        restarts={name: int((supervisor or {}).get("restarts", {}).get(name, 0)) for name in RESTARTS},
        listeners=tuple(_listeners(known)),
        responses=tuple((method, status, count) for method, status, count in requests.get("responses", ())),
        bytes_received=int(requests.get("bytes_received", 0)),
        bytes_sent=int(requests.get("bytes_sent", 0)),
        **values,
    )


def _states(processes: Iterable[Mapping[str, Any]]) -> dict[str, int]:
    states = dict.fromkeys(("serving", "retiring", "starting", "stopping", "unresponsive"), 0)
    for process in processes:
        is_silent = not process["responding"] and process["stats"] is not None
        state = "unresponsive" if is_silent else str(process["phase"])
        states[state] = states.get(state, 0) + 1  # another version may have more phases
    return states


def _complaints(processes: Iterable[Mapping[str, Any]]) -> Iterable[str]:
    """Why the server is not healthy, as clauses."""
    serving = [process for process in processes if process["phase"] == "serving"]
    if not serving:
        yield "no process serves"
    for process in serving:
        prefix = f"process {process['pid']}: " if len(serving) > 1 else ""
        if not process["responding"]:
            yield f"process {process['pid']} does not respond"
        for reason in (process["stats"] or {}).get("unhealthy", ()):
            yield f"{prefix}{reason}"


def _listeners(known: Iterable[Mapping[str, Any]]) -> Iterable[Listener]:
    """Each listening socket once: the processes share it, and tell its numbers at slightly different moments."""
    found: dict[str, tuple[int, int]] = {}
    for stats in known:
        for listener in stats.get("listeners", ()):
            backlog, limit = found.get(listener["address"], (-1, -1))
            address = str(listener["address"])
            found[address] = max(backlog, listener["backlog"]), max(limit, listener["backlog_limit"])
    for address, (backlog, limit) in found.items():
        yield Listener(address=address, backlog=backlog, backlog_limit=limit)
