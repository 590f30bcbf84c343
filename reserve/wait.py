"""Waiting for a file descriptor: block the calling thread until it is readable or writable.

Any thread may call it. The leader and the monitor call it with a timeout of 0 only, which does not block.
"""

from __future__ import annotations

import select

__all__ = ["connection_reset", "peer_closed", "wait_for"]

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
