"""``python -m benchmarks.compare``: measure reserve and other servers in every workload, and write a report.

Builds an environment with the servers, measures them in turn, several rounds, and writes ``report.md``, ``report.json``
and charts into ``benchmarks/results``. ``--quick`` takes a few minutes. Exit codes: 0 measured, 1 something of reserve
failed, 2 something that is needed is missing.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from benchmarks import procfs
from benchmarks.compare import generator
from benchmarks.compare.environment import DISTRIBUTIONS, Environment, locked, prepare
from benchmarks.compare.measure import Plan, calibrate, measure
from benchmarks.compare.pictures import pictures
from benchmarks.compare.progress import Progress, duration
from benchmarks.compare.report import About, as_json, markdown, number
from benchmarks.compare.results import Results
from benchmarks.compare.servers import SERVERS, SUBJECTS, absent
from benchmarks.compare.targets import Outcome, judge, rate
from benchmarks.compare.workloads import PLACEMENTS, WORKLOADS, refusal
from benchmarks.instructions import Verdict, build, count, judged, missing_tools, read_baseline
from benchmarks.process import Unmeasurable, cores
from benchmarks.runtime import installed
from benchmarks.servers import chosen, positive, raise_descriptors

__all__ = ["main", "order"]

RESULTS = Path(__file__).resolve().parent.parent / "results"
_UNPINNED = ("hello", "browser")
"""The workloads that a quick run also measures unpinned."""
_START = 1.2
"""Seconds that a start of a server takes, about."""

Step = tuple[str, str, str]
"""A workload, a placement and a server."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, write, and return the exit code."""
    options = _parser().parse_args(arguments)
    options.arguments = sys.argv[1:] if arguments is None else list(arguments)
    workloads = chosen("--workloads", options.workloads, WORKLOADS)
    servers = chosen("--servers", options.servers, SERVERS)
    placements = chosen("--placements", options.placements, PLACEMENTS)
    unpinned = chosen("--unpinned", options.unpinned or (",".join(_UNPINNED) if options.quick else ""), WORKLOADS)
    try:
        if cores()[0] is None and "pinned" in placements:
            raise Unmeasurable("only one processor can be used, so that a server and its load cannot be apart")
        with locked():
            sys.stderr.write("preparing the environment of the servers\n")
            environment = prepare()
            missing = {name: why for name in servers if (why := absent(name, environment))}
            servers = [name for name in servers if name not in missing]
            steps = order(workloads, placements, servers, unpinned)
            rounds = options.rounds or (1 if options.quick else 5)
            forms = [form for form, name in SUBJECTS.items() if name in servers]
            counted = _instructions(forms, environment) if options.instructions else []
            results = _measure(options, environment, steps, rounds)
    except Unmeasurable as error:
        sys.stderr.write(f"benchmarks.compare: {error}\n")
        return 2
    about = _about(options, environment, missing, rounds)
    if options.keep:
        stored = json.loads((Path(options.output) / "report.json").read_text("utf-8"))
        kept = results.keep(stored["cells"], list(WORKLOADS))
        earlier = f" As measured before, on {stored['date']}: {', '.join(kept)} ({stored['setting']})"
        about = replace(about, setting=about.setting + earlier)
    outcomes = judge(results, forms)
    _write(options, results, outcomes, about, counted)
    return 1 if _failed(results) else 0


def order(
    workloads: Sequence[str], placements: Sequence[str], servers: Sequence[str], unpinned: Sequence[str]
) -> list[Step]:
    """What one round measures: the servers take turns in each workload.

    :param unpinned: the workloads that are measured unpinned as well.
    """
    return [
        (workload, placement, server)
        for workload in workloads
        for placement in placements
        for server in servers
        if not refusal(workload, server) and (placement != "unpinned" or workload in unpinned)
    ]


def _measure(options: argparse.Namespace, environment: Environment, steps: Sequence[Step], rounds: int) -> Results:
    results = Results()
    seconds = options.seconds or (0.5 if options.quick else 3.0)
    with tempfile.TemporaryDirectory(prefix="benchmark-") as folder:
        plan = Plan(
            environment=environment,
            generator=generator.build(Path(folder)),
            seconds=seconds,
            warmup=min(seconds / 2, 1.0),
            scale=options.scale or (0.1 if options.quick else 1.0),
            steps=calibrate(environment),
        )
        raise_descriptors()
        total = len(steps) * rounds
        each = sum(max(seconds, WORKLOADS[step[0]].shortest) + plan.warmup + _START for step in steps)
        sys.stderr.write(f"{total} measurements, about {duration(each * rounds)}\n")
        progress = Progress(total)
        for number in range(rounds):
            # Every other round has the opposite order, so that no server is always the first.
            for workload, placement, server in steps if number % 2 == 0 else reversed(steps):
                progress.step(f"round {number + 1} of {rounds}, {workload}, {placement}, {server}")
                cell = results.cell(workload, placement, server)
                before = cell.note
                measure(cell, WORKLOADS[workload], plan)
                progress.advance()
                if cell.note != before:
                    progress.note(f"{workload}, {placement}, {server}: {cell.note}")
        progress.close()
    return results


