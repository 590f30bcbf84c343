"""``python -m benchmarks.tls``: TLS in reserve, cheroot, gunicorn and nginx, in one run.

One server runs at a time on the first processor, and its clients on the second. The command measures full handshakes
(P-256 and RSA-2048) and resumed ones, for each second and for each second of the server's processor time; requests a
second on 32 keep-alive connections (wrk); a download of 100 MB; memory for each idle connection. The servers alternate
from round to round, and the command prints medians. Exit code 0: measured; 2: something is missing.
"""

from __future__ import annotations

import argparse
import json
import platform
import ssl
import statistics
import subprocess
import sys
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from benchmarks import procfs
from benchmarks.load import Figures, wrk
from benchmarks.process import ROOT, Unmeasurable, pinned
from benchmarks.servers import version_of
from benchmarks.tls_servers import COMMANDS, in_rounds, started

_IDLE = 1000
"""Idle connections whose memory is measured."""
_CLIENT_CORE = 1
"""The processor of the clients."""

Results = dict[tuple[str, str], list[float]]
"""By server and by what was measured: one figure for each round."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print, and return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.tls", description=__doc__.partition("\n\n")[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=3, help="how long each time")
    parser.add_argument("--threads", type=int, default=16)
    parser.add_argument("--servers", default=",".join(COMMANDS), help="which, separated by commas")
    options = parser.parse_args(arguments)
    names = options.servers.split(",")
    results: Results = defaultdict(list)

    def measure(name: str, folder: Path) -> None:
        _measure(name, folder, options, results)

    if not in_rounds("benchmarks.tls", names, options.rounds, ("openssl", "wrk", "curl"), measure):
        return 2
    print(setting(names))
    print(report(results, names))
    return 0


def report(results: Results, names: Sequence[str]) -> str:
    """A table of medians, and ratios of reserve to the other servers."""
    rows = list(dict.fromkeys(what for _, what in results))
    lines = [f"{'':34}" + "".join(f"{name:>12}" for name in names) + "   reserve / each other"]
    for what in rows:
        medians = {name: statistics.median(results[name, what]) for name in names if results.get((name, what))}
        cells = "".join(f"{medians[name]:12.1f}" if name in medians else f"{'-':>12}" for name in names)
        reserve = medians.get("reserve")
        ratios = [
            f"{name} {reserve / medians[name]:.2f}"
            for name in names
            if reserve and name != "reserve" and medians.get(name)
        ]
        lines.append(f"{what:34}{cells}   {', '.join(ratios)}")
    return "\n".join(lines)


def _measure(name: str, folder: Path, options: argparse.Namespace, results: Results) -> None:
    for key in ("p256", "rsa2048"):
        cert = folder / f"{key}.pem"
        with started(name, folder, key, options.threads) as (pid, port):
            kinds = ("full", "resumed") if key == "p256" else ("full",)
            for kind in kinds:
                before = procfs.usage(pid).cpu_seconds
                counts = _handshakes(kind, port, cert, options.seconds)
                cpu_seconds = procfs.usage(pid).cpu_seconds - before
                add_handshakes(results, name, kind, key, counts, options.seconds, cpu_seconds)
            if key == "p256":
                seconds = max(1, round(options.seconds))
                figures = wrk(f"https://127.0.0.1:{port}/", seconds=seconds, connections=32, core=_CLIENT_CORE)
                add_load(results, name, figures)
                results[name, "download of 100 MB, MB/s"].append(_download(port, cert))
                _add_idle(results, name, pid, port, cert)


def add_handshakes(
    results: Results, name: str, kind: str, key: str, counts: dict[str, int], seconds: float, cpu_seconds: float
) -> None:
    """Add the figures of one round. Clients without a single handshake give no rate, only a number of failures."""
    what = f"{kind} handshakes, {key}"
    done, failed = counts["done"], counts["failed"]
    if done:
        results[name, f"{what}, 1/s"].append(done / seconds)
        if cpu_seconds:
            results[name, f"{what}, 1/CPU s"].append(done / cpu_seconds)
        if kind == "resumed":
            results[name, "of these resumed, %"].append(100 * counts["resumed"] / done)
    if failed or not done:
        results[name, f"{what}, failed"].append(failed)


def add_load(results: Results, name: str, figures: Figures) -> None:
    """Add the figures of wrk in the same way."""
    if figures.requests:
        results[name, "requests on 32 connections, 1/s"].append(figures.requests_per_second)
        results[name, "their p99, ms"].append(figures.p99)
    if figures.failures or not figures.requests:
        results[name, "of these requests, failed"].append(figures.failures)


def full_handshakes(port: int, cert: Path, seconds: float) -> dict[str, int]:
    """Have the clients do full handshakes; how many were ``done`` and how many ``failed``.

    :raises Unmeasurable: the clients themselves failed.
    """
    return _handshakes("full", port, cert, seconds)


def _handshakes(kind: str, port: int, cert: Path, seconds: float) -> dict[str, int]:
    command = [sys.executable, "-m", "benchmarks.tls_clients", kind, str(port), str(cert), str(seconds)]
    with pinned(_CLIENT_CORE):
        run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=seconds + 60, check=False)
    if run.returncode:
        raise Unmeasurable(f"the clients failed: {run.stderr[-500:]}")
    counts: dict[str, int] = json.loads(run.stdout)
    return counts


def _download(port: int, cert: Path) -> float:
    """Download 100 MB with curl; return MB a second."""
    command = ["curl", "-s", "--cacert", str(cert), "-o", "/dev/null", "-w", "%{speed_download} %{size_download}"]
    with pinned(_CLIENT_CORE):
        run = subprocess.run(
            [*command, f"https://127.0.0.1:{port}/100M"], capture_output=True, text=True, timeout=60, check=False
        )
    speed, size = run.stdout.split()
    if float(size) != 100_000_000:
        raise Unmeasurable(f"the download ended after {size} bytes: {run.stderr}")
    return float(speed) / 1e6


def _add_idle(results: Results, name: str, pid: int, port: int, cert: Path) -> None:
    before = procfs.usage(pid).rss_kib
    command = [sys.executable, "-m", "benchmarks.tls_clients", "idle", str(port), str(cert), str(_IDLE)]
    with pinned(_CLIENT_CORE):
        clients = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    with clients:
        assert clients.stdout is not None
        output = clients.stdout.readline()
        growth = procfs.usage(pid).rss_kib - before
        clients.kill()
    if not output:
        raise Unmeasurable("the idle clients failed")
    counts: dict[str, int] = json.loads(output)
    if counts["held"]:
        results[name, "memory, idle connection, KiB"].append(growth / counts["held"])
    if counts["failed"]:
        results[name, "idle connections that failed"].append(counts["failed"])


def setting(names: Sequence[str]) -> str:
    """One line about what was measured: the versions of these servers, of Python and of OpenSSL."""
    versions = []
    for name in names:
        if name == "nginx":
            run = subprocess.run(["nginx", "-v"], capture_output=True, text=True, timeout=10, check=True)
            versions.append(f"nginx {run.stderr.strip().rpartition('/')[2]}")
        else:
            versions.append(f"{name} {version_of(name)}")
    return f"{', '.join(versions)}; Python {platform.python_version()}, {ssl.OPENSSL_VERSION}; medians"


if __name__ == "__main__":
    sys.exit(main())
