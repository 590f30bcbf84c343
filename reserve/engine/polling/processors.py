"""How many processors this process may use: those that the system gives it, within the quota of its control group; and
whether several threads can run Python on them at once.

Runs on the thread that makes a server. A container with ``--cpus 2`` on a machine with 64 processors has all 64 in its
affinity mask, and a quota of two (``cpu.max`` of cgroup v2, ``cpu.cfs_quota_us`` of v1).
"""

from __future__ import annotations

import math
import os
import sys

__all__ = ["free_threaded", "has_gil", "parallel_threads", "usable_processors"]

_MAX = 1 << 16
"""Bytes that are read of a file."""


def has_gil() -> bool:
    """Whether the interpreter runs Python on one thread at a time: always, unless it is a free-threaded build, and no
    extension module that was imported has switched the GIL on again.
    """
    return bool(getattr(sys, "_is_gil_enabled", lambda: True)())


def free_threaded() -> bool:
    """Whether this is a build of CPython that can run without the GIL, with the GIL or without it."""
    return "free-threading" in sys.version


def parallel_threads() -> int:
    """How many threads can run Python at once."""
    return 1 if has_gil() else usable_processors()


def usable_processors(root: str = "/") -> int:
    """The number of processors, at least 1.

    :param root: the directory with ``proc`` and ``sys``.
    """
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min([count, *(math.ceil(quota) for quota in _quotas(root))]))


def _quotas(root: str) -> list[float]:
    """The quotas of the control groups of this process, and of those around them, in processors."""
    quotas = []
    for line in _read(os.path.join(root, "proc/self/cgroup")).splitlines():
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if controllers and "cpu" not in controllers.split(","):
            continue
        bases = ["sys/fs/cgroup"] if not controllers else [f"sys/fs/cgroup/{controllers}", "sys/fs/cgroup/cpu"]
        parts = [part for part in path.split("/") if part not in ("", "..")]
        for base in bases:
            for length in range(len(parts) + 1):
                quotas.append(_quota(os.path.join(root, base, *parts[:length]), is_v2=not controllers))
    return [quota for quota in quotas if quota is not None]


def _quota(directory: str, *, is_v2: bool) -> float | None:
    if is_v2:
        quota, _, period = _read(os.path.join(directory, "cpu.max")).strip().partition(" ")
    else:
        quota, period = (_read(os.path.join(directory, f"cpu.cfs_{name}_us")).strip() for name in ("quota", "period"))
    try:
        return int(quota) / int(period) if int(quota) > 0 else None
    except (ValueError, ZeroDivisionError):  # "max", or there is no such file
        return None


def _read(path: str) -> str:
    try:
        with open(path, encoding="ascii", errors="replace") as file:
            return file.read(_MAX)
    except OSError:
        return ""
