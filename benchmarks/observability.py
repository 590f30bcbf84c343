"""``python -m benchmarks.observability``: what the access log, request IDs and the metrics cost a hello application.

One server of reserve for each setting runs during the whole measurement, each in a process of its own, all on one
processor; wrk, on another, sends requests to one after another. Every other round has the opposite order. The metrics
are counted in every setting, because nothing switches that off; in those whose names say so they are also read, once
a second. The command prints medians of requests a second and of the server's processor time for each request,
and their ratios to a server without a log. Exit codes: 0 measured, 1 measured but requests failed, 2 something that is
needed is missing.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import os
import platform
import shutil
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import reserve
from benchmarks import procfs
from benchmarks.load import Figures, wrk
from benchmarks.process import HOST, Unmeasurable, cores, free_port, responds, started_process
from benchmarks.servers import command, positive

__all__ = ["SETTINGS", "Sample", "main", "report", "scraping"]

METRICS = "/metrics"
INTERVAL = 1.0
"""Seconds between two responses with metrics: more often than Prometheus as a rule, and often enough to be measured."""
_LOG = ("--access-log-file", os.devnull)
_ALL = (*_LOG, "--request-id", "response", "--metrics-path", METRICS)
SETTINGS: dict[str, tuple[str, ...]] = {
    "nothing": ("--no-access-log",),
    "metrics read": ("--no-access-log", "--metrics-path", METRICS),
    "access log": _LOG,
    "access log, JSON": (*_LOG, "--access-log-format", "json"),
    "log, ID, metrics": _ALL,
    "JSON, ID, metrics": (*_ALL, "--access-log-format", "json"),
}
"""By name: the options of the server. The others are compared with the first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One measurement of a setting."""

    figures: Figures
    server: float
    """Microseconds of the server's processor time for each request."""


Runs = Mapping[str, Sequence[Sample]]
"""By setting: one sample for each round."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print, and return the exit code."""
    options = _parser().parse_args(arguments)
    try:
        if shutil.which("wrk") is None:
            raise Unmeasurable("wrk is not installed; on Debian: apt-get install wrk")
        server_core, wrk_core = cores()
        print(_setting(options, server_core, wrk_core), flush=True)
        runs = _measure(options, server_core, wrk_core)
    except Unmeasurable as error:
        sys.stderr.write(f"benchmarks.observability: {error}\n")
        return 2
    print(report(runs))
    return 1 if any(sample.figures.failures for samples in runs.values() for sample in samples) else 0


def report(runs: Runs) -> str:
    """A table of medians with their ratios to the first setting, and the failures."""
    lines = [f"{'':20}{'req/s':>9}{'ratio':>7}{'lowest':>9}{'highest':>9}{'server us':>11}{'ratio':>7}"]
    first: tuple[float, float] | None = None
    for name, samples in runs.items():
        rates = [sample.figures.requests_per_second for sample in samples]
        rate, server = statistics.median(rates), statistics.median(sample.server for sample in samples)
        first = first or (rate, server)
        ratios = [f"{value / base:.2f}" if base else "-" for value, base in zip((rate, server), first, strict=True)]
        lines.append(
            f"{name:20}{rate:9.0f}{ratios[0]:>7}{min(rates):9.0f}{max(rates):9.0f}{server:11.1f}{ratios[1]:>7}"
        )
        failures = sum(sample.figures.failures for sample in samples)
        if failures:
            requests = sum(sample.figures.requests for sample in samples)
            lines.append(f"{name}: {failures} of {requests} requests FAILED")
    return "\n".join(lines)


@contextlib.contextmanager
def scraping(port: int) -> Iterator[None]:
    """Read the metrics of a server again and again while the block runs, as Prometheus does, on one connection.

    :raises Unmeasurable: at the end of the block, if a response was none with metrics.
    """
    ended = threading.Event()
    failures: list[str] = []

    def run() -> None:
        try:
            with contextlib.closing(http.client.HTTPConnection(HOST, port, timeout=20)) as client:
                while not ended.is_set():
                    client.request("GET", METRICS)
                    response = client.getresponse()
                    if b"reserve_requests_total" not in response.read():
                        failures.append(f"{METRICS} responds with {response.status}, without metrics")
                        return
                    ended.wait(INTERVAL)
        except (OSError, http.client.HTTPException) as error:
            failures.append(f"{METRICS} cannot be read: {error}")

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
    if failures:
        raise Unmeasurable(failures[0])


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.observability", description=(__doc__ or "").partition("\n\n")[0]
    )
    parser.add_argument("--rounds", type=positive, default=7, help="how often each setting is measured (7)")
    parser.add_argument("--seconds", type=positive, default=2, help="how long each time (2)")
    parser.add_argument("--threads", type=positive, default=16, help="worker threads of each server (16)")
    parser.add_argument("--connections", type=positive, default=32, help="keep-alive connections (32)")
    return parser


def _setting(options: argparse.Namespace, server_core: int | None, wrk_core: int | None) -> str:
    processors = (
        "nothing is bound to a processor, so servers and wrk compete for the processors"
        if server_core is None
        else f"servers on processor {server_core}, wrk on {wrk_core}"
    )
    return (
        f"{platform.python_implementation()} {platform.python_version()}, reserve {reserve.__version__}\n"
        f"{processors}\n{options.threads} threads, {options.connections} keep-alive connections, "
        f"medians of {options.rounds} rounds of {options.seconds} s"
    )


def _measure(options: argparse.Namespace, server_core: int | None, wrk_core: int | None) -> Runs:
    runs: dict[str, list[Sample]] = {name: [] for name in SETTINGS}
    start = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="benchmark-") as folder, contextlib.ExitStack() as stack:
        servers = {}
        for number, (name, arguments) in enumerate(SETTINGS.items()):
            port = free_port()
            pid = stack.enter_context(
                started_process(
                    f"the server with {name}",
                    command("reserve", "benchmarks.apps:hello", options.threads, port, arguments),
                    lambda port=port: responds(port),  # type: ignore[misc]
                    log=Path(folder, f"{number}.log"),
                    core=server_core,
                )
            )
            servers[name] = (port, pid)

        def load(name: str, seconds: int) -> Sample:
            port, pid = servers[name]
            with scraping(port) if METRICS in SETTINGS[name] else contextlib.nullcontext():
                before = procfs.usage(pid).cpu_seconds
                url = f"http://{HOST}:{port}/"
                figures = wrk(url, seconds=seconds, connections=options.connections, core=wrk_core)
                used = procfs.usage(pid).cpu_seconds - before
            return Sample(figures=figures, server=1e6 * used / max(figures.requests, 1))

        for name in SETTINGS:
            load(name, 1)  # warms the server up
        for number in range(options.rounds):
            for name in SETTINGS if number % 2 == 0 else reversed(SETTINGS):
                runs[name].append(load(name, options.seconds))
            print(f"round {number + 1} of {options.rounds}", file=sys.stderr, flush=True)
    print(f"measured in {time.monotonic() - start:.0f} s\n")
    return runs


if __name__ == "__main__":
    sys.exit(main())
