"""The load: ``generator.c``, compiled when a measurement starts, and its report as values.

A program of its own because wrk tells nothing about single connections, the highest latencies, uploads or idle
connections, and cannot be told when to begin. It uses about as much processor time for a request as nginx. Its share
of its processor is in the report, so that it shows where it was the limit.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import shutil
import subprocess
import tempfile
import time
from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.compare.workloads import Workload
from benchmarks.process import Unmeasurable, pinned

__all__ = ["Generator", "Load", "Percentiles", "build", "parse", "percentile", "percentiles", "started"]

_SOURCE = Path(__file__).with_name("generator.c")
_PATIENCE = 30.0
"""Seconds beyond the measurement that the generator may take for its connections and its report."""
_TRANSFER_LIMIT = 60.0
"""Seconds that one transfer may take."""


@dataclass(frozen=True, kw_only=True)
class Percentiles:
    """Latencies of some requests, in milliseconds."""

    count: int
    p50: float
    p99: float
    p999: float
    max: float


@dataclass(frozen=True, kw_only=True)
class Load:
    """What the generator saw in one measurement."""

    requests: int
    """Responses that came to their end."""
    seconds: float
    bytes: int
    failures: int
    """Responses that were neither 2xx nor 3xx, and connections that were refused, reset or closed too early."""
    reconnects: int
    stalled: int
    """Connections that have waited for a response for more than a second at the end."""
    open: int
    """Connections that are open at the end."""
    slowest: int
    fastest: int
    """Responses on the connection with the fewest, and on that with the most."""
    busy: float
    """The generator's share of its processor, from 0 to 1."""
    latency: Percentiles
    """Of all requests."""
    first: Percentiles
    """Of those that are not the second kind."""

    @property
    def rate(self) -> float:
        return self.requests / self.seconds

    @property
    def fairness(self) -> float | None:
        """From 0, some connection got nothing, to 1, all got as much."""
        return self.slowest / self.fastest if self.fastest else None


def percentile(ordered: array[int] | list[int], share: float) -> float:
    """The smallest value that at least this share of the values does not exceed (nearest rank); 0 of no values.

    :param ordered: the values in ascending order.
    :param share: from 0 to 1.
    """
    if not ordered:
        return 0.0
    rank = -int(-(share * len(ordered)) // 1)  # rounded up
    return float(ordered[min(max(rank, 1), len(ordered)) - 1])


def percentiles(microseconds: list[int] | array[int]) -> Percentiles:
    """Summarize latencies, which may be in any order."""
    ordered = sorted(microseconds)
    p50, p99, p999 = (percentile(ordered, share) / 1000 for share in (0.5, 0.99, 0.999))
    return Percentiles(count=len(ordered), p50=p50, p99=p99, p999=p999, max=ordered[-1] / 1000 if ordered else 0.0)


def build(folder: Path) -> Path:
    """Compile the generator into this folder; return its path.

    :raises Unmeasurable: there is no compiler, or it fails.
    """
    compiler = shutil.which("cc")
    if compiler is None:
        raise Unmeasurable(
            "no C compiler is installed, which the load generator needs; on Debian: apt-get install gcc libc6-dev"
        )
    target = folder / "generator"
    command = [compiler, "-O2", "-o", str(target), str(_SOURCE)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    if done.returncode != 0:
        raise Unmeasurable(f"the load generator cannot be compiled: {done.stderr.strip()[:800]}")
    return target


class Generator:
    """One generator that is connected to a server, and waits for its start."""

    def __init__(self, process: subprocess.Popen[bytes], latencies: Path, seconds: float) -> None:
        self._process = process
        self._latencies = latencies
        self._seconds = seconds

    def measure(self) -> Load:
        """Begin, and wait for the end of the measurement. The connections stay open.

        :raises Unmeasurable: the generator failed, or did not end in time.
        """
        assert self._process.stdin is not None
        self._process.stdin.write(b"\n")
        self._process.stdin.flush()
        report = json.loads(_line(self._process, self._seconds + _PATIENCE))
        return parse(report, self._latencies.read_bytes())


def parse(report: dict[str, Any], latencies: bytes) -> Load:
    """The values of the generator's report.

    :param latencies: pairs of microseconds and kind, 32-bit numbers.
    """
    pairs = array("I")
    pairs.frombytes(latencies)
    times, kinds = pairs[::2], pairs[1::2]
    firsts = [duration for duration, kind in zip(times, kinds, strict=True) if not kind] if any(kinds) else times
    summary = percentiles(times)
    return Load(
        requests=report["requests"],
        seconds=report["seconds"],
        bytes=report["bytes"],
        failures=report["failures"] + report["errors"],
        reconnects=report["reconnects"],
        stalled=report["stalled"],
        open=report["open"],
        slowest=report["slowest"],
        fastest=report["fastest"],
        busy=report["cpu"] / report["seconds"],
        latency=summary,
        first=percentiles(firsts) if firsts is not times else summary,
    )


@contextlib.contextmanager
def started(
    program: Path, workload: Workload, port: int, *, seconds: float, warmup: float, core: int | None
) -> Iterator[Generator]:
    """Connect a generator to a server on this port, and warm the server up; the connections close after the block.

    :param core: the only processor that it may use; None: any.
    :raises Unmeasurable: it failed, or did not become ready in time.
    """
    with tempfile.TemporaryDirectory(prefix="benchmark-") as temporary:
        folder = Path(temporary)
        latencies = folder / "latencies"
        (folder / "first").write_bytes(workload.request)
        values: dict[str, object] = {
            "port": port,
            "connections": workload.connections,
            "active": workload.connections if workload.active is None else workload.active,
            "depth": workload.depth,
            "fresh": int(workload.fresh),
            "first": folder / "first",
            "body": workload.body,
            "warmup": warmup,
            "seconds": _TRANSFER_LIMIT if workload.transfer else seconds,
            "requests": 1 if workload.transfer else 0,
            "latencies": latencies,
        }
        if workload.second:
            (folder / "second").write_bytes(workload.second)
            values |= {"second": folder / "second", "every": workload.every}
        command = [str(program), *(f"{name}={value}" for name, value in values.items())]
        with pinned(core):
            process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        try:
            if (word := _line(process, warmup + _PATIENCE)) != b"ready\n":
                raise Unmeasurable(f"the load generator wrote {word!r}")
            yield Generator(process, latencies, float(str(values["seconds"])))
        finally:
            process.kill()
            process.communicate()


def _line(process: subprocess.Popen[bytes], seconds: float) -> bytes:
    """The next line of standard output, which the generator writes whole."""
    assert process.stdout is not None
    deadline = time.monotonic() + seconds
    received = b""
    while not received.endswith(b"\n"):
        left = deadline - time.monotonic()
        if left <= 0 or not select.select([process.stdout], [], [], left)[0]:
            raise Unmeasurable(f"the load generator wrote nothing for {seconds:.0f} s")
        piece = os.read(process.stdout.fileno(), 65536)
        if not piece:
            assert process.stderr is not None
            raise Unmeasurable(f"the load generator ended: {process.stderr.read().decode().strip()[-400:]}")
        received += piece
    return received
