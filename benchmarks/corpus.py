"""Run a black-box corpus of HTTP/1.1 cases against reserve and other servers, and print one table.

``python -m benchmarks.corpus FOLDER [--servers reserve,cheroot] [--scale 2] [--json DIR] [--markdown FILE]``

FOLDER holds ``echo_app.py`` (the application that every server hosts), ``corpus.py`` (the runner) and its cases. The
servers run one at a time, each in a process of its own, on 127.0.0.1. Exit code 0: every server was measured; 1: some
server could not be measured, and the table says which.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.process import StartError
from benchmarks.servers import SERVERS, chosen, started, version_of

APP = "echo_app:app"
TITLES = {"gunicorn": "gunicorn (gthread)", "granian": "granian (WSGI)"}
SEVERITIES = ("smuggling", "must", "should")
VERDICTS = ("pass", "lenient", "fail")
_RUN_TIMEOUT = 900.0
"""Seconds that one run of the corpus may take."""


@dataclass(frozen=True)
class Score:
    """The result of one server; ``problem`` says why there is none."""

    server: str
    version: str
    counts: Mapping[tuple[str, str], int]
    """Cases by severity and verdict."""
    executed: int
    """Cases in which content was executed as a request."""
    problem: str = ""

    def cell(self, severity: str) -> str:
        """``pass / lenient / fail`` of one severity."""
        return " / ".join(str(self.counts.get((severity, verdict), 0)) for verdict in VERDICTS)

    @property
    def total(self) -> str:
        """``pass / lenient / fail`` of all cases."""
        return " / ".join(
            str(sum(count for (_, other), count in self.counts.items() if other == verdict)) for verdict in VERDICTS
        )


def score(server: str, version: str, results: Iterable[Mapping[str, Any]]) -> Score:
    """Count the results of one run, as the runner writes them with ``--json``."""
    results = list(results)
    counts = Counter((result["severity"], result["verdict"]) for result in results)
    return Score(server, version, counts, sum(bool(result.get("executed")) for result in results))


def measure(server: str, folder: Path, report: Path, *, threads: int, scale: float) -> Score:
    """Start the server, run the whole corpus against it, and count the results.

    :param report: the file into which the runner writes every verdict.
    :param scale: the factor for the time limits of the cases.
    """
    runner = [sys.executable, str(folder / "corpus.py")]
    version = version_of(server)
    try:
        with started(server, APP, threads=threads) as running:
            host, port = running.address
            command = [*runner, host, str(port), "--json", str(report), "--name", server, "--scale", str(scale)]
            run = subprocess.run(command, capture_output=True, text=True, timeout=_RUN_TIMEOUT, check=False)
    except (StartError, subprocess.TimeoutExpired) as error:
        return Score(server, version, {}, 0, str(error))
    # Exit code 1 says that cases failed; without a report there is nothing to count.
    if run.returncode not in (0, 1) or not report.exists():
        output = (run.stderr or run.stdout).strip()[-300:]
        return Score(server, version, {}, 0, f"the runner ended with exit code {run.returncode}: {output}")
    return score(server, version, json.loads(report.read_text("utf-8"))["results"])


def table(scores: Sequence[Score]) -> str:
    """The scores as a Markdown table; each cell is pass / lenient / fail."""
    headings = ["server", "version", *SEVERITIES, "all", "content executed"]
    lines = ["| " + " | ".join(headings) + " |", "|" + "---|" * len(headings)]
    for row in scores:
        name = TITLES.get(row.server, row.server)
        cells = [row.cell(severity) for severity in SEVERITIES] + [row.total, str(row.executed)]
        if row.problem:
            cells = ["not measured: " + " ".join(row.problem.split())] + [""] * (len(cells) - 1)
        lines.append("| " + " | ".join([name, row.version, *cells]) + " |")
    return "\n".join(lines) + "\n"


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print, and return the exit code."""
    options = _parsed(arguments)
    folder = Path(options.folder).resolve()
    for name in ("echo_app.py", "corpus.py"):
        if not (folder / name).is_file():
            raise SystemExit(f"{folder} has no {name}; a corpus has its application and its runner next to its cases")
    names = chosen("--servers", options.servers, SERVERS)
    # The servers import the application by its name.
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(folder), os.environ.get("PYTHONPATH", "")]))
    scores = []
    with tempfile.TemporaryDirectory(prefix="corpus-") as temporary:
        reports = Path(options.json or temporary)
        reports.mkdir(parents=True, exist_ok=True)
        for name in names:
            report = reports / f"{name}.json"
            report.unlink(missing_ok=True)
            scores.append(measure(name, folder, report, threads=options.threads, scale=options.scale))
            print(f"{name:9} {scores[-1].problem or scores[-1].total}", file=sys.stderr, flush=True)
    text = f"Python {platform.python_version()}; each cell is {' / '.join(VERDICTS)}\n\n{table(scores)}"
    print(text, end="")
    if options.markdown:
        Path(options.markdown).write_text(text, "utf-8")
    return 1 if any(row.problem for row in scores) else 0


def _parsed(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.corpus", description=__doc__.partition("\n")[0])
    parser.add_argument("folder", metavar="FOLDER", help="has echo_app.py, corpus.py and the cases")
    parser.add_argument("--servers", default="", help=f"by default all: {','.join(SERVERS)}")
    parser.add_argument("--threads", type=int, default=10, help="threads of each server [10]")
    parser.add_argument("--scale", type=float, default=1.0, help="multiply the time limits of the cases [1]")
    parser.add_argument("--json", metavar="DIR", help="keep every verdict, one file for each server")
    parser.add_argument("--markdown", metavar="FILE", help="write the table")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
