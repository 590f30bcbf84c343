"""``python -m benchmarks.threads``: requests a second by the number of threads and processes, with and without the GIL.

Builds an environment for each interpreter, measures the servers in turn, several rounds, and writes ``report.md``,
``report.json`` and charts into ``benchmarks/results/threads``, and from there the figures of
``reserve/docs/threads.md``. Exit codes: 0 measured, 1 something of reserve failed, 2 something that is needed is
missing.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import shlex
import shutil
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks import procfs
from benchmarks.compare import generator
from benchmarks.compare.environment import Environment, locked, prepare
from benchmarks.compare.measure import calibrate
from benchmarks.compare.progress import Progress, duration
from benchmarks.compare.report import About, number
from benchmarks.compare.servers import SERVERS, SUBJECTS, absent
from benchmarks.process import Unmeasurable
from benchmarks.servers import chosen, positive, raise_descriptors
from benchmarks.threads import page
from benchmarks.threads.advice import advise
from benchmarks.threads.curves import curves
from benchmarks.threads.measure import (
    MODULES,
    Plan,
    Served,
    build_of,
    import_error,
    measure,
    memory,
    module_of,
    served,
    switches_gil_on,
)  # fmt: skip
from benchmarks.threads.report import as_json, markdown, read_about
from benchmarks.threads.results import Build, Results
from benchmarks.threads.rows import APPLICATIONS, LIMIT, PEERS, Application, counted, rows
from benchmarks.threads.targets import judge
from benchmarks.tls_servers import make_certificates

__all__ = ["charts_of", "main"]

RESULTS = Path(__file__).resolve().parent.parent / "results" / "threads"
_NAMES = (*SUBJECTS.values(), *PEERS)
_START = 0.25
"""Seconds of a start of a server, about, where two start at a time."""
_AROUND = 0.1
"""Seconds around each measurement, about."""


@dataclass(frozen=True, kw_only=True)
class _Interpreter:
    build: Build
    environment: Environment
    servers: list[str]
    """Those that were chosen and run there."""
    applications: list[Application]
    """Likewise."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, write, and return the exit code."""
    options = _parser().parse_args(arguments)
    options.arguments = sys.argv[1:] if arguments is None else list(arguments)
    folder = Path(options.output)
    if options.report:
        document = json.loads((folder / "report.json").read_text("utf-8"))
        _write(folder, Results.from_json(document), read_about(document))
        return 0
    applications = [APPLICATIONS[name] for name in chosen("--apps", options.apps, APPLICATIONS)]
    names = chosen("--servers", options.servers, _NAMES)
    results = Results()
    missing: dict[str, str] = {}
    try:
        for tool in ("openssl", "wrk") if any(application.tls for application in applications) else ():
            if shutil.which(tool) is None:
                raise Unmeasurable(f"{tool} is not installed, which the measurement of TLS needs")
        with locked(), tempfile.TemporaryDirectory(prefix="benchmark-") as temporary:
            interpreters = [
                _prepared(python, names, applications, missing) for python in options.python or [sys.executable]
            ]
            raise_descriptors()
            _measure(options, interpreters, results, Path(temporary))
    except Unmeasurable as error:
        sys.stderr.write(f"benchmarks.threads: {error}\n")
        return 2
    _write(folder, results, _about(options, interpreters, missing))
    return 1 if results.failures([*SUBJECTS.values(), LIMIT]) else 0


def _prepared(
    python: str, names: Sequence[str], applications: Sequence[Application], missing: dict[str, str]
) -> _Interpreter:
    """Build the environment, and leave out what does not run in it, with the reasons."""
    path = shutil.which(python)
    if path is None:
        raise Unmeasurable(f"there is no interpreter {python}")
    sys.stderr.write(f"preparing the environment of {python}\n")
    needed = [SERVERS[name].distribution for name in names if name in PEERS]
    environment = prepare(interpreter=os.path.abspath(path), distributions=[*needed, "flask"])
    build = build_of(environment)
    reasons = {
        name: why for name in names if (why := absent(name, environment) or import_error(environment, MODULES[name]))
    }
    missing |= {f"{name} on {build.name}": why for name, why in reasons.items()}
    servers = [name for name in names if name not in reasons]
    unfit = {each.name: why for each in applications if (why := import_error(environment, module_of(each)))}
    missing |= {f"{name} on {build.name}": why for name, why in unfit.items()}
    return _Interpreter(
        build=build,
        environment=environment,
        servers=servers,
        applications=[each for each in applications if each.name not in unfit],
    )


def _measure(
    options: argparse.Namespace,
    interpreters: Sequence[_Interpreter],
    results: Results,
    folder: Path,
) -> None:
    make_certificates(folder)
    program = generator.build(folder)
    planned = [
        (each, application, rows(application, each.servers, options.threads))
        for each in interpreters
        for application in each.applications
    ]
    total = options.rounds * sum(len(found) for _, _, found in planned)
    sys.stderr.write(f"{total} measurements, about {duration(_estimate(options, interpreters, planned))}\n")
    progress = Progress(total)

    def note(sentence: str) -> None:
        if sentence not in results.notes:
            results.notes.append(sentence)
            progress.note(sentence)

    plans = {
        each.build: Plan(
            environment=each.environment,
            generator=program,
            seconds=options.seconds,
            warmup=min(options.seconds / 2, 0.15),
            connections=options.connections,
            steps=calibrate(each.environment),
            certificate=folder / "p256.pem",
        )
        for each in interpreters
    }
    for each, application, found in planned:
        for server in each.servers:
            if not each.build.gil and switches_gil_on(each.environment, server, application):
                note(f"{each.build.name}: {server} with {application.name} switches the GIL on")
        with served(application, found, plans[each.build], folder, note) as running:
            for round_number in range(options.rounds):
                # Every other round has the opposite order, so that no server is always the first.
                for one in running if round_number % 2 == 0 else reversed(running):
                    progress.step(f"{each.build.name}, {application.name}, {one.row.server}, {one.row.threads}")
                    _add(results, each.build, one, application, plans[each.build], note)
                    progress.advance()
    for each in interpreters:
        found_memory = results.memory.setdefault(each.build, [])
        for server in each.servers:
            try:
                found_memory.append(memory(server, APPLICATIONS["wait-10"], plans[each.build], folder))
            except Unmeasurable as error:
                note(f"the memory of {server}, {each.build.name}: {' '.join(str(error).split())}")
    progress.close()


