"""What the project wants of a build without the GIL, and whether it is so: ratios of medians of one run."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from benchmarks.compare.servers import SUBJECTS
from benchmarks.threads.results import Build, Results
from benchmarks.threads.rows import PEERS, Row, counted

__all__ = ["Outcome", "judge"]

_SCALING = ("hello", "flask")
"""The applications in which the server is most of the work."""
_COMPUTING = ("compute-1", "compute-10")
_FAIR = "compute-1"
"""The application whose latencies are judged."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """One limit, and the ratio that was measured."""

    build: Build
    application: str
    server: str
    text: str
    figure: float
    limit: float
    at_least: bool = True

    @property
    def met(self) -> bool:
        return self.figure >= self.limit if self.at_least else self.figure <= self.limit

    @property
    def word(self) -> str:
        return "met" if self.met else "missed"

    @property
    def bound(self) -> str:
        return f"{'>=' if self.at_least else '<='} {self.limit:g}"


def judge(results: Results) -> list[Outcome]:
    """Every target of which all parts were measured."""
    return [
        outcome
        for build in results.builds()
        if not build.gil
        for application in results.applications(build)
        for server in results.servers(build, application)
        if server in SUBJECTS.values()
        for outcome in _of(results, build, application, server)
    ]


def _of(results: Results, build: Build, application: str, server: str) -> Iterator[Outcome]:
    threads = results.threads(build, application)
    measured = {number: results.rate(build, application, server, number) for number in threads}
    rates = {number: rate for number, rate in measured.items() if rate}

    def outcome(text: str, figure: float, limit: float, *, at_least: bool = True) -> Outcome:
        return Outcome(
            build=build,
            application=application,
            server=server,
            text=text,
            figure=figure,
            limit=limit,
            at_least=at_least,
        )

    if application in _SCALING and rates:
        if 1 in rates and 2 in rates:
            yield outcome("2 threads / 1 thread", rates[2] / rates[1], 1.5)
        for number, rate in rates.items():
            if number >= 4:
                yield outcome(f"{counted(number)} / the best number", rate / max(rates.values()), 0.95)
        if server == SUBJECTS["c"]:
            for number, rate in rates.items():
                peers = [results.rate(build, application, peer, number) or 0.0 for peer in PEERS]
                if best := max(peers):
                    yield outcome(f"{counted(number)} / the best peer", rate / best, 1.0)
    limit = results.several(build, application, limit=True)
    if application in _COMPUTING and limit is not None:
        for number, rate in rates.items():
            if number >= 2:
                yield outcome(f"{counted(number)} / two independent processes", rate / limit[1], 0.9)
    if application == _FAIR:
        for number in rates:
            row = Row(server=server, threads=number)
            p50 = results.median(build, application, row, lambda point: point.p50)
            p99 = results.median(build, application, row, lambda point: point.p99)
            if p50 and p99:
                yield outcome(f"{counted(number)}: p99 / p50", p99 / p50, 3.0, at_least=False)
