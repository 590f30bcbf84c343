"""Measure one cell of the adversity table: one row of bad clients on one server.

For each server and row: a new server with two threads and its own defaults; the bad clients, until all are in place;
honest requests on new connections one after another; a window in which only the bad clients are connected; honest
requests again; the bad clients close; one more honest request.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks import honest, procfs
from benchmarks.adversity_report import Cell
from benchmarks.adversity_rows import Row
from benchmarks.badclients import BadClients, Flood
from benchmarks.process import StartError
from benchmarks.procfs import Usage
from benchmarks.servers import Running, missing, started

APP = "benchmarks.adversity_apps:application"
_FLOOD = 3.0
"""Seconds that a flood lasts."""
_RELEASE = 3.0
"""Seconds that the server may take to close its side of the bad clients' connections."""
_PAUSE = 0.2
"""Seconds until the server has closed the connections of the warm-up, too, and has written its log."""
_INTERVAL = 0.5
"""Seconds between two checks of the server's state."""
_OVERHEAD = 2.0
"""Seconds that a start and the connections take, about."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The options of the command: durations in seconds."""

    count: int
    """Honest requests in each of the two batches."""
    cap: float
    window: float
    place: float
    cut_wait: float
    quiet: float


def estimate(rows: Sequence[Row], servers: int, plan: Plan) -> tuple[float, float]:
    """The seconds that all cells take when every honest request gets its response at once, and when none gets one."""
    low = high = 0.0
    for row in rows:
        cap = _cap(row, plan)
        fixed = _OVERHEAD + row.settle + (_FLOOD if row.flood_rate else plan.window)
        low += fixed
        high += (
            fixed
            + plan.place
            + cap
            + (plan.quiet + cap if row.gives_work else 0.0)
            + plan.cut_wait
            + _RELEASE
            + plan.cap
        )
    return low * servers, high * servers


def measure(server: str, row: Row, plan: Plan) -> Cell:
    """Start the server, connect the bad clients, send the honest requests, and note the results."""
    cell = Cell(row=row.name, server=server, wanted=row.count, cap=_cap(row, plan))
    options = row.options.get(server, ())
    if absent := missing(server, options):
        cell.note = f"not offered: {' '.join(absent)}"
        return cell
    try:
        with started(server, APP, threads=row.threads, options=options, descriptors=row.descriptors) as running:
            _measure(running, row, plan, cell)
    except StartError as error:
        cell.note = "did not start"
        print(f"{row.name}: {error}", file=sys.stderr)
    return cell


def _measure(running: Running, row: Row, plan: Plan, cell: Cell) -> None:
    # The warm-up creates what a server creates on first use.
    honest.batch(running.address, honest.request(), count=10, cap=plan.cap)
    time.sleep(_PAUSE)
    lines = running.log_lines()
    before = running.usage()
    cell.rss_before = before.rss_kib
    cell.descriptors_before = before.descriptors
    cell.threads_before = before.threads
    if row.flood_rate:
        _under_flood(running, row, plan, cell)
    else:
        _under_crowd(running, row, plan, cell)
    if not row.still_busy:
        cell.recovery = honest.ask(running.address, honest.request(), plan.cap)
    after = running.usage() if row.still_busy else _usage_after(running, before)
    cell.descriptors_after = after.descriptors
    cell.threads_after = after.threads
    cell.rss_peak = after.peak_kib
    cell.rss_after = after.rss_kib
    time.sleep(_PAUSE)
    cell.log_lines = running.log_lines() - lines


def _under_crowd(running: Running, row: Row, plan: Plan, cell: Cell) -> None:
    message = row.request_for.get(running.name, row.request)
    count = min(plan.count, row.requests or plan.count)
    crowd = BadClients(running.address, row.count, row.script)
    crowd.start()
    try:
        crowd.wait_in_place(plan.place)
        start = time.monotonic()
        time.sleep(row.settle)
        cell.at_once = honest.batch(running.address, message, count=count, cap=cell.cap)
        if row.gives_work:
            cell.quiet_after = _wait_until_quiet(running, plan.quiet)
        _window(running, plan.window, cell)
        cell.still_there = crowd.snapshot().still_there
        if row.gives_work or not any(response.outcome == "timeout" for response in cell.at_once):
            cell.held = honest.batch(running.address, message, count=count, cap=cell.cap)
        _wait_until_closed(running, crowd, start, plan.cut_wait, cell)
        state = crowd.snapshot()
    finally:
        crowd.close()
    cell.connected = state.connected
    cell.in_place = state.in_place
    cell.statuses = state.statuses
    cell.cut = len(state.closed_after)
    if state.closed_after:
        cell.first_cut, cell.last_cut = state.closed_after[0], state.closed_after[-1]


def _wait_until_closed(running: Running, crowd: BadClients, start: float, limit: float, cell: Cell) -> None:
    """Wait until the server has closed all connections, which a client that does not read may never see.

    :param start: when the clients were in place, by the monotonic clock.
    :param limit: seconds after that.
    """
    while (elapsed := time.monotonic() - start) < limit and not crowd.wait_all_closed(_INTERVAL):
        states = procfs.tcp_states(running.port)
        if not states["ESTABLISHED"] and not states["CLOSE_WAIT"]:
            cell.orphans = states["FIN_WAIT1"]
            cell.unseen_cut = elapsed if cell.orphans else None
            break


def _under_flood(running: Running, row: Row, plan: Plan, cell: Cell) -> None:
    flood = Flood(running.address, row.flood_rate, _FLOOD)
    flood.start()
    before = running.usage()
    start = time.monotonic()
    while flood.running:
        cell.held += honest.batch(running.address, row.request, count=1, cap=cell.cap)
        if cell.held[-1].outcome == "timeout":
            break
        time.sleep(0.02)
    elapsed = time.monotonic() - start
    cell.wanted = int(row.flood_rate * _FLOOD)
    cell.in_place = cell.connected = flood.close()
    _note_window(before, running.usage(), elapsed, cell)


def _window(running: Running, seconds: float, cell: Cell) -> None:
    before = running.usage()
    start = time.monotonic()
    time.sleep(seconds)
    _note_window(before, running.usage(), time.monotonic() - start, cell)


def _wait_until_quiet(running: Running, limit: float) -> float:
    """Wait until the server has nothing left to do for the bad clients, or ``limit`` seconds; return the seconds."""
    start = time.monotonic()
    last = running.usage()
    while time.monotonic() - start < limit:
        time.sleep(_INTERVAL)
        now = running.usage()
        if now.cpu_seconds - last.cpu_seconds < _INTERVAL / 20 and now.spooled_kib == last.spooled_kib:
            break
        last = now
    return time.monotonic() - start


def _note_window(before: Usage, after: Usage, elapsed: float, cell: Cell) -> None:
    cell.cpu_percent = 100 * (after.cpu_seconds - before.cpu_seconds) / elapsed
    cell.rss_held = after.rss_kib
    cell.descriptors_held = after.descriptors
    cell.spooled = max(before.spooled_kib, after.spooled_kib)


def _usage_after(running: Running, before: Usage) -> Usage:
    """The usage when the number of descriptors is back to what it was, or after ``_RELEASE`` seconds."""
    deadline = time.monotonic() + _RELEASE
    while (now := running.usage()).descriptors > before.descriptors and time.monotonic() < deadline:
        time.sleep(0.05)
    return now


def _cap(row: Row, plan: Plan) -> float:
    return plan.cap if row.cap is None else min(plan.cap, row.cap)
