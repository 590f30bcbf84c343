"""The report of a run: a Markdown page with a table for each build and application, and everything as JSON."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from benchmarks.compare.report import About, number
from benchmarks.threads.advice import Advice, advise
from benchmarks.threads.results import Build, Point, Results
from benchmarks.threads.rows import APPLICATIONS, LIMIT, Row, counted
from benchmarks.threads.targets import Outcome, judge

__all__ = ["advice_table", "as_json", "markdown", "memory_table", "read_about"]


def markdown(results: Results, about: About, charts: Mapping[str, str]) -> str:
    """The whole page.

    :param charts: by title: the names of the files.
    """
    outcomes = judge(results)
    versions = ", ".join(f"{name} {version}" for name, version in about.versions.items())
    parts = [
        "# Threads and processes",
        f"{about.date}. {about.machine}. {versions}.",
        about.setting,
        f"`{about.command}`",
        _LEGEND,
        _quiet(results),
        *(f"{name} was not measured: {why}." for name, why in about.absent.items()),
        *(f"- {note}" for note in results.notes),
        *(f"![{title}]({path})" for title, path in charts.items()),
        "## What to take",
        advice_table(advise(results)),
        "## Memory of a thread",
        memory_table(results),
    ]
    if outcomes:
        parts += ["## Targets", f"{sum(each.met for each in outcomes)} of {len(outcomes)} are met.", _targets(outcomes)]
    for build in results.builds():
        for application in results.applications(build):
            parts += [f"## {APPLICATIONS[application].title}: {build.name}", _rates(results, build, application)]
            parts += ["p50 / p99 in milliseconds:", _latencies(results, build, application)]
            parts += [
                "Processors that the server used / the load generator used:",
                _shares(results, build, application),
            ]
    return "\n\n".join(parts) + "\n"


def advice_table(found: Sequence[Advice]) -> str:
    """What a user should take."""
    several = next((each.several for each in found if each.several), None)
    heading = f"{several.processes} processes of {counted(several.threads)}" if several else "several processes"
    lines = [
        _line(["build", "a request", "best of one process", "with threads", heading, "take"]),
        _line(["---", "---", "---:", "---", "---:", "---"]),
    ]
    for each in found:
        kind = APPLICATIONS[each.application].kind
        gain = "-" if each.gain is None else f"{each.gain:.2f} of that"
        good = ", ".join(str(threads) for threads in each.good)
        lines.append(_line([each.build.name, kind, f"{number(each.best)}/s", good, gain, each.choice]))
    return "\n".join(lines)


def memory_table(results: Results) -> str:
    """KiB for each thread."""
    lines = [
        _line(["build", "server", "KiB a thread, idle", "KiB a thread, after a request"]),
        _line(["---", "---", "---:", "---:"]),
    ]
    for build, found in results.memory.items():
        lines += [_line([build.name, each.server, number(each.idle), number(each.used)]) for each in found]
    return "\n".join(lines)


def as_json(results: Results, about: About) -> dict[str, Any]:
    """Everything that was measured, with the targets."""
    targets = [
        {
            "build": outcome.build.name,
            "application": outcome.application,
            "server": outcome.server,
            "text": outcome.text,
            "figure": outcome.figure,
            "target": outcome.bound,
            "result": outcome.word,
        }
        for outcome in judge(results)
    ]
    return {"about": asdict(about), "targets": targets, **results.as_json()}


def read_about(document: Mapping[str, Any]) -> About:
    """What :func:`as_json` wrote about the run."""
    return About(**document["about"])


def _quiet(results: Results) -> str:
    """Whether the machine did something else as well, which makes figures of different rows incomparable."""
    median, highest = results.others()
    what = "the median of all measurements"
    return f"Other programs used {number(median)} processors ({what}), and {number(highest)} at most."


def _rates(results: Results, build: Build, application: str) -> str:
    def text(row: Row) -> str:
        return number(results.median(build, application, row, lambda point: point.rate))

    lines = [_table(results, build, application, text)]
    for limit in (False, True):
        if several := results.several(build, application, limit=limit):
            row, rate = several
            name = LIMIT.capitalize() if limit else f"{row.server} with {row.processes} processes"
            lines.append(
                f"{name} of {counted(row.threads)}{', independent' if limit else ''}: {number(rate)} requests/s."
            )
    return "\n\n".join(lines)


def _latencies(results: Results, build: Build, application: str) -> str:
    return _pairs(results, build, application, lambda point: point.p50, lambda point: point.p99)


def _shares(results: Results, build: Build, application: str) -> str:
    return _pairs(results, build, application, lambda point: point.server, lambda point: point.load)


def _pairs(
    results: Results,
    build: Build,
    application: str,
    first: Callable[[Point], float],
    second: Callable[[Point], float],
) -> str:
    def text(row: Row) -> str:
        values = [results.median(build, application, row, value) for value in (first, second)]
        return " / ".join(number(value) for value in values) if None not in values else "-"

    return _table(results, build, application, text)


def _table(results: Results, build: Build, application: str, text: Callable[[Row], str]) -> str:
    """A row for each server, and a column for each number of threads."""
    threads = results.threads(build, application)
    lines = [_line(["server", *(counted(each) for each in threads)])]
    lines.append(_line(["---", *["---:"] * len(threads)]))
    for server in results.servers(build, application):
        lines.append(_line([server, *(text(Row(server=server, threads=each)) for each in threads)]))
    return "\n".join(lines)


def _targets(outcomes: Sequence[Outcome]) -> str:
    lines = [_line(["build", "a request", "server", "figure", "target", "measured", "result"]), _line(["---"] * 7)]
    for each in outcomes:
        kind = APPLICATIONS[each.application].title
        columns = [each.build.name, kind, each.server, each.text, each.bound, f"{each.figure:.2f}", each.word]
        lines.append(_line(columns))
    return "\n".join(lines)


_LEGEND = (
    "Figures are medians of the rounds. Servers and load are on the same processors, wherever the system puts them, so "
    "that the load takes a part of them; both load generators are written in C and have one thread. **reserve** is the "
    "pure form, **reserve-c** the one with its extension modules. *Two processes* are two independent servers of that "
    "form, which have half of the connections each, at the same time: what the machine can do."
)


def _line(columns: Sequence[str]) -> str:
    return "| " + " | ".join(column.replace("|", "\\|") for column in columns) + " |"
