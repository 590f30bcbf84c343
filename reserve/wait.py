"""Blocking a thread until a descriptor is ready: for workers, and for the accept thread's pauses.

Any thread may call it; the leader and the monitor never do, but with a timeout of 0.
"""

from __future__ import annotations

import select

__all__ = ["has_ended", "wait_for"]


def wait_for(fd: int, timeout: float | None, *, write: bool = False, wake: int = -1) -> bool:
    """Block this thread until the descriptor is readable (or writable), or ``wake`` is readable; False when
    ``timeout`` seconds passed.

    :param wake: another descriptor that ends the wait, -1 for none.
    """
    if timeout is not None:
        timeout = min(timeout, 86400.0)  # poll(2) counts milliseconds in an int; callers look at their clock again
    if hasattr(select, "poll"):
        poll = select.poll()
        poll.register(fd, select.POLLOUT if write else select.POLLIN)
        if wake >= 0:
            poll.register(wake, select.POLLIN)
        return bool(poll.poll(None if timeout is None else timeout * 1000))
    reading = [one for one in (-1 if write else fd, wake) if one >= 0]
    return any(select.select(reading, [fd] if write else [], [], timeout))


def has_ended(fd: int) -> bool:
    """Say whether the peer has ended its side, also when octets wait to be read before that. Only Linux can tell."""
    mask = getattr(select, "POLLRDHUP", 0)
    if not mask or fd < 0:
        return False
    poll = select.poll()
    poll.register(fd, mask)
    return bool(poll.poll(0))
