"""``python -m benchmarks.hello``: requests per second of a hello application, reserve beside cheroot.

One server at a time, in a process of its own on one processor, wrk on another. The servers alternate, so that whatever
else the machine does meets all of them; what is printed are medians, and the ratio last. Exit codes: 0 measured,
1 measured but answers failed, 2 something that is needed is missing.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import platform
import shutil
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from importlib.metadata import version

import reserve
from benchmarks.load import Figures, Unmeasurable, free_port, serving, wrk

__all__ = ["PEERS", "WORKLOADS", "main", "report"]

_APP = "benchmarks.apps:hello"

PEERS: dict[str, Callable[[str, int], list[str]]] = {
    # what is measured: the words after python -m, for an address and a number of threads; no access log
    "reserve": lambda bind, threads: [
        "reserve", "app", "http", "wsgi", _APP, "--bind", bind, "--threads", str(threads), "--no-access-log",
    ],
    "cheroot": lambda bind, threads: ["cheroot", "--bind", bind, "--threads", str(threads), _APP],
    "waitress": lambda bind, threads: ["waitress", f"--listen={bind}", f"--threads={threads}", _APP],
    "gunicorn": lambda bind, threads: [
        "gunicorn", "--bind", bind, "--workers", "1", "--worker-class", "gthread", "--threads", str(threads), _APP,
    ],
}  # fmt: skip

WORKLOADS: dict[str, list[str]] = {
    "hello": [],
    # what a browser sends, in kind and in length
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
"""By server, by workload, one for each round."""


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print, and return the exit code."""
    given = _parser().parse_args(argv)
    names = ["reserve", "cheroot", *(name for name in ("waitress", "gunicorn") if getattr(given, name))]
    try:
        _check(names)
        server_core, wrk_core = _cores()
        print(_setting(given, names, server_core, wrk_core), flush=True)
        runs = _measure(names, given, server_core, wrk_core)
    except Unmeasurable as error:
        sys.stderr.write(f"benchmarks.hello: {error}\n")
        return 2
    print(report(runs))
    return 1 if any(one.failures for by in runs.values() for rounds in by.values() for one in rounds) else 0


def report(runs: Runs) -> str:
    """A table of medians, what failed, and the ratios."""
    lines = [f"{'':20}{'req/s':>10}{'p50 ms':>10}{'p99 ms':>10}{'lowest':>10}{'highest':>10}"]
    middle: dict[tuple[str, str], float] = {}
    for workload in next(iter(runs.values())):
        lines.append(workload)
        for name, by_workload in runs.items():
            rounds = by_workload[workload]
            rates = [one.requests_per_second for one in rounds]
            middle[name, workload] = statistics.median(rates)
            p50, p99 = statistics.median(one.p50 for one in rounds), statistics.median(one.p99 for one in rounds)
            lines.append(
                f"  {name:18}{statistics.median(rates):10.0f}{p50:10.2f}{p99:10.2f}{min(rates):10.0f}{max(rates):10.0f}"
            )
            failures = sum(one.failures for one in rounds)
            if failures:
                lines.append(f"  {name}: {failures} of {sum(one.requests for one in rounds)} requests FAILED")
    # cheroot's comes last: it is the one that is asked about most.
    for name in sorted((name for name in runs if name != "reserve"), key="cheroot".__eq__):
        ratios = [
            f"{workload} {middle['reserve', workload] / middle[name, workload]:.2f}" for workload in runs["reserve"]
        ]
        lines.append(f"RATIO reserve/{name}: {', '.join(ratios)}")
    return "\n".join(lines)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.hello", description=__doc__.partition("\n\n")[0])
    parser.add_argument("--rounds", type=_positive, default=3, help="how often each server is measured (3)")
    parser.add_argument("--seconds", type=_positive, default=2, help="how long each time (2)")
    parser.add_argument("--threads", type=_positive, default=16, help="worker threads of each server (16)")
    parser.add_argument("--connections", type=_positive, default=32, help="keep-alive connections (32)")
    parser.add_argument("--waitress", action="store_true", help="measure waitress as well")
    parser.add_argument("--gunicorn", action="store_true", help="measure gunicorn's gthread worker as well")
    return parser


def _positive(word: str) -> int:
    number = int(word)
    if number < 1:
        raise argparse.ArgumentTypeError("it is a whole number from 1")
    return number


def _check(names: Sequence[str]) -> None:
    missing = [name for name in names if importlib.util.find_spec(name) is None]
    if missing:
        raise Unmeasurable(f"{' and '.join(missing)} cannot be imported; pip install 'reserve[bench]' brings the peers")
    if shutil.which("wrk") is None:
        raise Unmeasurable("wrk is not installed; on Debian: apt-get install wrk")


def _cores() -> tuple[int | None, int | None]:
    """One processor for the server and another for wrk, where there are two and the system can bind to them."""
    if not hasattr(os, "sched_getaffinity"):
        return None, None
    cores = sorted(os.sched_getaffinity(0))
    return (cores[0], cores[1]) if len(cores) > 1 else (None, None)


def _setting(given: argparse.Namespace, names: Sequence[str], server_core: int | None, wrk_core: int | None) -> str:
    versions = [f"{name} {reserve.__version__ if name == 'reserve' else version(name)}" for name in names]
    where = (
        "nothing is bound to a processor, so the figures are those of everything together"
        if server_core is None
        else f"servers on processor {server_core}, wrk on {wrk_core}"
    )
    return (
        f"{platform.python_implementation()} {platform.python_version()}, {', '.join(versions)}\n{where}\n"
        f"{given.threads} threads, {given.connections} keep-alive connections, "
        f"medians of {given.rounds} rounds of {given.seconds} s"
    )


def _measure(names: Sequence[str], given: argparse.Namespace, server_core: int | None, wrk_core: int | None) -> Runs:
    runs: Runs = {name: {workload: [] for workload in WORKLOADS} for name in names}
    begin = time.monotonic()
    for round_ in range(given.rounds):
        # Every other round in the opposite order: none always comes first.
        for name in names if round_ % 2 == 0 else reversed(names):
            port = free_port()
            url = f"http://127.0.0.1:{port}/"
            command = [sys.executable, "-m", *PEERS[name](f"127.0.0.1:{port}", given.threads)]
            with serving(command, port, core=server_core):
                wrk(url, seconds=1, connections=given.connections, core=wrk_core)  # to warm up
                for workload, headers in WORKLOADS.items():
                    runs[name][workload].append(
                        wrk(
                            url,
                            seconds=given.seconds,
                            connections=given.connections,
                            headers=headers,
                            core=wrk_core,
                        )
                    )
    print(f"measured in {time.monotonic() - begin:.0f} s\n")
    return runs


if __name__ == "__main__":
    sys.exit(main())
