"""When a worker process asks for another one in its place: after so many requests, so much memory, or so much time.

The thread ``reserve-recycling`` looks once a second. It exists only with ``--max-requests``, ``--max-memory`` or
``--max-lifetime``.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, cast

from reserve.engine.metrics.memory import resident_memory
from reserve.engine.polling.patching import SystemThread
from reserve.engine.polling.threads import start_service

if TYPE_CHECKING:
    from reserve.engine.server import Server
    from reserve.options.sources import Values

__all__ = ["Limits", "start_recycling"]

_INTERVAL = 1.0
_JITTER = 0.1
"""The part by which a limit differs between processes, so that they are not all replaced at the same time."""
_MIB = 1 << 20


class Limits:
    """The limits of one process; the main thread makes it, the thread ``reserve-recycling`` uses it.

    :param values: the options.
    :param chance: a number from 0 to 1.
    """

    def __init__(self, values: Values, chance: Callable[[], float] = random.random) -> None:
        requests, jitter = (cast("int | None", values[field]) for field in ("max_requests", "max_requests_jitter"))
        lifetime = cast("float | None", values["max_lifetime"])
        self.memory = cast("int | None", values["max_memory"])
        self.requests = None
        if requests is not None:
            self.requests = requests + round((requests * _JITTER if jitter is None else jitter) * chance())
        self.lifetime = None if lifetime is None else lifetime * (1 + _JITTER * chance())

    def __bool__(self) -> bool:
        return any(limit is not None for limit in (self.requests, self.memory, self.lifetime))

    def check_start(self, memory: int) -> str:
        """What to warn of when the process begins to serve: its memory is over the limit already. Empty: it is not.

        Then the memory has no limit from now on: a new process would use as much, and be replaced at once.

        :param memory: bytes of its resident memory.
        """
        if self.memory is None or memory <= self.memory:
            return ""
        text = (
            f"--max-memory is {self.memory / _MIB:.0f} MiB, and this process uses {memory / _MIB:.0f} MiB when it "
            "begins to serve; it is not replaced for its memory, because a new one would use as much"
        )
        self.memory = None
        return text

    def reason(self, requests: int, memory: int, age: float) -> str:
        """Why the process should be replaced, as a clause; empty: it should not.

        :param requests: how many it has handled.
        :param memory: bytes of its resident memory; 0: unknown.
        :param age: seconds since it serves.
        """
        if self.requests is not None and requests >= self.requests:
            return f"it has served {requests} requests (--max-requests)"
        if self.memory is not None and memory > self.memory:
            return f"it uses {memory / _MIB:.0f} MiB of memory (--max-memory)"
        if self.lifetime is not None and age >= self.lifetime:
            return f"it has served for {age:.0f} s (--max-lifetime)"
        return ""


def start_recycling(limits: Limits, server: Server, recycle: Callable[[str], object]) -> None:
    """Look at a server until it has to be replaced, or stops.

    :param recycle: called once with the reason.
    :raises StartupError: the system starts no more threads.
    """
    if limits:
        arguments = limits, server, recycle
        start_service(SystemThread(target=_watch, args=arguments, name="reserve-recycling", daemon=True))


def _watch(limits: Limits, server: Server, recycle: Callable[[str], object]) -> None:
    started = time.monotonic()
    warning = limits.check_start(resident_memory() if limits.memory is not None else 0)
    if warning:
        server.log.warning(warning)
    while not server.stopping:
        memory = resident_memory() if limits.memory is not None else 0
        reason = limits.reason(server.stats().handled, memory, time.monotonic() - started)
        if reason:
            recycle(reason)
            return
        time.sleep(_INTERVAL)
