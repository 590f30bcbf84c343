"""What the project wants the figures to be, and whether they are: one list, beside which the report prints the result.

A target compares a figure of reserve, in one of its forms, with a limit: most figures are ratios to another server that
was measured in the same run. A target of which a part was not measured has no result.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from benchmarks.compare.results import Results, Sample
from benchmarks.compare.servers import FLOOR, SERVERS, SUBJECTS, THREADED

__all__ = ["TARGETS", "Outcome", "Target", "judge"]

Figure = Callable[[Results], float | None]
"""A number from the results, or None when a part of it was not measured."""
_NOISE = 1.05
"""Where a target says "no worse": two medians of the same thing differ by so much."""
_PEERS = tuple(name for name in SERVERS if name not in SUBJECTS.values() and not name.startswith("reserve-"))
_PYTHON_PEERS = tuple(name for name in _PEERS if name != FLOOR)


@dataclass(frozen=True, kw_only=True)
class Target:
    """One limit of one figure."""

    workload: str
    """The row of the report to which it belongs."""
    form: str
    """``pure`` or ``c``."""
    text: str
    figure: Figure
    limit: float
    at_least: bool = True
    """Whether the figure has to be at least or at most the limit."""
    placement: str = "pinned"


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """A target, and what was measured."""

    target: Target
    figure: float | None

    @property
    def met(self) -> bool | None:
        """None: it was not measured."""
        if self.figure is None:
            return None
        return self.figure >= self.target.limit if self.target.at_least else self.figure <= self.target.limit

    @property
    def word(self) -> str:
        return {True: "met", False: "missed", None: "not measured"}[self.met]


def judge(results: Results, forms: Iterable[str] = SUBJECTS) -> list[Outcome]:
    """Every target of these forms."""
    wanted = set(forms)
    return [Outcome(target=each, figure=each.figure(results)) for each in TARGETS if each.form in wanted]


# ---- figures ----
def rate(sample: Sample) -> float:
    """Requests a second."""
    return sample.load.rate


def user(sample: Sample) -> float:
    """Microseconds of processor time in user space, a request."""
    return sample.cpu(sample.user)


def p50(sample: Sample) -> float:
    return sample.load.latency.p50


def p99(sample: Sample) -> float:
    return sample.load.latency.p99


def p99_light(sample: Sample) -> float:
    """Of the requests that are not the second kind."""
    return sample.load.first.p99


def busy(sample: Sample) -> float:
    """Percent of one processor that the server used."""
    return 100 * (sample.user + sample.system) / sample.load.seconds


def growth(sample: Sample) -> float:
    """MiB that the load added to the server's memory at its highest."""
    return (sample.peak - sample.before) / 1024


def per_connection(sample: Sample) -> float | None:
    """KiB that the load added for each connection that is still open."""
    return (sample.memory - sample.before) / sample.load.open if sample.load.open else None


def of(workload: str, server: str, value: Callable[[Sample], float | None], placement: str = "pinned") -> Figure:
    """The median of a value."""

    def figure(results: Results) -> float | None:
        cell = results.find(workload, server, placement)
        return cell.median(value) if cell else None

    return figure


def best(
    workload: str, servers: Iterable[str], value: Callable[[Sample], float | None], choose: Callable[..., float] = max
) -> Figure:
    """The best median of several servers, of which at least one was measured."""
    figures = [of(workload, server, value) for server in servers]

    def figure(results: Results) -> float | None:
        found = [median for each in figures if (median := each(results)) is not None]
        return choose(found) if found else None

    return figure


def over(above: Figure, below: Figure) -> Figure:
    """The ratio of two figures."""

    def figure(results: Results) -> float | None:
        dividend, divisor = above(results), below(results)
        return dividend / divisor if dividend is not None and divisor else None

    return figure


