"""The report: a Markdown page with a table for each workload, and everything as JSON."""

from __future__ import annotations

import math
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.compare.results import Cell, Results, Sample, Spread
from benchmarks.compare.servers import SERVERS
from benchmarks.compare.targets import Outcome, busy, p50, p99, p99_light, per_connection, rate
from benchmarks.compare.workloads import WORKLOADS, refusal
from benchmarks.instructions import Verdict

__all__ = ["About", "as_json", "markdown", "number", "table"]

_LIMIT = 0.9
"""From this share of its processor on, the load generator may have been what limits a server."""
_HEADER = (
    "server", "requests/s", "lowest-highest", "user us", "system us", "p50 ms", "p99 ms", "p99.9 ms", "max ms",
    "fairness", "MiB", "remarks",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class About:
    """What a reader has to know about a run."""

    date: str
    machine: str
    versions: Mapping[str, str]
    setting: str
    command: str
    absent: Mapping[str, str]
    """By server: why it was not measured."""


def markdown(
    results: Results,
    outcomes: Sequence[Outcome],
    about: About,
    charts: Mapping[str, str],
    instructions: Sequence[Verdict] = (),
) -> str:
    """The whole page.

    :param charts: by title: the names of the files.
    :param instructions: the instructions a request of reserve.
    """
    results_of_targets = [outcome.met for outcome in outcomes]
    results_of_targets += [verdict.met for verdict in instructions if verdict.target is not None]
    known = [met for met in results_of_targets if met is not None]
    versions = ", ".join(f"{name} {version}" for name, version in about.versions.items())
    parts = [
        "# reserve and other servers",
        f"{about.date}. {about.machine}. {versions}.",
        about.setting,
        f"`{about.command}`",
        _legend(),
        *(f"{name} was not measured: {why}." for name, why in about.absent.items()),
        *(f"![{title}]({path})" for title, path in charts.items()),
        "## Targets",
        f"{sum(known)} of {len(known)} targets are met; {len(results_of_targets) - len(known)} were not measured.",
        _targets(outcomes),
    ]
    if instructions:
        parts += ["## Instructions a request", _instructions(instructions)]
    for workload, placement in results.rows():
        parts += [f"## {WORKLOADS[workload].title}{'' if placement == 'pinned' else ', unpinned'}"]
        parts += [table(results.row(workload, placement))]
        if WORKLOADS[workload].remark:
            parts += [WORKLOADS[workload].remark]
        if refused := _refused(results, workload):
            parts += [f"Without {refused}."]
        beside = [each for each in outcomes if (each.target.workload, each.target.placement) == (workload, placement)]
        if beside:
            parts += ["\n".join(f"- {sentence(outcome)}" for outcome in beside)]
    parts += ["## Commands", _commands(results)]
    return "\n\n".join(parts) + "\n"


def table(cells: Iterable[Cell]) -> str:
    """One row for each server; the one with the most requests a second is first."""
    measured = sorted((cell for cell in cells), key=lambda cell: -(cell.median(rate) or 0))
    lines = [_line(_HEADER), _line(["---", *["---:"] * (len(_HEADER) - 2), "---"])]
    lines += [_line(_columns(cell)) for cell in measured]
    return "\n".join(lines)


def sentence(outcome: Outcome) -> str:
    """A target with its result."""
    target = outcome.target
    bound = f"{'>=' if target.at_least else '<='} {number(target.limit)}"
    figure = "" if outcome.figure is None else f"{number(outcome.figure)}, "
    return f"{target.form}: {target.text} {bound}: {figure}**{outcome.word}**"


def number(value: float | None) -> str:
    """Three digits that count, or all before the point; ``-`` for None."""
    if value is None:
        return "-"
    if value == 0:
        return "0"
    digits = max(0, 2 - math.floor(math.log10(abs(value))))
    return f"{value:,.{min(digits, 3)}f}"


def as_json(
    results: Results, outcomes: Sequence[Outcome], about: About, instructions: Sequence[Verdict] = ()
) -> dict[str, Any]:
    """Everything that was measured, with the targets."""
    return {
        "date": about.date,
        "machine": about.machine,
        "versions": dict(about.versions),
        "setting": about.setting,
        "command": about.command,
        "absent": dict(about.absent),
        "targets": [
            {
                "workload": outcome.target.workload,
                "placement": outcome.target.placement,
                "form": outcome.target.form,
                "text": outcome.target.text,
                "limit": outcome.target.limit,
                "at_least": outcome.target.at_least,
                "figure": outcome.figure,
                "result": outcome.word,
            }
            for outcome in outcomes
        ],
        "instructions": [
            {"form": verdict.form, "case": verdict.case, "counted": verdict.counted, "target": verdict.goal()}
            for verdict in instructions
        ],
        "cells": results.as_json(),
    }


def _columns(cell: Cell) -> list[str]:
    rates = cell.spread(rate)
    if rates is None:
        return [cell.server, *["-"] * (len(_HEADER) - 2), cell.note]
    worst = cell.spread(lambda sample: sample.load.latency.max)
    return [
        cell.server,
        number(rates.median),
        _range(rates),
        *(number(cell.median(value)) for value in (_user, _system, p50, p99, _p999)),
        number(worst.highest if worst else None),
        number(cell.median(lambda sample: sample.load.fairness)),
        number(cell.median(lambda sample: sample.memory / 1024)),
        "; ".join(_remarks(cell)),
    ]


def _remarks(cell: Cell) -> list[str]:
    workload = WORKLOADS[cell.workload]
    remarks = []
    if failures := cell.total(lambda sample: sample.load.failures):
        remarks.append(f"{failures:,} failures")
    if stalled := cell.total(lambda sample: sample.load.stalled):
        remarks.append(f"{stalled:,} connections without a response for a second")
    if not workload.fresh and (reconnects := cell.total(lambda sample: sample.load.reconnects)):
        remarks.append(f"closed {reconnects:,} connections")
    if workload.apart:
        remarks.append(f"p99 of the light ones {number(cell.median(p99_light))} ms")
    if workload.transfer:
        remarks.append(f"{number(cell.median(_mebibytes))} MiB/s")
        remarks.append(f"at most {number(cell.median(lambda sample: sample.peak / 1024))} MiB")
    if workload.active == 0:
        remarks.append(f"{number(cell.median(lambda sample: sample.load.open))} are open")
        remarks.append(f"{number(cell.median(per_connection))} KiB each, {number(cell.median(busy))} % of a processor")
    share = cell.median(lambda sample: sample.load.busy)
    if share is not None and share >= _LIMIT and not workload.transfer:
        remarks.append(f"the load generator was the limit ({share:.0%} of its processor)")
    return [*remarks, cell.note] if cell.note else remarks


def _mebibytes(sample: Sample) -> float:
    """MiB of a transfer in one second, in the direction of the content."""
    return sample.load.rate * sample.transferred / (1 << 20)


def _user(sample: Sample) -> float:
    return sample.cpu(sample.user)


def _system(sample: Sample) -> float:
    return sample.cpu(sample.system)


def _p999(sample: Sample) -> float:
    return sample.load.latency.p999


def _range(values: Spread) -> str:
    return f"{number(values.lowest)}-{number(values.highest)}"


def _targets(outcomes: Sequence[Outcome]) -> str:
    lines = [_line(["workload", "form", "figure", "target", "measured", "result"]), _line(["---"] * 6)]
    for outcome in outcomes:
        target = outcome.target
        title = WORKLOADS[target.workload].title + ("" if target.placement == "pinned" else ", unpinned")
        bound = f"{'>=' if target.at_least else '<='} {number(target.limit)}"
        lines.append(_line([title, target.form, target.text, bound, number(outcome.figure), outcome.word]))
    return "\n".join(lines)


def _refused(results: Results, workload: str) -> str:
    """The servers of the run that do not take part in a workload, with the reasons."""
    servers = dict.fromkeys(cell.server for row in results.rows() for cell in results.row(*row))
    reasons = {server: refusal(workload, server) for server in servers if not SERVERS[server].only}
    return ", ".join(f"{server} ({why})" for server, why in reasons.items() if why)


def _instructions(verdicts: Sequence[Verdict]) -> str:
    lines = [_line(["request", "form", "instructions", "target"]), _line(["---", "---", "---:", "---"])]
    lines += [_line([each.case, each.form, f"{each.counted:,d}", each.goal()]) for each in verdicts]
    return "\n".join(lines)


def _commands(results: Results) -> str:
    """The last command of each server in the first workload in which it took part."""
    commands: dict[str, list[str]] = {}
    for row in results.rows():
        for cell in results.row(*row):
            if cell.command:
                commands.setdefault(cell.server, cell.command)
    return "\n".join(f"- {name}: `{shlex.join(command)}`" for name, command in commands.items())


def _legend() -> str:
    return (
        "Figures are medians of the rounds; the highest latency is that of all rounds. *user* and *system* are the "
        "server's processor time for each request, in microseconds. *Fairness* is the number of responses on the "
        "connection with the fewest, divided by that of the one with the most. *MiB* is the resident memory of all "
        "processes of the server at the end. **reserve** is the pure form, **reserve-c** the one with its extension "
        "module, and **-1** has one thread. Access logs are off, except in the workloads that say otherwise."
    )


def _line(columns: Iterable[str]) -> str:
    return "| " + " | ".join(column.replace("|", "\\|") for column in columns) + " |"
