"""The metrics: their names, kinds and texts, and their values in the sums over all processes. Pure; any thread.

The names follow https://prometheus.io/docs/practices/naming/: base units (seconds, bytes), ``_total`` for counters.
``reserve/docs/metrics.md`` describes each.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple, TypeAlias

from reserve.control.totals import Histogram, Totals

__all__ = ["COUNTER", "FAMILIES", "GAUGE", "HISTOGRAM", "Family", "Labels"]

COUNTER, GAUGE, HISTOGRAM = "counter", "gauge", "histogram"

Labels: TypeAlias = "tuple[tuple[str, str], ...]"
"""Names and values, in the order in which they are shown."""
_Values: TypeAlias = "Iterable[tuple[Labels, float | Histogram]]"


class Family(NamedTuple):
    """One metric; there is one for each name."""

    name: str
    kind: str
    """:data:`COUNTER`, :data:`GAUGE` or :data:`HISTOGRAM`."""
    help: str
    values: Callable[[Totals], _Values]
    """What it has for each set of labels: a number, or a histogram. Always in the same order."""


def _one(name: str) -> Callable[[Totals], _Values]:
    """The field of the sums as the only value."""
    return lambda totals: [((), getattr(totals, name))]


def _by(label: str, **fields: str | Callable[[Totals], float]) -> Callable[[Totals], _Values]:
    """A value for each value of one label: a field of the sums, or what a function makes of them."""

    def values(totals: Totals) -> _Values:
        for name, source in fields.items():
            yield ((label, name),), getattr(totals, source) if isinstance(source, str) else source(totals)

    return values


def _info(totals: Totals) -> _Values:
    yield (("version", totals.software.removeprefix("reserve ")), ("python", totals.python)), 1


def _responses(totals: Totals) -> _Values:
    for method, status, count in sorted(totals.responses):
        yield (("method", method), ("status", str(status))), count


def _listeners(field: str) -> Callable[[Totals], _Values]:
    def values(totals: Totals) -> _Values:
        for listener in sorted(totals.listeners, key=lambda one: one.address):
            value = getattr(listener, field)
            if value >= 0:
                yield (("address", listener.address),), value

    return values


_STATES = ("serving", "retiring", "starting", "stopping", "unresponsive")
_REASONS = ("crash", "recycle", "reload", "kill")

FAMILIES = (
    Family("reserve_info", GAUGE, "The versions of the server and of Python; always 1.", _info),
    Family(
        "reserve_healthy",
        GAUGE,
        "1: the server takes new clients; 0: it does not, see the health path.",
        lambda totals: [((), int(totals.healthy))],
    ),
    Family("reserve_uptime_seconds", GAUGE, "Seconds since the start of the server.", _one("uptime")),
    Family(
        "reserve_requests_total",
        COUNTER,
        "Responses to HTTP requests, also of refusals and files, by method and status; 499: the client went away.",
        _responses,
    ),
    Family(
        "reserve_request_duration_seconds",
        HISTOGRAM,
        "From the last byte of a request to the end of the application's response: queue and application together.",
        _one("duration"),
    ),
    Family(
        "reserve_request_queue_seconds",
        HISTOGRAM,
        "From the last byte of a request to the call of the application: how long it has waited for a thread.",
        _one("queue"),
    ),
    Family(
        "reserve_application_seconds", HISTOGRAM, "From the call of the application to its end.", _one("application")
    ),
    Family("reserve_request_bytes_total", COUNTER, "Bytes of requests, heads and bodies.", _one("bytes_received")),
    Family("reserve_response_bytes_total", COUNTER, "Bytes of the bodies of responses.", _one("bytes_sent")),
    Family(
        "reserve_threads",
        GAUGE,
        "Worker threads by what they do.",
        _by(
            "state",
            idle="idle",
            busy=lambda totals: max(0, totals.busy - totals.waiting),
            waiting="waiting",
            upgraded="upgraded",
            stuck="stuck",
        ),
    ),
    Family("reserve_threads_max", GAUGE, "The most worker threads (--threads).", _one("max_threads")),
    Family(
        "reserve_requests_queued",
        GAUGE,
        "Requests that wait for a worker thread (--max-queued).",
        _one("waiting_requests"),
    ),
    Family(
        "reserve_connections",
        GAUGE,
        "Open connections by state.",
        _by("state", parked="parked", flushing="flushing", lingering="lingering", owned="owned", queued="queued"),
    ),
    Family("reserve_connections_max", GAUGE, "The most connections (--max-connections).", _one("max_connections")),
    Family("reserve_connections_accepted_total", COUNTER, "Connections accepted.", _one("accepted")),
    Family(
        "reserve_connections_reclaimed_total",
        COUNTER,
        "Idle connections closed because new clients needed their places.",
        _one("reclaimed"),
    ),
    Family(
        "reserve_tls_handshakes_total",
        COUNTER,
        "TLS handshakes by result.",
        _by(
            "result",
            full=lambda totals: max(0, totals.tls_handshakes - totals.tls_resumed),
            resumed="tls_resumed",
            failed="tls_failed",
        ),
    ),
    Family(
        "reserve_lead_hand_overs_total",
        COUNTER,
        "How often a worker thread has passed the lead on to another one.",
        _one("hand_overs"),
    ),
    Family(
        "reserve_lead_steals_total",
        COUNTER,
        "How often the monitor took the lead from a worker whose application stalled.",
        _one("steals"),
    ),
    Family(
        "reserve_refusals_total",
        COUNTER,
        "Requests and connections refused, by reason: no worker was free in time; limits of one client.",
        _by(
            "reason",
            overload="refused",
            client_connections="client_connections_refused",
            client_requests="client_requests_refused",
        ),
    ),
    Family(
        "reserve_request_timeouts_total",
        COUNTER,
        "Requests interrupted because their response did not begin within --request-timeout.",
        _one("timed_out"),
    ),
    Family(
        "reserve_listen_backlog",
        GAUGE,
        "Connections that the system has accepted and the server has not, by listener (Linux, TCP).",
        _listeners("backlog"),
    ),
    Family(
        "reserve_listen_backlog_limit",
        GAUGE,
        "How many connections the system keeps for the server, by listener (Linux, TCP).",
        _listeners("backlog_limit"),
    ),
    Family("reserve_buffer_bytes", GAUGE, "Bytes of bodies, responses and heads in memory.", _one("buffered")),
    Family("reserve_buffer_limit_bytes", GAUGE, "The most bytes of them (--buffer-memory).", _one("buffer_limit")),
    Family("reserve_spool_bytes", GAUGE, "Bytes of bodies and responses in files.", _one("spooled")),
    Family("reserve_spool_limit_bytes", GAUGE, "The most bytes of them (--spool-disk).", _one("spool_limit")),
    Family(
        "reserve_log_lines_dropped_total",
        COUNTER,
        "Lines of the logs that were lost, because they could not be written fast enough.",
        _one("log_lines_dropped"),
    ),
    Family(
        "reserve_processes",
        GAUGE,
        "Processes that serve, by state.",
        lambda totals: [((("state", state),), totals.states.get(state, 0)) for state in _STATES],
    ),
    Family("reserve_processes_wanted", GAUGE, "How many processes there are to be.", _one("wanted")),
    Family(
        "reserve_process_restarts_total",
        COUNTER,
        "Processes that were replaced, by reason.",
        lambda totals: [((("reason", reason),), totals.restarts.get(reason, 0)) for reason in _REASONS],
    ),
    Family("reserve_resident_bytes", GAUGE, "Resident memory of the processes that serve.", _one("rss")),
)
"""All metrics, in the order in which they are shown."""
