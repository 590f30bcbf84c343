"""What the status page shows, made from the document about all processes. A pure function; any thread may call it.

The same texts are in the page as it is sent, and in what its script fetches once a second: so the page is complete
without the script, and only this module decides what a number is called. All texts are plain; nothing in here is HTML.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from reserve.control.page.figures import NONE, bytes_text, count_text, seconds_text, share_of, span_text, visible
from reserve.control.totals import Totals, totals

__all__ = ["Row", "Table", "View", "make_view", "unknown_view"]

SLOW = 1.0
"""Seconds after which a request that still runs is marked."""
_MOST_THREADS = 100
"""Threads that are listed; the longest runs come first."""
_MOST_PROCESSES = 64
_NEARLY = 0.9
"""The part of a limit from which its bar warns."""
_IDLE = ("idle", "leading")
"""States of threads that are not listed: the one that leads waits for all clients, and has none."""
_PATIENT = ("waiting", "upgraded")
"""States in which a long time is no reason to worry."""
_PHASES = {"serving": "serves", "starting": "starts", "retiring": "retires", "stopping": "stops"}

_NUMBERS = ("busy", "threads", "max_threads", "waiting", "upgraded", "stuck", "waiting_requests", "connections")
"""The fields of the totals that the charts show."""


class Row(NamedTuple):
    """One row of a table."""

    cells: Sequence[str]
    level: str = ""
    """``bad``, ``warn`` or nothing."""
    share: float | None = None
    """How much of a limit is used, from 0 to 1; None: the row has no bar."""
    number: int | None = None
    """The number of the row as it is, for the script, which shows how much of it is of the last minute."""

    def as_json(self) -> dict[str, Any]:
        """For the script of the page."""
        return {"cells": list(self.cells), "level": self.level, "share": self.share, "number": self.number}


class Table(NamedTuple):
    """The rows of one table, and a note below it; empty: none."""

    rows: Sequence[Row]
    note: str = ""

    def as_json(self) -> dict[str, Any]:
        """For the script of the page."""
        return {"rows": [row.as_json() for row in self.rows], "note": self.note}


class View(NamedTuple):
    """Everything on the page at one moment."""

    time: float
    """Seconds since 1970."""
    level: str
    """``good``, ``warn`` or ``bad``."""
    headline: str
    reasons: Sequence[str]
    """Why it is not healthy."""
    facts: Sequence[tuple[str, str]]
    """Names and values below the headline."""
    threads: Table
    """Process, thread, state, request, client, time."""
    processes: Table
    """Process, state, age, threads, queue, connections, requests, memory."""
    limits: Table
    """Name, used, limit."""
    totals: Table
    """Name, number since the start."""
    now: Mapping[str, int]
    """Numbers of this moment, by name: for the charts."""
    counters: Mapping[str, int]
    """Numbers that only grow, by name."""
    histograms: Mapping[str, Sequence[int]]
    """Counts of the buckets of ``duration`` and ``queue``."""
    bounds: Sequence[float]
    """The upper bounds of the buckets, in seconds."""

    def as_json(self) -> dict[str, Any]:
        """For the script of the page."""
        tables = {name: getattr(self, name).as_json() for name in ("threads", "processes", "limits", "totals")}
        return {**self._asdict(), **tables, "version": 1}


def make_view(document: Mapping[str, Any]) -> View:
    """What is to be seen in a document about all processes.

    :param document: as :mod:`reserve.control.document` describes it. Another version may have made it: what is missing
        counts as 0.
    """
    processes: list[Mapping[str, Any]] = list(document["processes"])
    sums = totals(document)
    level, headline, reasons = _health(processes, sums)
    return View(
        time=sums.time,
        level=level,
        headline=headline,
        reasons=reasons,
        facts=_facts(document, sums),
        threads=_threads(processes),
        processes=_processes(processes),
        limits=_limits(sums),
        totals=_totals(document, sums),
        now={name: getattr(sums, name) for name in _NUMBERS},
        counters={
            "requests": sums.requests,
            "errors": _responses(sums, 500, 599),
            "refused": sums.refused + sums.client_requests_refused + sums.client_connections_refused,
        },
        histograms={"duration": sums.duration.counts, "queue": sums.queue.counts},
        bounds=sums.duration.bounds,
    )


def unknown_view(time: float, reason: str) -> View:
    """What is to be seen while the server cannot be asked.

    :param time: seconds since 1970.
    """
    view = make_view({"time": time, "processes": []})
    return view._replace(level="bad", headline="Not reachable", reasons=[reason], facts=[], limits=Table([]))


def _responses(sums: Totals, first: int, last: int) -> int:
    """How many responses had a status from ``first`` to ``last``."""
    return sum(count for _, status, count in sums.responses if first <= status <= last)


def _health(processes: Sequence[Mapping[str, Any]], sums: Totals) -> tuple[str, str, Sequence[str]]:
    """Level, headline and reasons. A process that starts or ends is no reason to worry."""
    serving = [process for process in processes if process["phase"] == "serving"]
    well = sum(_is_well(process) for process in serving)
    reasons = [visible(reason) for reason in sums.unhealthy]
    if not serving:
        return ("warn", "Starting", ()) if sums.states.get("starting") else ("bad", "Stopping", ())
    if not well:
        return "bad", "Not healthy", reasons
    if well < len(serving):
        return "warn", f"{well} of {len(serving)} processes are healthy", reasons
    longest = max((_seconds(process, thread) for process, thread in _workers(serving) if _worries(thread)), default=0)
    if longest >= SLOW and sums.waiting_requests and sums.busy - sums.waiting >= sums.max_threads:
        wait = "1 request waits" if sums.waiting_requests == 1 else f"{count_text(sums.waiting_requests)} requests wait"
        return (
            "warn",
            "Every thread is busy",
            [f"{wait} for a thread; the longest run has taken {seconds_text(longest)}"],
        )
    return "good", "Healthy", ()


def _is_well(process: Mapping[str, Any]) -> bool:
    return bool(process["responding"] and (process["stats"] or {}).get("healthy", True))


def _facts(document: Mapping[str, Any], sums: Totals) -> list[tuple[str, str]]:
    facts = [("up for", span_text(sums.uptime))]
    if document.get("supervisor"):
        facts.append(("processes", f"{sums.states.get('serving', 0)} of {sums.wanted} serve"))
    facts.append(("threads", _of(sums.busy, sums.threads, "busy")))
    facts.append(("memory", bytes_text(sums.rss or -1)))
    facts.append(("server", visible(", ".join(filter(None, (sums.software, sums.python))))))
    return facts


def _of(part: int, whole: int, what: str) -> str:
    return f"{count_text(part)} of {count_text(whole)} {what}"


def _threads(processes: Sequence[Mapping[str, Any]]) -> Table:
    """The threads that do something, the longest runs first."""
    found = _workers(processes)
    shown = [(process, thread) for process, thread in found if thread["state"] not in _IDLE]
    shown.sort(key=lambda one: (one[1]["state"] != "stuck", -_seconds(*one)))
    rows = []
    for process, thread in shown[:_MOST_THREADS]:
        seconds, state = _seconds(process, thread), thread["state"]
        level = "bad" if state == "stuck" else "warn" if seconds >= SLOW and _worries(thread) else ""
        cells = (
            str(process["pid"]),
            visible(thread["name"].removeprefix("reserve-")),
            state,
            visible(thread["request"]),
            visible(thread["client"], 80),
            seconds_text(seconds) if seconds > 0 else "",
        )
        rows.append(Row(cells, level))
    idle = len(found) - len(shown)
    notes = []
    if len(shown) > _MOST_THREADS:
        notes.append(f"and {count_text(len(shown) - _MOST_THREADS)} more, which run for a shorter time")
    if idle:
        notes.append("1 thread is idle" if idle == 1 else f"{count_text(idle)} threads are idle")
    return Table(rows, "; ".join(notes))


def _workers(processes: Sequence[Mapping[str, Any]]) -> list[tuple[Mapping[str, Any], Mapping[str, Any]]]:
    """Each worker thread, after its process."""
    return [
        (process, thread)
        for process in processes
        if process["stats"] is not None
        for thread in process["stats"].get("workers", ())
    ]


def _worries(thread: Mapping[str, Any]) -> bool:
    """Whether a long run of a thread is a reason to worry."""
    return thread["state"] not in _IDLE and thread["state"] not in _PATIENT


def _seconds(process: Mapping[str, Any], thread: Mapping[str, Any]) -> float:
    """How long a run takes by now: the numbers of a process that does not answer are older."""
    seconds = float(thread["seconds"])
    return seconds + float(process["age"]) if seconds > 0 and not process["responding"] else seconds


def _processes(processes: Sequence[Mapping[str, Any]]) -> Table:
    rows = []
    for process in processes[:_MOST_PROCESSES]:
        stats: Mapping[str, Any] = process["stats"] or {}
        state = _PHASES.get(process["phase"], process["phase"])
        level = ""
        if not process["responding"] and process["phase"] == "serving":
            state, level = f"no answer for {span_text(process['age'])}", "bad"
        elif not stats.get("healthy", True) and process["phase"] == "serving":
            state, level = "not healthy", "bad"
        cells = (
            str(process["pid"]),
            state,
            span_text(stats["uptime"]) if "uptime" in stats else NONE,
            _of(stats["busy"], stats["threads"], "busy") if stats else NONE,
            count_text(stats.get("queued", -1)),
            count_text(stats.get("connections", -1)),
            count_text(stats.get("handled", -1)),
            bytes_text(stats.get("rss", 0) or -1),
        )
        rows.append(Row(cells, level))
    more = len(processes) - _MOST_PROCESSES
    return Table(rows, f"and {more} more" if more > 0 else "")


def _limits(sums: Totals) -> Table:
    """What is used of what is limited; the limits of all processes together."""
    rows = [
        _limit("busy threads", sums.busy, sums.max_threads, count_text),
        _limit("queued requests", sums.waiting_requests, sums.max_queued, count_text),
        _limit("open connections", sums.connections, sums.max_connections, count_text),
        _limit("buffer memory", sums.buffered, sums.buffer_limit, bytes_text),
        _limit("spool disk", sums.spooled, sums.spool_limit, bytes_text),
    ]
    for listener in sums.listeners:
        rows.append(
            _limit(f"backlog of {visible(listener.address)}", listener.backlog, listener.backlog_limit, count_text)
        )
    return Table(rows)


def _limit(name: str, used: int, limit: int, text: Callable[[int], str]) -> Row:
    share = share_of(used, limit)
    level = "" if share is None or share < _NEARLY else "bad" if share >= 1 else "warn"
    return Row((name, text(used), text(limit if limit > 0 else -1)), level, share)


def _totals(document: Mapping[str, Any], sums: Totals) -> Table:
    """Name, number, and whether it tells of a trouble."""
    counts = [
        ("requests", sums.requests, False),
        ("5xx responses", _responses(sums, 500, 599), True),
        ("4xx responses", _responses(sums, 400, 499), False),
        ("refused: no free thread in time", sums.refused, True),
        ("refused: requests of one client", sums.client_requests_refused, True),
        ("refused: connections of one client", sums.client_connections_refused, True),
        ("interrupted (request timeout)", sums.timed_out, True),
        ("threads given up, still running", sums.stuck, True),
        ("connections accepted", sums.accepted, False),
        ("idle connections closed early", sums.reclaimed, False),
        ("TLS handshakes that failed", sums.tls_failed, False),
        ("log lines lost", sums.log_lines_dropped, True),
    ]
    if document.get("supervisor"):
        counts += [
            ("processes that crashed", sums.restarts["crash"], True),
            ("processes that were killed", sums.restarts["kill"], True),
            ("processes replaced after a limit", sums.restarts["recycle"], False),
            ("processes replaced by a reload", sums.restarts["reload"], False),
        ]
    return Table(
        [
            Row((name, count_text(count)), "warn" if count and is_trouble else "", number=count)
            for name, count, is_trouble in counts
        ]
    )
