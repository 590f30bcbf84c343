"""What the kernel says of one thread of this process: whether it sleeps, and how long it has waited for a processor.

Linux tells it in ``/proc/self/task`` (proc(5)). Each call opens a file and closes it again, 20 to 40 us: a descriptor
that stays open would have to be closed by a forked child, and with the thread. Elsewhere, without ``/proc``, without a
free descriptor, and for a thread that has ended, the functions return None. Any thread may call them.
"""

from __future__ import annotations

import os

__all__ = ["run_queue_wait", "sleeps"]


def sleeps(ident: int | None) -> bool | None:
    """Say whether a thread sleeps in the kernel. False: it runs, or waits for a processor. None: the system does not
    tell.

    The calling thread releases the GIL before the kernel is asked. So a thread that waits for nothing but the GIL that
    the caller has had does not count as sleeping.

    :param ident: the number that the system has given it: :attr:`threading.Thread.native_id`.
    """
    text = _read(f"/proc/self/task/{ident}/stat", 128)
    # The second field is the name of the thread in parentheses, at most 64 bytes of any kind; the third is the state.
    _, found, rest = text.rpartition(b") ")
    return rest[:1] not in (b"R", b"x", b"X", b"Z") if found and rest else None


def run_queue_wait() -> float | None:
    """Seconds that the calling thread has waited for a processor since it began; None: the system does not tell.

    A kernel without CONFIG_SCHED_INFO, which tells nothing, has only zeros in the file.
    """
    fields = _read("/proc/thread-self/schedstat", 64).split()
    if len(fields) != 3 or fields[2] == b"0":
        return None
    try:
        return int(fields[1]) / 1e9
    except ValueError:
        return None


def _read(path: str, size: int) -> bytes:
    """The first ``size`` bytes of a file; empty: it cannot be opened or read."""
    try:
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0))
        try:
            return os.read(descriptor, size)
        finally:
            os.close(descriptor)
    except OSError:
        return b""
