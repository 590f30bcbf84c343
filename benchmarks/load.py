"""Put load on a server with wrk, and read the report of wrk."""

from __future__ import annotations

import contextlib
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.process import Unmeasurable, pinned, responds, started_process

__all__ = ["Figures", "parse_wrk", "serving", "wrk"]

_UNITS = {"us": 1e-3, "ms": 1.0, "s": 1e3, "m": 60e3, "h": 3600e3}


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """One run of wrk. Times are milliseconds."""

    requests_per_second: float
    p50: float
    p99: float
    requests: int
    failures: int
    """Connections that failed or timed out, and responses that were neither 2xx nor 3xx."""


def parse_wrk(text: str) -> Figures:
    """Read the report of ``wrk --latency``. Raises Unmeasurable when the text is not such a report."""

    def find(pattern: str) -> re.Match[str]:
        match = re.search(pattern, text, re.MULTILINE)
        if match is None:
            raise Unmeasurable(f"this is no report of wrk --latency (no match for {pattern!r}):\n{text.strip()}")
        return match

    def percentile(number: int) -> float:
        match = find(rf"^\s*{number}%\s+([\d.]+)(us|ms|s|m|h) *$")
        return float(match[1]) * _UNITS[match[2]]

    failures = 0
    if "Socket errors:" in text:
        match = find(r"^\s*Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)$")
        failures += sum(int(count) for count in match.groups())
    if "Non-2xx" in text:
        failures += int(find(r"^\s*Non-2xx or 3xx responses: (\d+)$")[1])
    return Figures(
        requests_per_second=float(find(r"^Requests/sec:\s+([\d.]+)$")[1]),
        p50=percentile(50),
        p99=percentile(99),
        requests=int(find(r"^\s*(\d+) requests in ")[1]),
        failures=failures,
    )


def wrk(
    url: str,
    *,
    seconds: int,
    connections: int,
    headers: Sequence[str] = (),
    script: Path | None = None,
    core: int | None = None,
) -> Figures:
    """Run wrk with one thread.

    :param headers: fields to send, as ``"Accept: text/html"``.
    :param script: a script of wrk, in Lua, that makes the requests; None: GET.
    :param core: the only processor that wrk may use; None: any.
    :raises Unmeasurable: wrk is not installed, or it failed.
    """
    path = shutil.which("wrk")
    if path is None:
        raise Unmeasurable("wrk is not installed; on Debian: apt-get install wrk")
    command = [path, "-t1", f"-c{connections}", f"-d{seconds}s", "--latency"]
    for header in headers:
        command += ["-H", header]
    if script is not None:
        command += ["-s", str(script)]
    with pinned(core):
        process = subprocess.Popen([*command, url], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    with process:
        try:
            report, _ = process.communicate(timeout=seconds + 20)
        except subprocess.TimeoutExpired:
            process.kill()
            raise Unmeasurable(f"wrk did not end {seconds + 20} s after its start") from None
    if process.returncode != 0:
        raise Unmeasurable(f"wrk ended with exit code {process.returncode}: {report.strip()}")
    return parse_wrk(report)


@contextlib.contextmanager
def serving(command: Sequence[str], port: int, *, core: int | None = None) -> Iterator[None]:
    """Run a server while the ``with`` block runs; inside the block it serves HTTP on 127.0.0.1.

    :param core: the only processor that the server may use; None: any.
    :raises StartError: the server ended, or did not respond in time.
    """
    with (
        tempfile.TemporaryDirectory(prefix="benchmark-") as folder,
        started_process(" ".join(command), command, lambda: responds(port), log=Path(folder, "stderr"), core=core),
    ):
        yield
