"""A token that exists once: the thread that takes it has the right that it stands for.

The compare-and-set of the engine. Taking a token is one call of the interpreter, ``deque.pop``, which returns it or
raises: two threads cannot both get it, no lock is needed, and a signal handler may come in between (22 ns, where a lock
takes 50). The thread that has it puts it back with ``append(True)``. A plain deque and a function, because the methods
of a subclass cost 35 ns more.
"""

from __future__ import annotations

from collections import deque
from typing import TypeAlias

__all__ = ["Token", "new_token", "take"]

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
