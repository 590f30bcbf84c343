"""Descriptors with a number that no other file gets when they were closed by another part of the program.

The kernel gives a new descriptor the lowest number that is free. So a high number that an application has closed
(``os.closerange(3, n)``) stays free, and its next use fails. A low one would belong to the next connection of a client.
The interpreter would write the numbers of signals into it (``signal.set_wakeup_fd`` takes a number, and its handler
in C checks nothing), and the server would take what that client sends for signals.

Any thread may call it.
"""

from __future__ import annotations

import os
import select

__all__ = ["move_up"]

_HIGHEST = 65536
"""More than the descriptors of a server with the default of ``--max-connections``, and the table of so many needs half
a megabyte in the kernel.
"""
_ROOM = 64
"""Numbers below the limit among which there is a free one."""


def move_up(fd: int) -> int:
    """Give a descriptor a number near the limit of open files, and return it; the old number is closed.

    Returns ``fd`` itself where there is no such number, and without poll(2): select(2) takes low numbers only.
    """
    try:
        import fcntl
        import resource
    except ImportError:  # not a POSIX system
        return fd
    soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    highest = _HIGHEST if soft == resource.RLIM_INFINITY else min(soft, _HIGHEST)
    if not hasattr(select, "poll") or highest - _ROOM <= fd:
        return fd
    try:
        moved = fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, highest - _ROOM)
    except OSError:
        return fd
    os.close(fd)
    return moved
