"""Read from the kernel what a process and its children use: memory, processor time, descriptors, threads (Linux)."""

from __future__ import annotations

import contextlib
import os
import platform
import stat
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")
_STATES = {"01": "ESTABLISHED", "04": "FIN_WAIT1", "05": "FIN_WAIT2", "06": "TIME_WAIT", "08": "CLOSE_WAIT"}
_PROCESS_ENDED = (FileNotFoundError, ProcessLookupError)


@dataclass(frozen=True, kw_only=True)
class Usage:
    """Sums over a process and its descendants, because some servers work in a child."""

    rss_kib: int
    peak_kib: int
    """The sum of the highest VmRSS of each process so far."""
    cpu_seconds: float
    descriptors: int
    threads: int
    spooled_kib: int
    """Disk blocks of the regular files that are open, deleted files included."""


def usage(pid: int) -> Usage:
    """The usage of a process and its descendants now."""
    usages = [_usage_of(process) for process in tree(pid)]
    return Usage(
        rss_kib=sum(each.rss_kib for each in usages),
        peak_kib=sum(each.peak_kib for each in usages),
        cpu_seconds=sum(each.cpu_seconds for each in usages),
        descriptors=sum(each.descriptors for each in usages),
        threads=sum(each.threads for each in usages),
        spooled_kib=sum(each.spooled_kib for each in usages),
    )


@dataclass(frozen=True, kw_only=True)
class Times:
    """Seconds of processor time."""

    user: float
    system: float


def cpu_times(pid: int) -> Times:
    """What a process and its descendants have used so far. Counted in ticks, as a rule of 10 ms, for each process."""
    user = system = 0.0
    for process in tree(pid):
        with contextlib.suppress(*_PROCESS_ENDED):
            times = times_in(Path(f"/proc/{process}/stat").read_text())
            user += times.user
            system += times.system
    return Times(user=user, system=system)


def tree(pid: int) -> list[int]:
    """The ids of the process and its descendants."""
    pids = [pid]
    for process in pids:
        with contextlib.suppress(*_PROCESS_ENDED):
            for task in Path(f"/proc/{process}/task").iterdir():
                with contextlib.suppress(*_PROCESS_ENDED):
                    pids.extend(int(child) for child in (task / "children").read_text().split())
    return pids


def switches(pid: int) -> int:
    """Thread switches of the process and its descendants so far, voluntary or not, without threads that have ended."""
    count = 0
    for process in tree(pid):
        with contextlib.suppress(*_PROCESS_ENDED):
            for task in Path(f"/proc/{process}/task").iterdir():
                with contextlib.suppress(*_PROCESS_ENDED):
                    fields = status_fields((task / "status").read_text())
                    count += fields["voluntary_ctxt_switches"] + fields["nonvoluntary_ctxt_switches"]
    return count


def tcp_states(port: int) -> Counter[str]:
    """By state: the number of connections of a local IPv4 port, as the kernel sees the side of that port."""
    return states_in(Path("/proc/net/tcp").read_text(), port)


def states_in(text: str, port: int) -> Counter[str]:
    """The same from the text of ``/proc/net/tcp``."""
    local = f":{port:04X}"
    states: Counter[str] = Counter()
    for line in text.splitlines()[1:]:
        columns = line.split()
        if columns[1].endswith(local):
            states[_STATES.get(columns[3], columns[3])] += 1
    return states


def machine_seconds() -> float:
    """Seconds of processor time that all programs of the machine have used so far, on all processors together."""
    return busy_in(Path("/proc/stat").read_text())


def busy_in(text: str) -> float:
    """The same from the text of ``/proc/stat``: all times of its first line but those in which a processor was idle."""
    user, nice, system, _, _, interrupts, soft_interrupts = (int(each) for each in text.split(maxsplit=8)[1:8])
    return (user + nice + system + interrupts + soft_interrupts) / _TICKS


def processor() -> str:
    """The model and the architecture of the first processor."""
    for line in Path("/proc/cpuinfo").read_text("utf-8", "replace").splitlines():
        if line.startswith("model name"):
            return f"{line.partition(':')[2].strip()} ({platform.machine()})"
    return platform.machine()


def status_fields(text: str) -> dict[str, int]:
    """The numbers in the text of ``/proc/PID/status``, without their units."""
    numbers = {}
    for line in text.splitlines():
        name, _, value = line.partition(":")
        columns = value.split()
        if columns and columns[0].isdigit():
            numbers[name] = int(columns[0])
    return numbers


def times_in(text: str) -> Times:
    """The times in the text of ``/proc/PID/stat``; the process name in it may have blanks and brackets."""
    fields = text.rpartition(")")[2].split()
    return Times(user=int(fields[11]) / _TICKS, system=int(fields[12]) / _TICKS)


def cpu_seconds(text: str) -> float:
    """User and system time together in the text of ``/proc/PID/stat``."""
    times = times_in(text)
    return times.user + times.system


def _usage_of(pid: int) -> Usage:
    folder = Path(f"/proc/{pid}")
    try:
        status = status_fields((folder / "status").read_text())
        cpu = cpu_seconds((folder / "stat").read_text())
        descriptors = list((folder / "fd").iterdir())
    except _PROCESS_ENDED:
        return Usage(rss_kib=0, peak_kib=0, cpu_seconds=0.0, descriptors=0, threads=0, spooled_kib=0)
    blocks: dict[tuple[int, int], int] = {}
    for descriptor in descriptors:
        with contextlib.suppress(OSError):
            info = descriptor.stat()
            if stat.S_ISREG(info.st_mode):
                blocks[info.st_dev, info.st_ino] = info.st_blocks
    return Usage(
        rss_kib=status.get("VmRSS", 0),
        peak_kib=status.get("VmHWM", 0),
        cpu_seconds=cpu,
        descriptors=len(descriptors),
        threads=status.get("Threads", 0),
        spooled_kib=sum(blocks.values()) // 2,
    )
