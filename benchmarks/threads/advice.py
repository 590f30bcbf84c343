"""What a user should take, by build and application: how many threads, and whether a second process helps."""

from __future__ import annotations

from dataclasses import dataclass

from benchmarks.threads.results import Build, Results
from benchmarks.threads.rows import APPLICATIONS, Row, counted, first_form

__all__ = ["Advice", "advise"]

_CLOSE = 0.95
"""Numbers of threads whose rate is at least this part of the best one are as good."""
_WORTH = 1.1
"""Two processes, which need twice the memory of the application, are worth it from this gain on."""


@dataclass(frozen=True, kw_only=True)
class Advice:
    """One row of the table."""

    build: Build
    application: str
    good: list[int]
    """The numbers of threads of one process that are as good as the best."""
    enough: int | None
    """From this number on every one is as good as the best; None: more threads than the best number are slower."""
    best: float
    """Requests a second of the best number."""
    several: Row | None
    """Several processes, if they were measured."""
    gain: float | None
    """Their requests a second, divided by the best of one process."""

    @property
    def choice(self) -> str:
        """What to take, in words."""
        if APPLICATIONS[self.application].waits:
            return "as many threads as requests wait at the same time"
        if self.several is not None and self.gain is not None and self.gain >= _WORTH:
            return "a process for each processor (`--processes auto`)"
        if self.enough is None:
            return f"one process, {counted(self.good[0])}"
        return "one process, " + ("any number of threads" if self.enough == 1 else f"{self.enough} threads or more")


def advise(results: Results) -> list[Advice]:
    """A row for each build and application of which reserve was measured."""
    found = []
    for build in results.builds():
        for application in results.applications(build):
            server = first_form(results.servers(build, application))
            if server is None:
                continue
            measured = {
                number: results.rate(build, application, server, number)
                for number in results.threads(build, application)
            }
            rates = {number: rate for number, rate in measured.items() if rate}
            if not rates:
                continue
            best = max(rates.values())
            several = results.several(build, application)
            found.append(
                Advice(
                    build=build,
                    application=application,
                    good=[number for number, rate in rates.items() if rate >= _CLOSE * best],
                    enough=_enough(rates),
                    best=best,
                    several=several[0] if several else None,
                    gain=several[1] / best if several else None,
                )
            )
    return found


def _enough(rates: dict[int, float]) -> int | None:
    """The smallest number of threads from which every larger one is as good as the best."""
    enough = None
    for number in sorted(rates, reverse=True):
        if rates[number] < _CLOSE * max(rates.values()):
            break
        enough = number
    return enough