# ---- targets ----
def _of_form(form: str) -> list[Target]:
    subject = SUBJECTS[form]
    found: list[Target] = []

    def want(
        workload: str, text: str, figure: Figure, limit: float, *, most: bool = False, placement: str = "pinned"
    ) -> None:
        kind = {"workload": workload, "form": form, "text": text, "placement": placement}
        found.append(Target(figure=figure, limit=limit, at_least=not most, **kind))

    def against(
        workload: str, other: str, limit: float, value: Callable[[Sample], float | None] = rate, *, most: bool = False
    ) -> None:
        text = f"{_NAMES[value]} / {other}"
        want(workload, text, over(of(workload, subject, value), of(workload, other, value)), limit, most=most)

    def ahead(workload: str, servers: Iterable[str], limit: float, what: str) -> None:
        figure = over(of(workload, subject, rate), best(workload, servers, rate))
        want(workload, f"requests a second / {what}", figure, limit)

    if form == "pure":
        for workload in ("hello", "browser"):
            against(workload, "granian", 1.0, user, most=True)
            against(workload, "cheroot", 8.0)
            against(workload, "granian", 1.0)
    else:
        against("hello", "bjoern", 1.0, user, most=True)
        against("browser", "bjoern", 0.7, user, most=True)
        for other in ("bjoern", "fastpysgi"):
            against("hello", other, 0.95)
            against("browser", other, 1.1)
    for workload in ("hello", "browser"):
        against(workload, "bjoern", 2.0, p99, most=True)
        log = over(of(f"{workload}-log", subject, rate), of(workload, subject, rate))
        want(f"{workload}-log", "requests a second / the same without a log", log, 0.85)
    for workload in ("connections-256", "connections-1", "connections-2000"):
        want(
            workload,
            "requests a second / with 32 connections",
            over(of(workload, subject, rate), of("hello", subject, rate)),
            0.85,
        )
    against("connections-1", "granian", _NOISE, p50, most=True)
    for workload in ("post", "response-64k", "generator", "pipelined", "new-connection"):
        ahead(workload, THREADED, 1.0, "the best threaded peer")
    against("new-connection", "cheroot", 2.5)
    for workload in ("sleep-5-20", "sleep-0.1-50", "sleep-all-10"):
        ahead(workload, _PYTHON_PEERS, 0.97, "the best peer")
    for workload in ("compute-2", "compute-2-20"):
        ahead(workload, [f"{subject}-1"], 0.95, "with one thread")
    light = over(of("compute-2-20", subject, p99_light), best("compute-2-20", THREADED, p99_light, min))
    want("compute-2-20", "p99 of the light requests / the best threaded peer", light, _NOISE, most=True)
    for workload in ("flask", "django"):
        ahead(workload, _PYTHON_PEERS, 1.0, "the best peer")
    for workload in ("file", "upload"):
        against(workload, FLOOR, 0.8)
        ahead(workload, THREADED, 1.0, "the best threaded peer")
        want(workload, "MiB that the transfer adds to the memory", of(workload, subject, growth), 16, most=True)
    want("idle-10000", "percent of a processor", of("idle-10000", subject, busy), 0.5, most=True)
    want("idle-10000", "KiB a connection", of("idle-10000", subject, per_connection), 3, most=True)
    want("idle-10000", "open connections", of("idle-10000", subject, lambda sample: sample.load.open), 10_000)
    for other in _PYTHON_PEERS:
        with_hog = over(of("hog", subject, rate), of("hog", other, rate))
        figure = over(with_hog, over(of("hello", subject, rate), of("hello", other, rate)))
        if other in ("cheroot", "granian", "bjoern", "fastpysgi"):
            want("hog", f"ratio to {other} / the same without the hog", figure, 1 / _NOISE)
    for workload in ("hello", "browser"):
        figure = over(of(workload, subject, rate, "unpinned"), of(workload, subject, rate))
        want(workload, "requests a second / pinned", figure, 0.85, placement="unpinned")
    return found


_NAMES: dict[object, str] = {
    rate: "requests a second",
    user: "user time a request",
    p50: "p50",
    p99: "p99",
}
TARGETS: list[Target] = [target for form in SUBJECTS for target in _of_form(form)]
"""In the order of the workloads, the pure form first."""
