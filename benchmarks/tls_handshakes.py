"""``python -m benchmarks.tls_handshakes``: what a full handshake costs reserve, nginx, and the ``ssl`` module alone.

Full handshakes (P-256, no resumption), each on a new connection with one small request, for each second of the server's
processor time (user and system). The floors (:mod:`benchmarks.tls_floor`) do nothing but that with the standard
library. One server runs at a time on the first processor, its clients on the second; the order is reversed in every
other round. It prints medians, the microseconds of each handshake, the lowest and highest round, and the ratio to
nginx. Exit code 0: measured; 2: something is missing.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.process import Unmeasurable
from benchmarks.procfs import tree
from benchmarks.tls import full_handshakes, setting
from benchmarks.tls_servers import FLOORS, in_rounds, started

__all__ = ["Round", "main", "table"]

_NANOSECONDS = 1e9
_DEFAULT = ("reserve", *FLOORS, "nginx")
_REFERENCE = "nginx"


@dataclass(frozen=True, kw_only=True)
class Round:
    """What one round has measured of one server."""

    handshakes: int
    cpu_seconds: float
    """The processor time of the server, user and system."""
    seconds: float

    @property
    def per_cpu_second(self) -> float:
        return self.handshakes / self.cpu_seconds


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print, and return the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.tls_handshakes", description=__doc__.partition("\n\n")[0]
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2, help="how long each time")
    parser.add_argument("--threads", type=int, default=16, help="of reserve")
    parser.add_argument("--servers", default=",".join(_DEFAULT), help="which, separated by commas")
    options = parser.parse_args(arguments)
    names = options.servers.split(",")
    rounds: dict[str, list[Round]] = defaultdict(list)

    def measure(name: str, folder: Path) -> None:
        rounds[name].append(_measure(name, folder, options.threads, options.seconds))

    if not in_rounds("benchmarks.tls_handshakes", names, options.rounds, ("openssl",), measure):
        return 2
    print(setting([name for name in names if name not in FLOORS]))
    print(table(rounds))
    return 0


def table(rounds: Mapping[str, Sequence[Round]]) -> str:
    """One line for each server: medians, the spread, and the ratio of the medians to nginx's."""
    medians = {name: statistics.median(each.per_cpu_second for each in all_) for name, all_ in rounds.items()}
    reference = medians.get(_REFERENCE)
    columns = ("1/CPU s", "lowest", "highest", "us each", "1/s", "/ nginx")
    lines = [f"{'full handshakes, P-256':28}" + "".join(f"{column:>9}" for column in columns)]
    for name, all_ in rounds.items():
        rates = [each.per_cpu_second for each in all_]
        speed = statistics.median(each.handshakes / each.seconds for each in all_)
        figures = (medians[name], min(rates), max(rates), 1e6 / medians[name], speed)
        ratio = f"{medians[name] / reference:9.2f}" if reference else f"{'-':>9}"
        lines.append(f"{name:28}" + "".join(f"{figure:9.0f}" for figure in figures) + ratio)
    return "\n".join(lines)


def _measure(name: str, folder: Path, threads: int, seconds: float) -> Round:
    cert = folder / "p256.pem"
    with started(name, folder, "p256", threads) as (pid, port):
        before = _cpu_seconds(pid)
        counts = full_handshakes(port, cert, seconds)
        cpu_seconds = _cpu_seconds(pid) - before
    if counts["failed"] or not counts["done"]:
        raise Unmeasurable(f"{name}: {counts['failed']} of {counts['done'] + counts['failed']} handshakes failed")
    return Round(handshakes=counts["done"], cpu_seconds=cpu_seconds, seconds=seconds)


def _cpu_seconds(pid: int) -> float:
    """The processor time of all threads of a process and its descendants, to the nanosecond."""
    nanoseconds = 0
    for process in tree(pid):
        for task in Path(f"/proc/{process}/task").iterdir():
            nanoseconds += int((task / "schedstat").read_text().split()[0])
    return nanoseconds / _NANOSECONDS


if __name__ == "__main__":
    sys.exit(main())
