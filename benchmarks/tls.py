"""``python -m benchmarks.tls``: reserve under TLS beside cheroot, gunicorn and nginx, in one run.

One server at a time on the first processor, its clients on the second. Measured: full handshakes (P-256 and RSA-2048)
and resumed ones, a second and for each second of the server's processor time; requests a second on 32 connections that
stay (wrk); a download of 100 MB; memory for each idle connection. The servers alternate from round to round; what is
printed are medians. Exit code 0: measured; 2: something is missing.
"""

from __future__ import annotations

import argparse
import json
import platform
import shutil
import ssl
import statistics
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

import reserve
from benchmarks import procfs
from benchmarks.load import Figures, Unmeasurable, pinned, wrk
from benchmarks.tls_servers import COMMANDS, make_certificates, started

_ROOT = Path(__file__).resolve().parent.parent
_IDLE = 1000
_CLIENT = 1
"""The processor of the clients."""

Found = dict[tuple[str, str], list[float]]
"""By server and by what was measured: one figure for each round."""


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print, and return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.tls", description=__doc__.partition("\n\n")[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=3, help="how long each time")
    parser.add_argument("--threads", type=int, default=16)
    parser.add_argument("--servers", default=",".join(COMMANDS), help="which, separated by commas")
    given = parser.parse_args(argv)
    names = given.servers.split(",")
    found: Found = defaultdict(list)
    try:
        for tool in ("openssl", "wrk", "curl", *(("nginx",) if "nginx" in names else ())):
            if shutil.which(tool) is None:
                raise Unmeasurable(f"{tool} is not installed")
        with tempfile.TemporaryDirectory(prefix="benchmark-tls-") as place:
            folder = Path(place)
            folder.chmod(0o755)  # nginx's worker gives up root
            make_certificates(folder)
            for number in range(given.rounds):
                for name in names if number % 2 == 0 else reversed(names):
                    _measure(name, folder, given, found)
                    print(f"round {number + 1}: {name}", file=sys.stderr, flush=True)
    except Unmeasurable as error:
        sys.stderr.write(f"benchmarks.tls: {error}\n")
        return 2
    print(_setting(names))
    print(report(found, names))
    return 0


def report(found: Found, names: Sequence[str]) -> str:
    """A table of medians, and ratios of reserve to the others."""
    rows = list(dict.fromkeys(what for _, what in found))
    lines = [f"{'':34}" + "".join(f"{name:>12}" for name in names) + "   reserve / each other"]
    for what in rows:
        middle = {name: statistics.median(found[name, what]) for name in names if found.get((name, what))}
        cells = "".join(f"{middle[name]:12.1f}" if name in middle else f"{'-':>12}" for name in names)
        ours = middle.get("reserve")
        ratios = [
            f"{name} {ours / middle[name]:.2f}" for name in names if ours and name != "reserve" and middle.get(name)
        ]
        lines.append(f"{what:34}{cells}   {', '.join(ratios)}")
    return "\n".join(lines)


def _measure(name: str, folder: Path, given: argparse.Namespace, found: Found) -> None:
    for key in ("p256", "rsa2048"):
        cert = folder / f"{key}.pem"
        with started(name, folder, key, given.threads) as (pid, port):
            kinds = ("full", "resumed") if key == "p256" else ("full",)
            for kind in kinds:
                before = procfs.usage(pid).cpu_seconds
                counts = _clients(kind, port, cert, given.seconds)
                spent = procfs.usage(pid).cpu_seconds - before
                keep_handshakes(found, name, kind, key, counts, given.seconds, spent)
            if key == "p256":
                seconds = max(1, round(given.seconds))
                keep_load(found, name, wrk(f"https://127.0.0.1:{port}/", seconds=seconds, connections=32, core=_CLIENT))
                found[name, "download of 100 MB, MB/s"].append(_download(port, cert))
                _idle(name, pid, port, cert, found)


def keep_handshakes(
    found: Found, name: str, kind: str, key: str, counts: dict[str, int], seconds: float, spent: float
) -> None:
    """Keep what the clients of one round count. What nothing came of has no figure, but is among the failures."""
    what = f"{kind} handshakes, {key}"
    done, failed = counts["done"], counts["failed"]
    if done:
        found[name, f"{what}, 1/s"].append(done / seconds)
        if spent:
            found[name, f"{what}, 1/CPU s"].append(done / spent)
        if kind == "resumed":
            found[name, "of these resumed, %"].append(100 * counts["resumed"] / done)
    if failed or not done:
        found[name, f"{what}, failed"].append(failed)


def keep_load(found: Found, name: str, figures: Figures) -> None:
    """Keep what wrk says, in the same way."""
    if figures.requests:
        found[name, "requests on 32 connections, 1/s"].append(figures.requests_per_second)
        found[name, "their p99, ms"].append(figures.p99)
    if figures.failures or not figures.requests:
        found[name, "of these requests, failed"].append(figures.failures)


def _clients(kind: str, port: int, cert: Path, amount: float) -> dict[str, int]:
    words = [sys.executable, "-m", "benchmarks.tls_clients", kind, str(port), str(cert), str(amount)]
    with pinned(_CLIENT):
        done = subprocess.run(words, cwd=_ROOT, capture_output=True, text=True, timeout=amount + 60, check=False)
    if done.returncode:
        raise Unmeasurable(f"the clients failed: {done.stderr[-500:]}")
    counts: dict[str, int] = json.loads(done.stdout)
    return counts


def _download(port: int, cert: Path) -> float:
    words = ["curl", "-s", "--cacert", str(cert), "-o", "/dev/null", "-w", "%{speed_download} %{size_download}"]
    with pinned(_CLIENT):
        done = subprocess.run(
            [*words, f"https://127.0.0.1:{port}/100M"], capture_output=True, text=True, timeout=60, check=False
        )
    speed, size = done.stdout.split()
    if float(size) != 100_000_000:
        raise Unmeasurable(f"the download was cut at {size}: {done.stderr}")
    return float(speed) / 1e6


def _idle(name: str, pid: int, port: int, cert: Path, found: Found) -> None:
    before = procfs.usage(pid).rss_kib
    words = [sys.executable, "-m", "benchmarks.tls_clients", "idle", str(port), str(cert), str(_IDLE)]
    with pinned(_CLIENT):
        clients = subprocess.Popen(words, cwd=_ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    with clients:
        assert clients.stdout is not None
        said = clients.stdout.readline()
        grown = procfs.usage(pid).rss_kib - before
        clients.kill()
    if not said:
        raise Unmeasurable("the idle clients failed")
    counts: dict[str, int] = json.loads(said)
    if counts["held"]:
        found[name, "memory, idle connection, KiB"].append(grown / counts["held"])
    if counts["failed"]:
        found[name, "idle connections that failed"].append(counts["failed"])


def _setting(names: Sequence[str]) -> str:
    versions = []
    for name in names:
        if name == "nginx":
            shown = subprocess.run(["nginx", "-v"], capture_output=True, text=True, timeout=10, check=True)
            versions.append(shown.stderr.strip().rpartition("/")[2])
        else:
            versions.append(reserve.__version__ if name == "reserve" else version(name))
    listed = ", ".join(f"{name} {one}" for name, one in zip(names, versions, strict=True))
    return f"{listed}; Python {platform.python_version()}, {ssl.OPENSSL_VERSION}; medians"


if __name__ == "__main__":
    sys.exit(main())
