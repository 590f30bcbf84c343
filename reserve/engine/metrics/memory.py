"""How much memory this process has. Any thread."""

from __future__ import annotations

import os
import sys

__all__ = ["resident_memory"]


def resident_memory() -> int:
    """Bytes of the resident memory of this process; where the system does not tell it, the most that it ever was; 0 if
    that is unknown, too.
    """
    try:
        with open("/proc/self/statm", "rb") as file:
            return int(file.read(200).split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        pass
    try:
        import resource
    except ImportError:  # not a POSIX system
        return 0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
