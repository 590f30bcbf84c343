"""Starting the threads of a server, or saying in one sentence why the system starts no more; and where a thread is.

Any thread may call it.
"""

from __future__ import annotations

import gc
import signal
import sys
import threading
from types import FrameType

from reserve.engine.polling.patching import refuse_green_threads
from reserve.engine.polling.processors import has_gil
from reserve.errors import StartupError

__all__ = [
    "LIMITS",
    "THREAD_PREFIX",
    "all_frames",
    "asynchronous_signals",
    "frame_of",
    "set_signal_mask",
    "signal_mask",
    "start_service",
    "start_thread",
]

LIMITS = "ulimit -u, the pids and memory limits of the container or cgroup, and ulimit -v limit them"
"""Where an operator finds the limits on threads, for messages."""


_FAULTS = ("SIGSEGV", "SIGBUS", "SIGFPE", "SIGILL", "SIGABRT", "SIGTRAP", "SIGSYS")

THREAD_PREFIX = "reserve"
"""What the names of a server's threads begin with, unless the program that makes the server says otherwise."""


def start_thread(thread: threading.Thread) -> None:
    """Start a thread that the server needs.

    :raises StartupError: the system starts no more threads, or a library of green threads has replaced them.
    """
    refuse_green_threads()
    try:
        thread.start()
    except (RuntimeError, MemoryError) as error:
        raise StartupError(
            f"the thread {thread.name} could not be started ({str(error) or 'out of memory'}); "
            f"{threading.active_count()} threads run in this process, and the system allows no more: {LIMITS}; "
            "with a lower --threads the server needs fewer"
        ) from None


def start_service(thread: threading.Thread) -> None:
    """Start a thread that runs no code of the application, and that takes no signal.

    The kernel may give a signal to any thread that does not block it. The interpreter's handler only writes a byte,
    but a thread that is about to write it dies with the byte when another thread executes the supervisor in the place
    of this process. So that thread blocks the signals, and so do all threads of the server that run then: a signal
    waits until the supervisor takes it. What such a thread starts begins with the same mask, which has to be set back
    there (:func:`signal_mask`).

    :raises StartupError: as :func:`start_thread`.
    """
    if not hasattr(signal, "pthread_sigmask"):
        start_thread(thread)
        return
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, asynchronous_signals())  # a thread begins with its starter's
    try:
        start_thread(thread)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def asynchronous_signals() -> set[int]:
    """All signals that do not mean a fault of the thread that gets them."""
    faults = {getattr(signal, name, None) for name in _FAULTS}
    return {number for number in signal.valid_signals() if number not in faults}


def signal_mask() -> set[int]:
    """The signals that the calling thread blocks."""
    return signal.pthread_sigmask(signal.SIG_BLOCK, ()) if hasattr(signal, "pthread_sigmask") else set()


def set_signal_mask(mask: set[int]) -> None:
    """Have the calling thread block these signals, and no others."""
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def frame_of(thread: threading.Thread) -> FrameType | None:
    """What a thread executes now, for a log line with its stack; None: it has ended, or see :func:`all_frames`."""
    frames = all_frames()
    return None if frames is None or thread.ident is None else frames.get(thread.ident)


def all_frames() -> dict[int, FrameType] | None:
    """What each thread executes now, by its number (:func:`threading.get_ident`). None: this Python has no GIL, so that
    a frame may change, and end, while another thread looks at it.
    """
    return _current_frames() if has_gil() else None


def _current_frames() -> dict[int, FrameType]:
    """Call ``sys._current_frames``. Meanwhile the garbage collector is off.

    CPython 3.11 holds the lock of its list of threads while it makes the result. A collection that begins there, and
    frees a ``threading.local`` of the application, waits for that lock for ever, and with it every other thread. (Of
    two threads that call this at the same moment, the first to leave switches it on.)
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        return sys._current_frames()
    finally:
        if enabled:
            gc.enable()
