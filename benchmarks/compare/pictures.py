"""Which charts a run has: requests a second, processor time and latency, each for the workloads that were measured."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from benchmarks.compare.charts import Bar, Group, chart
from benchmarks.compare.results import Cell, Results, Sample
from benchmarks.compare.targets import p99, rate
from benchmarks.compare.workloads import WORKLOADS

__all__ = ["pictures"]

_HEADS = ("hello", "browser", "hello-log", "browser-log")
_CONNECTIONS = ("connections-1", "connections-256", "connections-2000", "new-connection", "pipelined")
_CONTENT = ("post", "response-64k", "generator", "file", "upload")
_APPLICATIONS = ("sleep-5-20", "sleep-0.1-50", "sleep-all-10", "compute-2", "compute-2-20", "flask", "django")
_RATES = {
    "requests-heads": ("Requests a second", _HEADS),
    "requests-connections": ("Requests a second, by connections", _CONNECTIONS),
    "requests-content": ("Requests a second, by content", _CONTENT),
    "requests-applications": ("Requests a second, by application", _APPLICATIONS),
}


def pictures(results: Results, placement: str = "pinned") -> dict[str, tuple[str, str]]:
    """By name of the file without its suffix: the title and the SVG document. Charts without a bar are left out."""
    found: dict[str, tuple[str, str]] = {}
    for name, (title, workloads) in _RATES.items():
        _add(
            found,
            name,
            title,
            "More is better. The line is the spread over the rounds.",
            _groups(results, placement, workloads, _rates),
        )
    _add(
        found, "processor-time", "Processor time a request", "Microseconds, user + system. Less is better.",
        _groups(results, placement, _HEADS, _times),
    )  # fmt: skip
    _add(
        found, "latency", "99th percentile of the latency", "Milliseconds. Less is better.",
        _groups(results, placement, (*_HEADS[:2], "connections-256", *_APPLICATIONS[:3], "compute-2-20"), _latencies),
    )  # fmt: skip
    return found


def _add(found: dict[str, tuple[str, str]], name: str, title: str, unit: str, groups: Sequence[Group]) -> None:
    if groups:
        found[name] = (title, chart(title, unit, groups))


def _groups(results: Results, placement: str, workloads: Sequence[str], draw: Callable[[Cell], Bar]) -> list[Group]:
    groups = []
    for workload in workloads:
        bars = [draw(cell) for cell in results.row(workload, placement) if cell.samples]
        if bars:
            groups.append(Group(heading=WORKLOADS[workload].title, bars=bars))
    return groups


def _rates(cell: Cell) -> Bar:
    return _spread(cell, rate)


def _latencies(cell: Cell) -> Bar:
    return _spread(cell, p99)


def _spread(cell: Cell, value: Callable[[Sample], float]) -> Bar:
    found = cell.spread(value)
    assert found is not None
    return Bar(
        label=cell.server, value=found.median, lowest=found.lowest, highest=found.highest, subject=_is_subject(cell)
    )  # fmt: skip


def _times(cell: Cell) -> Bar:
    times = [cell.median(lambda sample: sample.cpu(sample.user)), cell.median(lambda sample: sample.cpu(sample.system))]
    return Bar(label=cell.server, value=times[0] or 0.0, second=times[1] or 0.0, subject=_is_subject(cell))


def _is_subject(cell: Cell) -> bool:
    return cell.server.startswith("reserve")
