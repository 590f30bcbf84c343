"""``server.requests``: the numbers of a pool of threads. The threads themselves belong to the engine.

Any thread may read them.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from reserve.engine.metrics.stats import Stats

__all__ = ["ThreadPool"]


class ThreadPool:
    """How many threads a server shall have, and how many it has. The server makes and owns it.

    The engine starts threads while requests wait, up to ``max``, and ends idle ones, so a program cannot do it: there
    is no ``grow``, ``shrink``, ``put`` or ``get``.

    :param server: the :class:`~reserve.compat.cheroot.server.HTTPServer`.
    :param min: threads that are always there; 1 or more.
    :param max: the most threads; -1 or infinity: as many as ``min``, which is what cheroot makes of it.
    :param accepted_queue_size: requests that may wait for a thread; more get a 503. 0 or less: the default of reserve
        (``--max-queued``).
    :param accepted_queue_timeout: not used: a request that finds the queue full gets its 503 at once.

    Raises ValueError for a ``min`` or ``max`` that is too small, TypeError for a ``max`` that is no number of threads.
    """

    def __init__(
        self,
        server: Any,
        min: int = 10,
        max: float = -1,
        accepted_queue_size: int = -1,
        accepted_queue_timeout: float = 10,
    ) -> None:
        if min < 1:
            raise ValueError(f"a pool of threads needs at least one: min={min!r}")
        if max != math.inf and (not isinstance(max, int) or max == 0):
            raise TypeError(f"max is a number of threads, or -1 or infinity for no limit, not {max!r}")
        if 0 < max < min:
            raise ValueError(f"max={max!r} is less than min={min!r}")
        self.server = server
        self.min = min
        """Read when the server starts."""
        self.max: float = max if max > 0 else math.inf
        """Read when the server starts."""
        self.accepted_queue_size = accepted_queue_size
        self.accepted_queue_timeout = accepted_queue_timeout

    def _stats(self) -> Stats | None:
        engine = self.server.engine
        return None if engine is None else engine.stats()

    @property
    def threads(self) -> tuple[int, int]:
        """The minimum and the maximum, for the engine."""
        return self.min, int(self.max) if self.max != math.inf else self.min

    @property
    def idle(self) -> int:
        """Threads that run no application now."""
        stats = self._stats()
        return 0 if stats is None else max(0, stats.threads - stats.busy)

    @property
    def qsize(self) -> int:
        """Connections that wait for a thread."""
        stats = self._stats()
        return 0 if stats is None else stats.queued

    @property
    def count(self) -> int:
        """Threads that there are now; cheroot has no public name for it."""
        stats = self._stats()
        return 0 if stats is None else stats.threads
