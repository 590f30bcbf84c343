"""Waiting for a file descriptor: block the calling thread until it is readable or writable; and writing without that.

Any thread may call it. The leader and the monitor call it with a timeout of 0 only, which does not block.
"""

from __future__ import annotations

import os
import select
import socket
import stat
import time

__all__ = ["connection_reset", "peer_closed", "wait_for", "write_within"]

_PIPE_BUF: int = getattr(select, "PIPE_BUF", 512)
"""How many bytes a pipe takes as a whole (POSIX)."""

_MAX_TIMEOUT = 86400.0
"""Seconds. poll(2) takes milliseconds as a C int, which a longer timeout could overflow."""


def wait_for(fd: int, timeout: float | None, *, write: bool = False, wake: int = -1) -> bool:
    """Block until the descriptor is readable, or another one is; False if the time has passed.

    :param timeout: seconds, None for no limit. It may return False earlier, after a day.
    :param write: wait until ``fd`` is writable instead.
    :param wake: another descriptor that ends the wait when it is readable, -1 for none.
    """
    if timeout is not None:
        timeout = min(timeout, _MAX_TIMEOUT)
    if hasattr(select, "poll"):
        poll = select.poll()
        poll.register(fd, select.POLLOUT if write else select.POLLIN)
        if wake >= 0:
            poll.register(wake, select.POLLIN)
        return bool(poll.poll(None if timeout is None else timeout * 1000))
    readable = [number for number in (-1 if write else fd, wake) if number >= 0]
    return any(select.select(readable, [fd] if write else [], [], timeout))


def peer_closed(fd: int) -> bool:
    """Whether the peer has closed its side, even if bytes that it sent before are still unread. Only Linux can tell."""
    mask = getattr(select, "POLLRDHUP", 0)
    if not mask or fd < 0:
        return False
    poll = select.poll()
    poll.register(fd, mask)
    return bool(poll.poll(0))


def connection_reset(fd: int) -> bool:
    """Whether the connection is gone in both directions, so that nobody would read a response.

    False for a peer that has closed only its side, and on platforms without poll(2), where that cannot be told.
    """
    if fd < 0 or not hasattr(select, "poll"):
        return False
    poll = select.poll()
    poll.register(fd, 0)  # these two are reported for any mask
    return any(events & (select.POLLERR | select.POLLHUP) for _, events in poll.poll(0))


def write_within(fd: int, data: bytes, timeout: float) -> int:
    """Write bytes to a standard stream whose reader may have stopped: a pipe, a terminal, the socket of a log service.
    Return how many were written.

    The descriptor is left as it is: other processes have it, too, so it cannot be made non-blocking.

    :param timeout: seconds to wait for room, all in all.
    :raises OSError: as ``os.write``.
    """
    mode = os.fstat(fd).st_mode
    if stat.S_ISREG(mode):
        return os.write(fd, data)
    deadline = time.monotonic() + timeout
    write = _send if stat.S_ISSOCK(mode) else _write_to_pipe if stat.S_ISFIFO(mode) else os.write
    done = 0
    while done < len(data) and wait_for(fd, max(0.0, deadline - time.monotonic()), write=True):
        # Whole lines, because others may write between two pieces; and no more than there is room for now.
        end = data.rfind(b"\n", done, done + _PIPE_BUF) + 1 or done + _PIPE_BUF
        try:
            done += write(fd, data[done:end])
        except BlockingIOError:  # another process was faster
            if time.monotonic() >= deadline:
                break
    return done


def _send(fd: int, data: bytes) -> int:
    with socket.socket(fileno=os.dup(fd)) as sock:
        return sock.send(data, getattr(socket, "MSG_DONTWAIT", 0))


def _write_to_pipe(fd: int, data: bytes) -> int:
    """Write to a pipe through a description of its own, which does not block. Where there is none (no /proc, or the
    pipe of another user) there is room for PIPE_BUF bytes, unless another process writes at the same moment.
    """
    try:
        own = os.open(f"/proc/self/fd/{fd}", os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return os.write(fd, data)
    try:
        return os.write(own, data)
    finally:
        os.close(own)
