"""``python -m benchmarks.miniredis``: redis-benchmark against ``reserve app miniredis`` and redis-server, in one run.

One server runs at a time on the first processor, and redis-benchmark on the second, with 50 connections, without
pipelining (``-P 1``) and with 16 commands at a time (``-P 16``). The servers alternate from round to round. The command
prints the medians of commands a second, and of commands for each second of the server's processor time, which other
work on the machine hardly changes; and reserve's part of redis-server's. Exit code 0: measured; 2: something is
missing.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import platform
import re
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path

import reserve
from benchmarks import procfs
from benchmarks.process import HOST, Unmeasurable, free_port, pinned, started_process

_SERVER_CORE, _CLIENT_CORE = 0, 1
_CONNECTIONS = 50
_PIPELINES = (1, 16)
TESTS = (
    "ping_mbulk", "set", "get", "incr", "lpush", "rpush", "lpop", "rpop", "sadd", "hset", "spop", "zadd", "zpopmin",
    "lrange_100", "mset",
)  # fmt: skip
"""What redis-benchmark measures; its names in lower case."""

Results = dict[tuple[str, str, int, str], list[float]]
"""By server, test, pipeline and figure (``rate`` or ``cpu``): one value for each round."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print, and return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.miniredis", description=__doc__.partition("\n\n")[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--commands", type=int, default=20000, help="of each test, times the pipeline")
    parser.add_argument("--threads", type=int, default=4, help="of reserve")
    parser.add_argument("--tests", default=",".join(TESTS), help="which, separated by commas")
    options = parser.parse_args(arguments)
    tests = options.tests.split(",")
    results: Results = defaultdict(list)
    try:
        for tool in ("redis-server", "redis-benchmark"):
            if shutil.which(tool) is None:
                raise Unmeasurable(f"{tool} is not installed")
        names = ["reserve", "redis-server"]
        for number in range(options.rounds):
            for name in names if number % 2 == 0 else reversed(names):
                with _started(name, options.threads) as (pid, port):
                    for pipeline in _PIPELINES:
                        for test in tests:
                            _measure(results, name, test, pipeline, pid, port, options.commands * pipeline)
                print(f"round {number + 1}: {name}", file=sys.stderr, flush=True)
    except Unmeasurable as error:
        sys.stderr.write(f"benchmarks.miniredis: {error}\n")
        return 2
    run = subprocess.run(["redis-server", "--version"], capture_output=True, text=True, timeout=10, check=True)
    version = re.search(r"v=(\S+)", run.stdout)
    print(
        f"reserve {reserve.__version__} with {options.threads} threads on Python {platform.python_version()}, "
        f"redis-server {version[1] if version else '?'}; {_CONNECTIONS} connections; medians of {options.rounds} rounds"
    )
    print(report(results, tests))
    return 0


def report(results: Results, tests: Sequence[str]) -> str:
    """A table of medians and of reserve's part of redis-server's; the last line of a pipeline has the median parts."""
    lines = [f"{'':20}{'commands a second':>34}{'commands for a CPU second':>34}"]
    lines.append(f"{'':20}" + f"{'reserve':>12}{'redis':>12}{'part':>10}" * 2)
    for pipeline in _PIPELINES:
        parts = defaultdict(list)
        for test in tests:
            cells = ""
            for figure in ("rate", "cpu"):
                own, other = (
                    statistics.median(results[name, test, pipeline, figure]) for name in ("reserve", "redis-server")
                )
                parts[figure].append(own / other)
                cells += f"{own:12.0f}{other:12.0f}{own / other:10.2f}"
            lines.append(f"-P {pipeline:<3}{test:14}{cells}")
        medians = (f"{statistics.median(parts[figure]):34.2f}" for figure in ("rate", "cpu"))
        lines.append(f"-P {pipeline:<3}{'median':14}{''.join(medians)}")
    return "\n".join(lines)


def rate_in(text: str) -> float:
    """Commands a second, from redis-benchmark's CSV for one test (the last line, if it prepared something first)."""
    rows = list(csv.DictReader(text.splitlines()))
    if not rows:
        raise Unmeasurable(f"redis-benchmark printed: {text[-300:]}")
    return float(rows[-1]["rps"])


def _measure(results: Results, name: str, test: str, pipeline: int, pid: int, port: int, count: int) -> None:
    command = ["redis-benchmark", "-h", HOST, "-p", str(port), "-c", str(_CONNECTIONS), "-P", str(pipeline)]
    command += ["-n", str(count), "-t", test, "--csv"]
    before = procfs.usage(pid).cpu_seconds
    with pinned(_CLIENT_CORE):
        run = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    if run.returncode:
        raise Unmeasurable(f"redis-benchmark failed with {name}: {run.stderr[-300:]}")
    cpu = procfs.usage(pid).cpu_seconds - before
    results[name, test, pipeline, "rate"].append(rate_in(run.stdout))
    # For some tests redis-benchmark first pushes as many elements, for both servers alike.
    results[name, test, pipeline, "cpu"].append(count / max(cpu, 0.01))


@contextlib.contextmanager
def _started(name: str, threads: int) -> Iterator[tuple[int, int]]:
    """Run a server on the first processor; give its process id and its port."""
    port = free_port()
    if name == "reserve":
        command = [sys.executable, "-m", "reserve", "app", "miniredis", "--bind", f"{HOST}:{port}"]
        command += ["--threads", str(threads)]
    else:
        command = ["redis-server", "--bind", HOST, "--port", str(port), "--save", "", "--appendonly", "no"]
    with tempfile.TemporaryDirectory(prefix="benchmark-") as folder:
        log = Path(folder, "stderr")
        with started_process(name, command, lambda: _responds(port), log=log, core=_SERVER_CORE) as pid:
            yield pid, port


def _responds(port: int) -> bool:
    with socket.create_connection((HOST, port), 2) as client:
        client.sendall(b"PING\r\n")
        return client.recv(16) == b"+PONG\r\n"


if __name__ == "__main__":
    sys.exit(main())
