"""A chart of one build: requests a second against the number of threads, with a panel for each application."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

from benchmarks.compare.charts import WIDTH, document
from benchmarks.compare.report import number
from benchmarks.compare.servers import SUBJECTS
from benchmarks.threads.results import Build, Results
from benchmarks.threads.rows import APPLICATIONS

__all__ = ["curves"]

_TOP = 66
_LEFT = 56
_PLOT = 250
_HEIGHT = 150
_PANEL = 224
"""The height of a panel with its heading and its numbers of threads."""
_LINE = 14
"""The least distance of two labels."""
_DASHES = {"cheroot": "8 3", "waitress": "2 3", "gunicorn": "8 3 2 3", "granian": "14 4"}
"""By peer: what its line is broken into, because colours alone do not tell them apart."""


def curves(results: Results, build: Build) -> str:
    """An SVG document."""
    parts: list[str] = []
    described = []
    applications = results.applications(build)
    for index, application in enumerate(applications):
        x, y = _LEFT + index % 2 * (WIDTH // 2), _TOP + index // 2 * _PANEL
        title = APPLICATIONS[application].title
        threads = results.threads(build, application)
        lines = {
            server: {each: rate for each in threads if (rate := results.rate(build, application, server, each))}
            for server in results.servers(build, application)
        }
        several = results.several(build, application, limit=True)
        parts += _panel(title, x, y, threads, lines, several[1] if several else None)
        described.append(f"{title}: " + ", ".join(f"{server} {_told(line)}" for server, line in lines.items()))
    height = _TOP + (len(applications) + 1) // 2 * _PANEL - _LINE
    unit = (
        "Requests a second against the number of threads of one process. The dotted line is two independent processes."
    )
    return document(build.name, unit, "; ".join(described), height, parts)


def _told(line: Mapping[int, float]) -> str:
    return " ".join(f"{number(rate)} with {threads}" for threads, rate in line.items()) or "was not measured"


def _panel(
    title: str, x: int, y: int, threads: Sequence[int], lines: Mapping[str, Mapping[int, float]], limit: float | None
) -> list[str]:
    rates = [rate for line in lines.values() for rate in line.values()]
    highest = max([*rates, limit or 0.0, 1e-9])
    bottom = y + 22 + _HEIGHT
    step = _PLOT / max(len(threads) - 1, 1)
    places = {each: x + index * step for index, each in enumerate(threads)}

    def level(rate: float) -> float:
        return bottom - rate / highest * _HEIGHT

    drawn = [f'<text class="heading" x="{x - _LEFT + 16}" y="{y + 8}">{escape(title)}</text>']
    for share in (0.0, 0.5, 1.0):
        place = level(share * highest)
        drawn.append(f'<line class="axis" x1="{x}" x2="{x + _PLOT}" y1="{place:.1f}" y2="{place:.1f}"/>')
        text = number(share * highest) if rates else "0"
        drawn.append(f'<text class="quiet" x="{x - 6}" y="{place + 4:.1f}" text-anchor="end">{text}</text>')
    for each, place in places.items():
        drawn.append(f'<text class="quiet" x="{place:.1f}" y="{bottom + 17}" text-anchor="middle">{each}</text>')
    if limit is not None:
        drawn.append(f'<line class="limit" x1="{x}" x2="{x + _PLOT}" y1="{level(limit):.1f}" y2="{level(limit):.1f}"/>')
    labels: list[tuple[float, str]] = []
    for server, line in lines.items():
        if line:
            points = " ".join(f"{places[each]:.1f},{level(rate):.1f}" for each, rate in line.items())
            drawn.append(f'<polyline {_look(server)} points="{points}"/>')
            labels.append((level(line[max(line)]), server))
    drawn += [
        f'<text x="{x + _PLOT + 8}" y="{place + 4:.1f}">{escape(server)}</text>'
        for place, server in _apart(labels, bottom)
    ]
    return drawn


def _look(server: str) -> str:
    if server in SUBJECTS.values():
        return f'class="line subject{"" if server == SUBJECTS["c"] else " second"}"'
    return f'class="line" stroke-dasharray="{_DASHES[server]}"'


def _apart(labels: Sequence[tuple[float, str]], bottom: float) -> list[tuple[float, str]]:
    """The labels from the top to the bottom, moved until none touches another and none is below the panel."""
    ordered = sorted(labels)
    places: list[float] = []
    for place, _ in ordered:
        places.append(max(place, places[-1] + _LINE) if places else place)
    highest = bottom
    for index in reversed(range(len(places))):
        places[index] = min(places[index], highest)
        highest = places[index] - _LINE
    return [(place, server) for place, (_, server) in zip(places, ordered, strict=True)]
