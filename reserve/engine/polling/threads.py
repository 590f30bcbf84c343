"""Starting the threads of a server, or saying in one sentence why the system starts no more.

Any thread may call it.
"""

from __future__ import annotations

import threading

from reserve.engine.polling.patching import refuse_green_threads
from reserve.errors import StartupError

__all__ = ["LIMITS", "start_thread"]

LIMITS = "ulimit -u, the pids and memory limits of the container or cgroup, and ulimit -v limit them"
"""Where an operator finds the limits on threads, for messages."""


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
