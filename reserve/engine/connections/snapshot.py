"""What an open connection does at one moment, for people who look at a running server. Any thread."""

from __future__ import annotations

from dataclasses import dataclass

from reserve.engine.connections.connection import Connection
from reserve.engine.connections.peers import name_of_client
from reserve.engine.polling.timers import NEVER

__all__ = ["ConnectionStats", "describe_open"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionStats:
    """One open connection; owned by the caller of :meth:`~reserve.engine.server.Server.open_connections`.

    The other threads go on meanwhile, so the values may be of slightly different moments.
    """

    client: str
    """The address of the client: ``192.0.2.1:50000``; ``unix``."""
    state: str
    """``ready``, ``owned``, ``parked``, ``flushing``, ``lingering`` or ``closed``: see the architecture."""
    waits_for: str
    """What it waits for: ``request``, ``body``, ``write``, ``worker`` and so on; empty: it does not wait."""
    seconds_left: float
    """Seconds until it is closed, or refused, for waiting too long; -1: there is no limit, or it does not wait."""
    request: str
    """``GET /path``; empty: none, or a protocol without requests."""
    unsent: int
    """Bytes of its response that wait in memory or in a file for the client."""
    tls: bool


def describe_open(connection: Connection, now: float) -> ConnectionStats:
    """What a connection does now.

    :param now: seconds on the engine's clock.
    """
    state = connection.state.name.lower()
    waits = state in ("parked", "flushing", "lingering")
    deadline, output, driver = connection.deadline, connection.output, connection.driver
    waits_for = connection.wait_kind if waits else "worker" if connection.wants_worker else ""
    return ConnectionStats(
        client=name_of_client(connection),
        state=state,
        waits_for=waits_for,
        seconds_left=max(0.0, deadline - now) if waits and deadline != NEVER else -1.0,
        request=driver.describe(),
        unsent=0 if output is None else output.size,
        tls=connection.tls is not None,
    )