def _instructions(forms: Sequence[str], environment: Environment) -> list[Verdict]:
    """The instructions a request of each form of the installed reserve; none without valgrind."""
    if absent_tools := missing_tools():
        sys.stderr.write(f"no instructions are counted: {' and '.join(absent_tools)} not installed\n")
        return []
    sys.stderr.write("counting instructions, about a minute for each form\n")
    stored = read_baseline().get(build(), {})
    runtime = installed(str(environment.python))
    return [verdict for form in forms for verdict in judged(form, count(form, runtime=runtime), stored.get(form, {}))]


def _write(
    options: argparse.Namespace,
    results: Results,
    outcomes: Sequence[Outcome],
    about: About,
    counted: Sequence[Verdict],
) -> None:
    folder = Path(options.output)
    folder.mkdir(parents=True, exist_ok=True)
    charts = {}
    for name, (title, document) in pictures(results).items():
        (folder / f"{name}.svg").write_text(document, "utf-8")
        charts[title] = f"{name}.svg"
    (folder / "report.md").write_text(markdown(results, outcomes, about, charts, counted), "utf-8")
    (folder / "report.json").write_text(
        json.dumps(as_json(results, outcomes, about, counted), indent=1) + "\n", "utf-8"
    )
    for workload, placement in results.rows():
        cells = sorted(results.row(workload, placement), key=lambda cell: -(cell.median(rate) or 0))
        rates = ", ".join(f"{cell.server} {number(cell.median(rate))}" for cell in cells)
        print(f"{workload} ({placement}), requests/s: {rates}")
    for verdict in counted:
        print(f"{verdict.form:5}{verdict.case}: instructions, {verdict.goal()}")
    for outcome in outcomes:
        if outcome.met is not None:
            target = outcome.target
            bound = f"{'>=' if target.at_least else '<='} {number(target.limit)}"
            print(f"{outcome.word:7}{target.form:5}{target.workload}: {target.text} {number(outcome.figure)} ({bound})")
    print(f"written: {folder}/report.md, report.json and {len(charts)} charts")


def _about(options: argparse.Namespace, environment: Environment, missing: dict[str, str], rounds: int) -> About:
    server_core, load_core = cores()
    names = ("reserve", *DISTRIBUTIONS)
    versions = {"Python": platform.python_version(), "Linux": platform.release()}
    versions |= {name: environment.versions[name] for name in names if name in environment.versions}
    if environment.nginx:
        done = subprocess.run([environment.nginx, "-v"], capture_output=True, text=True, timeout=60)
        versions["nginx"] = done.stderr.strip().rpartition("/")[2]
    seconds = options.seconds or (0.5 if options.quick else 3.0)
    scale = options.scale or (0.1 if options.quick else 1.0)
    return About(
        date=datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC"),
        machine=f"{procfs.processor()}, {os.cpu_count()} processors, load {os.getloadavg()[0]:.1f} at the end",
        versions=versions,
        setting=(
            f"{rounds} rounds of {number(seconds)} s, a new server for each. Pinned: the server is on processor "
            f"{server_core}, and the load on {load_core}. Transfers have {number(scale * 1000)} MB."
        ),
        command=shlex.join(["python", "-m", "benchmarks.compare", *(options.arguments or [])]),
        absent=missing,
    )


def _failed(results: Results) -> bool:
    """Whether requests to reserve failed, or it could not be measured."""
    cells = [cell for row in results.rows() for cell in results.row(*row) if cell.server in SUBJECTS.values()]
    return any(cell.note or cell.total(lambda sample: sample.load.failures) for cell in cells)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.compare", description=__doc__.partition("\n\n")[0])
    parser.add_argument("--workloads", default="", help=f"by default all: {','.join(WORKLOADS)}")
    parser.add_argument("--servers", default="", help=f"by default all: {','.join(SERVERS)}")
    parser.add_argument("--placements", default="", help=f"by default both: {','.join(PLACEMENTS)}")
    parser.add_argument(
        "--unpinned",
        default="",
        help=f"the workloads that are measured unpinned, too [all; quick: {','.join(_UNPINNED)}]",
    )
    parser.add_argument("--rounds", type=positive, default=0, help="how often each is measured [5; quick: 1]")
    parser.add_argument("--seconds", type=float, default=0.0, help="how long each time [3; quick: 0.5]")
    parser.add_argument("--scale", type=float, default=0.0, help="gigabytes of a transfer [1; quick: 0.1]")
    parser.add_argument("--quick", action="store_true", help="one short round: whether everything works")
    parser.add_argument(
        "--no-instructions", action="store_false", dest="instructions", help="do not count instructions with valgrind"
    )
    parser.add_argument(
        "--keep", action="store_true", help="keep the rows of the stored report that are not measured now"
    )
    parser.add_argument("--output", default=str(RESULTS), help="the folder of the report [benchmarks/results]")
    return parser


if __name__ == "__main__":
    sys.exit(main())
