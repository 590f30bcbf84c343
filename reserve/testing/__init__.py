"""Tools for tests, those of reserve and those of its users' applications: a clock, a client in memory, a server.

- :class:`FakeClock` stands still until a test advances it; a server that has it lets no deadline pass by itself.
- :class:`MemoryClient` sends requests to an application through the real protocol driver, without sockets and threads.
- :func:`check_adapter` checks that a TLS adapter does all that the engine needs; :class:`AdapterSuite` has the same
  checks one by one.
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
