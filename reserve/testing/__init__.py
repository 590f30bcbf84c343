"""What reserve tests itself with, and its users their applications: a clock, a client in memory, a running server.

- :class:`FakeClock` stands still until it is told the time; give it to a server, and no deadline passes by itself.
- :class:`MemoryClient` speaks to an application through the real protocol driver, without sockets and threads.
- :func:`check_adapter` checks that a TLS adapter does all that the engine needs; :class:`AdapterSuite`, one by one.
- :func:`running` serves a handler or a WSGI application on a free port of the loopback interface.
"""

from __future__ import annotations

from reserve.testing.adaptersuite import AdapterSuite, check_adapter
from reserve.testing.clock import FakeClock
from reserve.testing.memoryclient import MemoryClient, Response
from reserve.testing.memoryserver import MemorySocket
from reserve.testing.runningserver import RunningServer, running

__all__ = [
    "AdapterSuite",
    "FakeClock",
    "MemoryClient",
    "MemorySocket",
    "Response",
    "RunningServer",
    "check_adapter",
    "running",
]
