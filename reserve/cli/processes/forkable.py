"""Whether a process that has imported an application can be forked (``--preload``): its threads and its connections.

Used by the main thread of a zygote.
"""

from __future__ import annotations

import os
import socket
import stat
import threading
import time
from collections.abc import Sequence

__all__ = ["connections", "refusal", "shared_connections", "thread_names"]

_THREAD_END = 1.0
"""Seconds that threads of the application may take to end. The system lists a thread for a moment after its end."""
_POLL = 0.01
_MAX_NAMES = 5
"""How many threads or connections a message names."""
_TASKS = "/proc/self/task"
_DESCRIPTORS = "/dev/fd"


def thread_names() -> list[str]:
    """The names of the threads beside the main thread; threads that end within a second do not count.

    Linux lists also those that no code in Python has started. Elsewhere only Python's own are found.
    """
    until = time.monotonic() + _THREAD_END
    while True:
        python = {
            thread.native_id: thread.name for thread in threading.enumerate() if thread is not threading.main_thread()
        }
        names = [f"{name} (of a library)" for number, name in _system_threads().items() if number not in python]
        if not python and not names:
            return []
        if time.monotonic() >= until:
            return sorted(python.values()) + sorted(names)
        time.sleep(_POLL)


def _system_threads() -> dict[int, str]:
    """The names of the threads beside the main thread, by their numbers, as the system lists them."""
    threads: dict[int, str] = {}
    try:
        numbers = [int(name) for name in os.listdir(_TASKS)]
    except OSError:  # not Linux
        return threads
    for number in numbers:
        if number != os.getpid():
            try:
                with open(f"{_TASKS}/{number}/comm", encoding="utf-8", errors="backslashreplace") as file:
                    threads[number] = file.read().strip()
            except OSError:  # it has ended meanwhile
                continue
    return threads


def refusal(names: Sequence[str]) -> str:
    """Why a process with these threads forks no workers."""
    count = "a thread" if len(names) == 1 else f"{len(names)} threads"
    more = f" and {len(names) - _MAX_NAMES} more" if len(names) > _MAX_NAMES else ""
    return (
        f"--preload: the application has started {count} when it was imported: {', '.join(names[:_MAX_NAMES])}{more}; "
        "a process with threads cannot be forked safely, so leave --preload out, or start threads in a function for "
        "--on-process-start"
    )


def connections() -> dict[tuple[int, int], str]:
    """The peers of the connections of this process, by device and inode of the socket.

    Datagram sockets do not count: each datagram stays whole. Nor do pairs of sockets, whose peers have no address.
    """
    peers: dict[tuple[int, int], str] = {}
    try:
        names = os.listdir(_DESCRIPTORS)
    except OSError:
        return peers
    for name in names:
        try:
            status = os.fstat(int(name))
            if not stat.S_ISSOCK(status.st_mode):
                continue
            with socket.socket(fileno=os.dup(int(name))) as sock:
                peer = sock.getpeername() if sock.type == socket.SOCK_STREAM else ""
        except OSError:  # not connected, or the descriptor of the listing
            continue
        if isinstance(peer, tuple):
            host, port = peer[:2]
            peer = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        elif isinstance(peer, bytes):
            peer = os.fsdecode(peer).replace("\0", "@")
        if peer:
            peers[status.st_dev, status.st_ino] = peer
    return peers


def shared_connections(peers: Sequence[str]) -> str:
    """What is wrong with connections that a process has when it forks."""
    more = f" and {len(peers) - _MAX_NAMES} more" if len(peers) > _MAX_NAMES else ""
    what = "a connection" if len(peers) == 1 else f"{len(peers)} connections"
    which = "it" if len(peers) == 1 else "each of them"
    return (
        f"--preload: the application has opened {what} when it was imported: {', '.join(sorted(peers)[:_MAX_NAMES])}"
        f"{more}; all worker processes share {which}, and mix up what they send and receive, so open connections in a "
        "function for --on-process-start"
    )
