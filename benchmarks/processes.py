"""What more processes give to an application that computes, and how evenly they share kept connections.

Run it with ``python -m benchmarks.processes``; ``--help`` lists the options. Servers with one process and with several
alternate. It needs wrk.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import socket
import statistics
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmarks.load import wrk
from benchmarks.process import HOST, ROOT, Unmeasurable, free_port, responds, started_process

__all__ = ["main", "shares"]

APPLICATION = """
import os

def application(environ, start_response):
    if environ["PATH_INFO"] == "/compute":
        total = 0
        for number in range(60_000):
            total += number * number
    body = str(os.getpid()).encode()
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
    return [body]
"""
_TIMEOUT = 20.0


@contextlib.contextmanager
def served(processes: int, folder: Path) -> Iterator[int]:
    """Serve the application with so many processes; give the port."""
    (folder / "computing.py").write_text(APPLICATION, encoding="utf-8")
    port = free_port()
    log = folder / f"{processes}.log"
    command = [sys.executable, "-m", "reserve", "--processes", str(processes), "--bind", f"{HOST}:{port}"]
    command += ["--chdir", str(folder), "app", "http", "wsgi", "computing:application"]

    def is_ready() -> bool:
        return responds(port) and (processes == 1 or b"processes serve" in log.read_bytes())

    with started_process("reserve", command, is_ready, log=log, environ={"PYTHONPATH": str(ROOT)}):
        yield port


def shares(port: int, connections: int) -> Counter[str]:
    """Open so many connections that are kept, and count how many each process has."""
    with contextlib.ExitStack() as stack:
        found: Counter[str] = Counter()
        for _ in range(connections):
            sock = stack.enter_context(socket.create_connection((HOST, port), _TIMEOUT))
            sock.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
            found[sock.recv(4096).rpartition(b"\r\n\r\n")[2].decode()] += 1
        return found


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.processes", description=__doc__)
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1, help="beside one (one for each core)")
    parser.add_argument("--rounds", type=int, default=3, help="how often each is measured (3)")
    parser.add_argument("--seconds", type=int, default=3, help="of each measurement (3)")
    parser.add_argument("--connections", type=int, default=64, help="that are kept (64)")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, and print the figures. Exit code 2: something is missing, or a server did not start."""
    options = _parse(arguments)
    rates: dict[int, list[float]] = {1: [], options.processes: []}
    ratios = []
    try:
        with tempfile.TemporaryDirectory() as folder:
            for _ in range(options.rounds):
                for processes, found in rates.items():
                    with served(processes, Path(folder)) as port:
                        if processes > 1:
                            counts = shares(port, options.connections).values()
                            ratios.append(max(counts) / min(counts) if len(counts) == processes else float("inf"))
                        url = f"http://{HOST}:{port}/compute"
                        figures = wrk(url, seconds=options.seconds, connections=options.connections)
                        found.append(figures.requests_per_second)
    except Unmeasurable as error:
        sys.stderr.write(f"{error}\n")
        return 2
    print("| processes | requests a second (median) | lowest | highest |\n|---|---|---|---|")
    for processes, found in rates.items():
        print(f"| {processes} | {statistics.median(found):.0f} | {min(found):.0f} | {max(found):.0f} |")
    if options.processes > 1:
        gain = statistics.median(rates[options.processes]) / statistics.median(rates[1])
        print(f"\n{gain:.2f} times as many with {options.processes} processes as with one")
        print(
            f"busiest to idlest process of {options.connections} kept connections: "
            f"{', '.join(f'{ratio:.2f}' for ratio in ratios)}"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
