"""A token that exists once: the thread that takes it has the right that it stands for.

The compare-and-set of the engine. Taking a token is one call of the interpreter, ``deque.pop``, which returns it or
raises: two threads cannot both get it, no lock is needed, and a signal handler may come in between (22 ns, where a lock
takes 50). The thread that has it puts it back with ``append(True)``. A plain deque and a function, because the methods
of a subclass cost 35 ns more.

Where two threads write one thing and then read what the other one has written, a deque orders them, too: see
:func:`pass_lock`.
"""

from __future__ import annotations

from collections import deque
from typing import Any, TypeAlias

__all__ = ["Token", "new_token", "pass_lock", "take"]

Token: TypeAlias = "deque[bool]"
"""The place of one token: with the token in it, or empty because a thread has it. Any thread looks and takes."""


def new_token(*, present: bool = False) -> Token:
    """Make the place of a token.

    :param present: the token is in it; False: the thread that calls has the token.
    """
    return deque((True,) if present else (), 1)


def take(token: Token) -> bool:
    """Take the token; False when another thread has it. Any thread."""
    try:
        return token.pop()
    except IndexError:
        return False


def pass_lock(queue: deque[Any]) -> None:
    """Take the lock that the interpreter has for a deque, and free it. Any thread; it needs no memory.

    Without the GIL a processor may execute a read before a write that precedes it. So when one thread says that it
    sleeps and then looks for work, and another one adds work and then looks whether the first one sleeps, both may see
    the old state. When each of them passes the same lock in between, one of them comes second, and sees what the other
    one has written. Every method that changes a deque passes its lock; ``len`` and ``bool`` do not.
    """
    queue.rotate(0)
