"""One cell of the adversity table: start a server, let the bad clients at it, ask it, look at it.

For each server and row: a fresh server with two threads and its own defaults; the bad clients, until all are in place;
honest requests on fresh connections one after another; a window in which only the bad clients are there; honest
requests again; the bad clients go away; one more honest request.
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
from benchmarks.procfs import Usage
from benchmarks.servers import Running, StartError, missing, started

APP = "benchmarks.adversity_apps:application"
_FLOOD = 3.0
_RELEASE = 3.0
"""Seconds that the server may take to see that the bad clients are gone."""
_BREATH = 0.2
"""Seconds until the connections of the warm-up are closed on the server's side too, and the log has been written."""
_LOOK = 0.5
_OVERHEAD = 2.0
"""About what a start and the connections take."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How long everything may take; seconds."""

    count: int
    """Honest requests in each of the two batches."""
    cap: float
    window: float
    place: float
    cut_wait: float
    quiet: float


def estimate(rows: Sequence[Row], servers: int, plan: Plan) -> tuple[float, float]:
    """Seconds when every honest request is answered at once, and when none is."""
    low = high = 0.0
    for row in rows:
        cap = _cap(row, plan)
        fixed = _OVERHEAD + row.settle + (_FLOOD if row.flood_rate else plan.window)
        low += fixed
        high += (
            fixed + plan.place + cap + (plan.quiet + cap if row.works else 0.0) + plan.cut_wait + _RELEASE + plan.cap
        )
    return low * servers, high * servers


def measure(server: str, row: Row, plan: Plan) -> Cell:
    """Start the server, hurt it, ask it, and say how it went."""
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
        print(f"{row.name} {server}: {error}", file=sys.stderr)
    return cell


def _measure(running: Running, row: Row, plan: Plan, cell: Cell) -> None:
    honest.batch(running.address, honest.request(), count=10, cap=plan.cap)  # what is made on first use is made now
    time.sleep(_BREATH)
    lines = running.log_lines()
    before = running.usage()
    cell.rss_before = before.rss_kib
    cell.descriptors_before = before.descriptors
    cell.threads_before = before.threads
    if row.flood_rate:
        _under_flood(running, row, plan, cell)
    else:
        _under_crowd(running, row, plan, cell)
    if not row.goes_on:
        cell.recovery = honest.ask(running.address, honest.request(), plan.cap)
    after = running.usage() if row.goes_on else _after(running, before)
    cell.descriptors_after = after.descriptors
    cell.threads_after = after.threads
    cell.rss_peak = after.peak_kib
    cell.rss_after = after.rss_kib
    time.sleep(_BREATH)
    cell.log_lines = running.log_lines() - lines


def _under_crowd(running: Running, row: Row, plan: Plan, cell: Cell) -> None:
    words = row.asks_instead.get(running.name, row.asks)
    count = min(plan.count, row.requests or plan.count)
    crowd = BadClients(running.address, row.count, row.script)
    crowd.start()
    try:
        crowd.wait_in_place(plan.place)
        began = time.monotonic()
        time.sleep(row.settle)
        cell.at_once = honest.batch(running.address, words, count=count, cap=cell.cap)
        if row.works:
            cell.quiet_after = _until_quiet(running, plan.quiet)
        _window(running, plan.window, cell)
        picture = crowd.picture()
        cell.still_there = picture.still_there
        if row.works or not any(answer.outcome == "timeout" for answer in cell.at_once):
            cell.held = honest.batch(running.address, words, count=count, cap=cell.cap)
        _wait_cut(running, crowd, began, plan.cut_wait, cell)
        picture = crowd.picture()
    finally:
        crowd.close()
    cell.connected = picture.connected
    cell.in_place = picture.in_place
    cell.statuses = picture.statuses
    cell.cut = len(picture.cuts)
    if picture.cuts:
        cell.first_cut, cell.last_cut = picture.cuts[0], picture.cuts[-1]


def _wait_cut(running: Running, crowd: BadClients, began: float, longest: float, cell: Cell) -> None:
    """Wait until all are cut off, or the server has closed all, which a client that does not read may never see."""
    while (elapsed := time.monotonic() - began) < longest and not crowd.wait_all_cut(_LOOK):
        states = procfs.tcp_states(running.port)
        if not states["ESTABLISHED"] and not states["CLOSE_WAIT"]:
            cell.orphans = states["FIN_WAIT1"]
            cell.unseen_cut = elapsed if cell.orphans else None
            break


def _under_flood(running: Running, row: Row, plan: Plan, cell: Cell) -> None:
    flood = Flood(running.address, row.flood_rate, _FLOOD)
    flood.start()
    start = running.usage()
    began = time.monotonic()
    while flood.running:
        cell.held += honest.batch(running.address, row.asks, count=1, cap=cell.cap)
        if cell.held[-1].outcome == "timeout":
            break
        time.sleep(0.02)
    elapsed = time.monotonic() - began
    cell.wanted = int(row.flood_rate * _FLOOD)
    cell.in_place = cell.connected = flood.close()
    _note_window(start, running.usage(), elapsed, cell)


def _window(running: Running, seconds: float, cell: Cell) -> None:
    start = running.usage()
    began = time.monotonic()
    time.sleep(seconds)
    _note_window(start, running.usage(), time.monotonic() - began, cell)


def _until_quiet(running: Running, longest: float) -> float:
    """Wait, not for ever, until the server has done what it can do for the bad clients; how long that was."""
    began = time.monotonic()
    last = running.usage()
    while time.monotonic() - began < longest:
        time.sleep(_LOOK)
        now = running.usage()
        if now.cpu_seconds - last.cpu_seconds < _LOOK / 20 and now.spooled_kib == last.spooled_kib:
            break
        last = now
    return time.monotonic() - began


def _note_window(start: Usage, end: Usage, elapsed: float, cell: Cell) -> None:
    cell.cpu_percent = 100 * (end.cpu_seconds - start.cpu_seconds) / elapsed
    cell.rss_held = end.rss_kib
    cell.descriptors_held = end.descriptors
    cell.spooled = max(start.spooled_kib, end.spooled_kib)


def _after(running: Running, before: Usage) -> Usage:
    """The picture when the descriptors are back where they were, or cannot be in reasonable time."""
    deadline = time.monotonic() + _RELEASE
    while (now := running.usage()).descriptors > before.descriptors and time.monotonic() < deadline:
        time.sleep(0.05)
    return now


def _cap(row: Row, plan: Plan) -> float:
    return plan.cap if row.cap is None else min(plan.cap, row.cap)
