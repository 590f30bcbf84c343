"""``python -m benchmarks.hello``: requests per second of a hello application, for reserve and cheroot.

One server runs at a time, in a process of its own on one processor, and wrk on another. The servers alternate, so that
other work of the machine affects all of them. The command prints medians, and the ratio last. Exit codes: 0 measured,
1 measured but requests failed, 2 something that is needed is missing.
"""

from __future__ import annotations

import argparse
import importlib.util
import platform
import shutil
import statistics
import sys
import time
from collections.abc import Sequence

from benchmarks.load import Figures, serving, wrk
from benchmarks.process import Unmeasurable, cores, free_port
from benchmarks.servers import command, positive, version_of

__all__ = ["WORKLOADS", "command_for", "main", "report"]

WORKLOADS: dict[str, list[str]] = {
    "hello": [],
    # The fields of a browser, in kind and in length.
    "browser-like head": [
        "User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0 Safari/537.36",
        "Accept: text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8",
        "Accept-Language: en-GB,en;q=0.9,de;q=0.8",
        "Accept-Encoding: gzip, deflate, br, zstd",
        "Cache-Control: max-age=0",
        "Upgrade-Insecure-Requests: 1",
        "Sec-Fetch-Dest: document",
        "Sec-Fetch-Mode: navigate",
        "Sec-Fetch-Site: same-origin",
        "Sec-Fetch-User: ?1",
        "Referer: http://127.0.0.1/articles/2024/index.html?page=2",
        "Cookie: session=8f14e45fceea167a5a36dedd4bea2543; theme=dark; seen=1718000000",
    ],
}

Runs = dict[str, dict[str, list[Figures]]]
"""By server and by workload: the figures of each round."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print, and return the exit code."""
    options = _parser().parse_args(arguments)
    names = ["reserve", "cheroot", *(name for name in ("waitress", "gunicorn") if getattr(options, name))]
    try:
        _check(names)
        server_core, wrk_core = cores()
        print(_setting(options, names, server_core, wrk_core), flush=True)
        runs = _measure(names, options, server_core, wrk_core)
    except Unmeasurable as error:
        sys.stderr.write(f"benchmarks.hello: {error}\n")
        return 2
    print(report(runs))
    failed = any(figures.failures for workloads in runs.values() for rounds in workloads.values() for figures in rounds)
    return 1 if failed else 0


def command_for(name: str, port: int, threads: int) -> list[str]:
    """The command that starts a server with the hello application, without an access log."""
    options = ["--no-access-log"] if name == "reserve" else []
    return command(name, "benchmarks.apps:hello", threads, port, options)


def report(runs: Runs) -> str:
    """A table of medians, the failures, and the ratios."""
    lines = [f"{'':20}{'req/s':>10}{'p50 ms':>10}{'p99 ms':>10}{'lowest':>10}{'highest':>10}"]
    medians: dict[tuple[str, str], float] = {}
    for workload in next(iter(runs.values())):
        lines.append(workload)
        for name, by_workload in runs.items():
            rounds = by_workload[workload]
            rates = [figures.requests_per_second for figures in rounds]
            medians[name, workload] = statistics.median(rates)
            p50 = statistics.median(figures.p50 for figures in rounds)
            p99 = statistics.median(figures.p99 for figures in rounds)
            lines.append(
                f"  {name:18}{statistics.median(rates):10.0f}{p50:10.2f}{p99:10.2f}{min(rates):10.0f}{max(rates):10.0f}"
            )
            failures = sum(figures.failures for figures in rounds)
            if failures:
                requests = sum(figures.requests for figures in rounds)
                lines.append(f"  {name}: {failures} of {requests} requests FAILED")
    # The ratio to cheroot comes last, because it is the one that most readers look for.
    for name in sorted((name for name in runs if name != "reserve"), key="cheroot".__eq__):
        ratios = [
            f"{workload} {_ratio(medians['reserve', workload], medians[name, workload])}"
            for workload in runs["reserve"]
        ]
        lines.append(f"RATIO reserve/{name}: {', '.join(ratios)}")
    return "\n".join(lines)


def _ratio(reserve: float, other: float) -> str:
    return f"{reserve / other:.2f}" if other else "-"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.hello", description=__doc__.partition("\n\n")[0])
    parser.add_argument("--rounds", type=positive, default=3, help="how often each server is measured (3)")
    parser.add_argument("--seconds", type=positive, default=2, help="how long each time (2)")
    parser.add_argument("--threads", type=positive, default=16, help="worker threads of each server (16)")
    parser.add_argument("--connections", type=positive, default=32, help="keep-alive connections (32)")
    parser.add_argument("--waitress", action="store_true", help="measure waitress as well")
    parser.add_argument("--gunicorn", action="store_true", help="measure gunicorn's gthread worker as well")
    return parser


def _check(names: Sequence[str]) -> None:
    missing = [name for name in names if importlib.util.find_spec(name) is None]
    if missing:
        raise Unmeasurable(
            f"{' and '.join(missing)} cannot be imported; pip install 'reserve[bench]' installs these servers"
        )
    if shutil.which("wrk") is None:
        raise Unmeasurable("wrk is not installed; on Debian: apt-get install wrk")


def _setting(options: argparse.Namespace, names: Sequence[str], server_core: int | None, wrk_core: int | None) -> str:
    versions = [f"{name} {version_of(name)}" for name in names]
    processors = (
        "nothing is bound to a processor, so servers and wrk compete for the processors"
        if server_core is None
        else f"servers on processor {server_core}, wrk on {wrk_core}"
    )
    return (
        f"{platform.python_implementation()} {platform.python_version()}, {', '.join(versions)}\n{processors}\n"
        f"{options.threads} threads, {options.connections} keep-alive connections, "
        f"medians of {options.rounds} rounds of {options.seconds} s"
    )


def _measure(names: Sequence[str], options: argparse.Namespace, server_core: int | None, wrk_core: int | None) -> Runs:
    runs: Runs = {name: {workload: [] for workload in WORKLOADS} for name in names}
    start = time.monotonic()
    for number in range(options.rounds):
        # Every other round has the opposite order, so that no server is always the first.
        for name in names if number % 2 == 0 else reversed(names):
            port = free_port()
            url = f"http://127.0.0.1:{port}/"
            with serving(command_for(name, port, options.threads), port, core=server_core):
                wrk(url, seconds=1, connections=options.connections, core=wrk_core)  # warms the server up
                for workload, headers in WORKLOADS.items():
                    runs[name][workload].append(
                        wrk(
                            url,
                            seconds=options.seconds,
                            connections=options.connections,
                            headers=headers,
                            core=wrk_core,
                        )
                    )
    print(f"measured in {time.monotonic() - start:.0f} s\n")
    return runs


if __name__ == "__main__":
    sys.exit(main())
