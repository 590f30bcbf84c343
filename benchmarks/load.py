"""Start a server in a process of its own, wait until it answers, put load on it with wrk, read what wrk says.

Runs on the main thread; everything is on the loopback interface, and every wait has an end. Nothing here knows which
servers or applications are compared.
"""

from __future__ import annotations

import contextlib
import http.client
import os
import re
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

__all__ = ["Figures", "Unmeasurable", "free_port", "parse_wrk", "pinned", "serving", "wrk"]

_START = 20.0  # seconds until a server must have answered
_END = 5.0  # seconds from SIGTERM to SIGKILL
_UNITS = {"us": 1e-3, "ms": 1.0, "s": 1e3, "m": 60e3, "h": 3600e3}


class Unmeasurable(Exception):
    """Something that the measurement needs is missing, or did not do its part. The text is for a person."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """One run of wrk. Times are milliseconds."""

    requests_per_second: float
    p50: float
    p99: float
    requests: int
    failures: int
    """Connections that failed or timed out, and answers that were neither 2xx nor 3xx."""


def parse_wrk(text: str) -> Figures:
    """Read the report of ``wrk --latency``. Raises Unmeasurable when it is none."""

    def find(pattern: str) -> re.Match[str]:
        match = re.search(pattern, text, re.MULTILINE)
        if match is None:
            raise Unmeasurable(f"this is no report of wrk --latency (no match for {pattern!r}):\n{text.strip()}")
        return match

    def percentile(number: int) -> float:
        match = find(rf"^\s*{number}%\s+([\d.]+)(us|ms|s|m|h)$")
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


def wrk(url: str, *, seconds: int, connections: int, headers: Sequence[str] = (), core: int | None = None) -> Figures:
    """Run wrk with one thread.

    :param headers: fields to send, as ``"Accept: text/html"``.
    :param core: the only processor that it may use; None: any.
    :raises Unmeasurable: it is not installed, or it failed.
    """
    path = shutil.which("wrk")
    if path is None:
        raise Unmeasurable("wrk is not installed; on Debian: apt-get install wrk")
    words = [path, "-t1", f"-c{connections}", f"-d{seconds}s", "--latency"]
    for header in headers:
        words += ["-H", header]
    with pinned(core):
        process = subprocess.Popen([*words, url], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
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
    """Run a server while the ``with`` block runs; inside, it answers HTTP on 127.0.0.1.

    :param core: the only processor that it may use; None: any.
    :raises Unmeasurable: it ended, or did not answer in time.
    """
    with pinned(core):
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    with process:
        try:
            _wait_until_it_answers(process, command, port)
            yield
        finally:
            process.terminate()
            try:
                process.communicate(timeout=_END)
            except subprocess.TimeoutExpired:
                process.kill()


def free_port() -> int:
    """A port that nobody listened on a moment ago."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def pinned(core: int | None) -> Iterator[None]:
    """Bind this process to a processor while others are started: they inherit it before their first instruction."""
    if core is None or not hasattr(os, "sched_setaffinity"):
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def _wait_until_it_answers(process: subprocess.Popen[str], command: Sequence[str], port: int) -> None:
    deadline = time.monotonic() + _START
    while True:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=2)
        try:
            connection.request("GET", "/")
            connection.getresponse().read()
            return
        except (OSError, http.client.HTTPException) as error:
            if process.poll() is not None:
                said = process.communicate()[1].strip().splitlines()
                raise Unmeasurable(
                    f"{' '.join(command)} ended with exit code {process.returncode}: {said[-1] if said else '(silent)'}"
                ) from None
            if time.monotonic() > deadline:
                raise Unmeasurable(f"{' '.join(command)} did not answer within {_START:g} s: {error}") from None
            time.sleep(0.02)
        finally:
            connection.close()
