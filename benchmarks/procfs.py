"""What the kernel says about a process and its children: memory, processor time, descriptors, threads (Linux)."""

from __future__ import annotations

import contextlib
import os
import stat
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")
_STATES = {"01": "ESTABLISHED", "04": "FIN_WAIT1", "05": "FIN_WAIT2", "06": "TIME_WAIT", "08": "CLOSE_WAIT"}
_GONE = (FileNotFoundError, ProcessLookupError)


@dataclass(frozen=True, kw_only=True)
class Usage:
    """Sums over a process and everything below it: some servers work in a child."""

    rss_kib: int
    peak_kib: int
    """The sum of each one's highest VmRSS so far."""
    cpu_seconds: float
    descriptors: int
    threads: int
    spooled_kib: int
    """Disk blocks of the regular files that are open, deleted ones too."""


def usage(pid: int) -> Usage:
    found = [_one(each) for each in tree(pid)]
    return Usage(
        rss_kib=sum(one.rss_kib for one in found),
        peak_kib=sum(one.peak_kib for one in found),
        cpu_seconds=sum(one.cpu_seconds for one in found),
        descriptors=sum(one.descriptors for one in found),
        threads=sum(one.threads for one in found),
        spooled_kib=sum(one.spooled_kib for one in found),
    )


def tree(pid: int) -> list[int]:
    """The process and its descendants."""
    pids = [pid]
    for each in pids:
        with contextlib.suppress(*_GONE):
            for task in Path(f"/proc/{each}/task").iterdir():
                with contextlib.suppress(*_GONE):
                    pids.extend(int(child) for child in (task / "children").read_text().split())
    return pids


def tcp_states(port: int) -> Counter[str]:
    """How many connections of a local IPv4 port are in which state, as the kernel sees the port's side."""
    return states_in(Path("/proc/net/tcp").read_text(), port)


def states_in(text: str, port: int) -> Counter[str]:
    """The same from the text of ``/proc/net/tcp``."""
    local = f":{port:04X}"
    states: Counter[str] = Counter()
    for line in text.splitlines()[1:]:
        words = line.split()
        if words[1].endswith(local):
            states[_STATES.get(words[3], words[3])] += 1
    return states


def status_fields(text: str) -> dict[str, int]:
    """The numbers of ``/proc/PID/status``, without their units."""
    numbers = {}
    for line in text.splitlines():
        name, _, value = line.partition(":")
        words = value.split()
        if words and words[0].isdigit():
            numbers[name] = int(words[0])
    return numbers


def cpu_seconds(text: str) -> float:
    """User and system time of ``/proc/PID/stat``; the name in it may hold blanks and brackets."""
    fields = text.rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def _one(pid: int) -> Usage:
    home = Path(f"/proc/{pid}")
    try:
        status = status_fields((home / "status").read_text())
        cpu = cpu_seconds((home / "stat").read_text())
        descriptors = list((home / "fd").iterdir())
    except _GONE:
        return Usage(rss_kib=0, peak_kib=0, cpu_seconds=0.0, descriptors=0, threads=0, spooled_kib=0)
    blocks: dict[tuple[int, int], int] = {}
    for descriptor in descriptors:
        with contextlib.suppress(OSError):
            found = descriptor.stat()
            if stat.S_ISREG(found.st_mode):
                blocks[found.st_dev, found.st_ino] = found.st_blocks
    return Usage(
        rss_kib=status.get("VmRSS", 0),
        peak_kib=status.get("VmHWM", 0),
        cpu_seconds=cpu,
        descriptors=len(descriptors),
        threads=status.get("Threads", 0),
        spooled_kib=sum(blocks.values()) // 2,
    )
