"""``python -m benchmarks.busy``: what is left of reserve's lead when another program uses the server's processor.

Each server hosts an application that waits never, now and then, often, or always; first alone on its processor, then
beside a program that computes there. wrk is on another processor. The servers alternate. The command prints medians,
thread switches and processor time for each request, and last the ratios to the other servers in both cases. Exit
codes: 0 measured, 1 measured but requests failed, 2 something that is needed is missing.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks import procfs
from benchmarks.load import wrk
from benchmarks.process import Unmeasurable, cores, free_port, pinned, responds, started_process
from benchmarks.servers import command, positive

__all__ = ["APPLICATIONS", "Round", "main", "report"]

APPLICATIONS = {
    "hello": "hello",
    "1 in 1000 waits 50 ms": "waits_rarely",
    "1 in 20 waits 20 ms": "waits_often",
    "all wait 10 ms": "waits_always",
}
"""What is printed, and the function in :mod:`benchmarks.apps`."""
CASES = ("alone", "busy")


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """One run of wrk."""

    rate: float
    """Requests a second."""
    switches: float
    """Thread switches of the server for each request, voluntary or not."""
    cpu: float
    """Microseconds of the server's processor time for each request."""
    failures: int


Runs = dict[tuple[str, str, str], list[Round]]
"""By application, case and server: the rounds."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print, and return the exit code."""
    options = _parser().parse_args(arguments)
    names = options.servers.split(",")
    try:
        server_core, wrk_core = cores()
        if server_core is None:
            raise Unmeasurable("a process cannot be bound to a processor here, or there is only one")
        for name in names:
            if importlib.util.find_spec(name) is None:
                raise Unmeasurable(f"{name} cannot be imported; pip install 'reserve[bench]' installs the servers")
        runs: Runs = {}
        for number in range(options.rounds):
            for application in APPLICATIONS:
                for case in CASES:
                    # Every other round has the opposite order, so that no server is always the first.
                    for name in names if number % 2 == 0 else reversed(names):
                        result = _measure(name, application, case, options, server_core, wrk_core)
                        runs.setdefault((application, case, name), []).append(result)
    except Unmeasurable as error:
        sys.stderr.write(f"benchmarks.busy: {error}\n")
        return 2
    print(report(runs))
    return 1 if any(result.failures for rounds in runs.values() for result in rounds) else 0


def report(runs: Runs) -> str:
    """A table of medians, and the ratios of the rates to those of the other servers."""
    lines = [f"{'':32}{'req/s':>8}{'switches':>10}{'us':>8}"]
    rates: dict[tuple[str, str, str], float] = {}
    for (application, case, name), rounds in runs.items():
        rates[application, case, name] = statistics.median(result.rate for result in rounds)
        if name == next(iter(runs))[2]:
            lines.append(f"{application}, {case}")
        failures = sum(result.failures for result in rounds)
        lines.append(
            f"  {name:30}{rates[application, case, name]:8.0f}"
            f"{statistics.median(result.switches for result in rounds):10.2f}"
            f"{statistics.median(result.cpu for result in rounds):8.0f}"
            + (f"  {failures} requests FAILED" if failures else "")
        )
    for name in dict.fromkeys(name for _, _, name in runs if name != "reserve"):
        for application in dict.fromkeys(application for application, _, _ in runs):
            ratios = [
                f"{case} {rates[application, case, 'reserve'] / rates[application, case, name]:.2f}"
                for case in CASES
                if rates.get((application, case, name)) and (application, case, "reserve") in rates
            ]
            lines.append(f"RATIO reserve/{name}, {application}: {', '.join(ratios)}")
    return "\n".join(lines)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.busy", description=__doc__.partition("\n\n")[0])
    parser.add_argument("--rounds", type=positive, default=3, help="how often each server is measured (3)")
    parser.add_argument("--seconds", type=positive, default=2, help="how long each time (2)")
    parser.add_argument("--threads", type=positive, default=16, help="worker threads of each server (16)")
    parser.add_argument("--connections", type=positive, default=32, help="keep-alive connections (32)")
    parser.add_argument("--servers", default="reserve,cheroot", help="which (reserve,cheroot)")
    return parser


@contextlib.contextmanager
def _computing(core: int, *, enabled: bool) -> Iterator[None]:
    """Run a program that computes on this processor while the ``with`` block runs."""
    if not enabled:
        yield
        return
    with pinned(core):
        process = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        yield
    finally:
        process.kill()
        process.wait()


def _measure(
    name: str, application: str, case: str, options: argparse.Namespace, server_core: int, wrk_core: int | None
) -> Round:
    port = free_port()
    url = f"http://127.0.0.1:{port}/"
    words = ["--no-access-log"] if name == "reserve" else []
    line = command(name, f"benchmarks.apps:{APPLICATIONS[application]}", options.threads, port, words)
    with (
        tempfile.TemporaryDirectory(prefix="benchmark-") as folder,
        started_process(name, line, lambda: responds(port), log=Path(folder, "stderr"), core=server_core) as pid,
        _computing(server_core, enabled=case == "busy"),
    ):
        wrk(url, seconds=1, connections=options.connections, core=wrk_core)  # warms the server up
        cpu, switches = procfs.usage(pid).cpu_seconds, procfs.switches(pid)
        figures = wrk(url, seconds=options.seconds, connections=options.connections, core=wrk_core)
        requests = max(1, figures.requests)
        return Round(
            rate=figures.requests_per_second,
            switches=(procfs.switches(pid) - switches) / requests,
            cpu=(procfs.usage(pid).cpu_seconds - cpu) / requests * 1e6,
            failures=figures.failures,
        )


if __name__ == "__main__":
    sys.exit(main())
