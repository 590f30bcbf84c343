"""Out of memory: what the engine promises when an allocation fails, and the helper that keeps the promise.

Any allocation may fail, at a moment when a thread owns a connection or has the lead. The rules, for all of the engine:

1. A function that passes a connection or the lead on (``ReadyQueue.put``, ``ReadyQueue.park``, ``RunQueue.put``,
   ``Lead.hand_over``, ``Connection.return_token``) raises MemoryError only if, afterwards, the caller still owns the
   connection (or has the lead). So the caller that catches the error can close the connection. After a step that cannot
   be undone the function raises nothing: it retries the next steps until they succeed, inline where even calling
   another function would allocate.
2. What ends a connection (``Closer.dispose`` and what it calls) is retried as a whole, because each of its steps may be
   repeated and none may be left out. :func:`retried` does that.
3. What wakes a thread needs no memory (:mod:`reserve.engine.polling.waiter`), or is retried.
4. Events and deadlines that were lost with an allocation are made up for: the reactor has every connection that waits
   stepped once, because every event may be spurious.

``tests/adversity/test_no_memory.py`` fails every allocation in turn.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable
from typing import ParamSpec, TypeVar

__all__ = ["retried"]

P = ParamSpec("P")
T = TypeVar("T")


def retried(function: Callable[P, T]) -> Callable[P, T]:
    """Call the function again, as a whole, for as long as it raises MemoryError; its steps must bear repetition.

    Another thread gets its turn in between: it may be the one that gives memory back.
    """

    @functools.wraps(function)
    def until_done(*args: P.args, **kwargs: P.kwargs) -> T:
        while True:
            try:
                return function(*args, **kwargs)
            except MemoryError:
                time.sleep(0)

    return until_done