def _add(
    results: Results, build: Build, one: Served, application: Application, plan: Plan, note: Callable[[str], None]
) -> None:
    try:
        results.add(build, application.name, one.row, measure(one, application, plan))
    except Unmeasurable as error:
        what = f"{one.row.server} with {counted(one.row.threads)}, {application.name}"
        note(f"{build.name}: {what}: {' '.join(str(error).split())[:300]}")


def _estimate(
    options: argparse.Namespace,
    interpreters: Sequence[_Interpreter],
    planned: Sequence[tuple[_Interpreter, Application, Sequence[object]]],
) -> float:
    """Seconds."""
    seconds = 0.0
    for _, application, found in planned:
        each = max(options.seconds, application.shortest) + min(options.seconds / 2, 0.15)
        if application.tls:
            each = max(1, round(options.seconds))
        seconds += len(found) * (options.rounds * (each + _AROUND) + _START)
    return seconds + sum(len(each.servers) for each in interpreters) * 2 * (_START + 0.3)


def charts_of(results: Results) -> dict[str, str]:
    """By title: the names of the files."""
    return {build.name: f"{build.slug}.svg" for build in results.builds()}


def _write(folder: Path, results: Results, about: About) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    charts = charts_of(results)
    for build in results.builds():
        (folder / charts[build.name]).write_text(curves(results, build), "utf-8")
    (folder / "report.md").write_text(markdown(results, about, charts), "utf-8")
    (folder / "report.json").write_text(json.dumps(as_json(results, about), indent=1) + "\n", "utf-8")
    if folder.resolve() == RESULTS:
        page.PAGE.write_text(page.filled(page.PAGE.read_text("utf-8"), results, about, charts), "utf-8")
    _print(results, charts, folder)


def _print(results: Results, charts: Mapping[str, str], folder: Path) -> None:
    for advice in advise(results):
        print(f"{advice.build.name}, {advice.application}: {number(advice.best)}/s at best, {advice.choice}")
    for outcome in judge(results):
        what = f"{outcome.server}, {outcome.application}: {outcome.text}"
        print(f"{outcome.word:7}{what} {outcome.figure:.2f} ({outcome.bound})")
    print(f"written: {folder}/report.md, report.json and {len(charts)} charts")


def _about(options: argparse.Namespace, interpreters: Sequence[_Interpreter], missing: Mapping[str, str]) -> About:
    versions = {"Linux": platform.release()}
    for name in ("reserve", *PEERS, "flask"):
        found = [each.environment.versions[name] for each in interpreters if name in each.environment.versions]
        if found:
            versions[name] = " and ".join(dict.fromkeys(found))
    return About(
        date=datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC"),
        machine=f"{procfs.processor()}, {os.cpu_count()} processors, load {os.getloadavg()[0]:.1f} at the end",
        versions={"Python": " and ".join(each.build.version for each in interpreters)} | versions,
        setting=(
            f"Rounds: {options.rounds}, of {number(options.seconds)} s (10 ms of Python: at least "
            f"{number(APPLICATIONS['compute-10'].shortest)} s; TLS: whole seconds), {options.connections} connections "
            "that are kept. Nothing is pinned to a processor. The load of HTTP is benchmarks/compare/generator.c, and "
            "that of TLS is wrk."
        ),
        command=shlex.join(["python", "-m", "benchmarks.threads", *_without_folders(options.arguments)]),
        absent=dict(missing),
    )


def _without_folders(words: Sequence[str]) -> list[str]:
    """The folders are those of this machine, and say nothing to others."""
    return [Path(word).name if word.startswith("/") else word for word in words]


def _numbers(text: str) -> list[int]:
    """The value of ``--threads``: whole numbers from 1, sorted."""
    return sorted({positive(word) for word in text.split(",")})


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.threads", description=__doc__.partition("\n\n")[0])
    parser.add_argument(
        "--python", action="extend", nargs="+", metavar="PATH", help="the interpreters [the one that runs this]"
    )
    parser.add_argument("--threads", type=_numbers, default=[1, 2, 4, 8, 16], help="[1,2,4,8,16]")
    parser.add_argument("--rounds", type=positive, default=3, help="how often each is measured [3]")
    parser.add_argument("--seconds", type=float, default=0.3, help="how long each time [0.3]")
    parser.add_argument("--connections", type=positive, default=32, help="that are kept [32]")
    parser.add_argument("--apps", default="", help=f"by default all: {','.join(APPLICATIONS)}")
    parser.add_argument("--servers", default="", help=f"by default all: {','.join(_NAMES)}")
    parser.add_argument("--output", default=str(RESULTS), help="the folder of the report [benchmarks/results/threads]")
    parser.add_argument(
        "--report", action="store_true", help="measure nothing: write everything again from report.json"
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
