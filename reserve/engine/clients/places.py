"""Limits for each client: how many connections it may have open, and how many of its requests may run.

A client is an address: an IPv4 address; of IPv6 the first 64 bits, because a client has the other 64 to choose from. An
IPv4 address in IPv6 counts as IPv4. All clients without an address (on UNIX sockets, and those that a frontend does not
name) count as one. See ``reserve/docs/decisions/0043-client-limits.md``.

A :class:`Place` is one connection or one request. The tables have entries only for clients with a place that is held,
so what strangers send cannot make them grow beyond the connections that are open.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from enum import Enum
from functools import lru_cache
from ipaddress import IPv6Address, ip_address

from reserve.engine.settings import EngineSettings
from reserve.sockets.proxies import TrustedProxies, trusted_proxies

__all__ = ["HELD", "NONE", "WAITS", "ClientLimit", "ClientLimits", "Place", "PlaceState", "client_of"]

_KNOWN = 4096
"""Addresses whose clients are kept, so that an address is parsed once for many requests."""
_HOST_BITS = 64


def client_of(host: str) -> str:
    """The client that an address belongs to, as a key: ``192.0.2.1``, ``2001:db8:0:1::/64``; empty for what is no
    address.
    """
    try:
        address = ip_address(host)
    except ValueError:
        return ""
    if isinstance(address, IPv6Address):
        if address.ipv4_mapped is not None:
            return str(address.ipv4_mapped)
        return f"{IPv6Address(int(address) >> _HOST_BITS << _HOST_BITS)}/{_HOST_BITS}"
    return str(address)


class PlaceState(Enum):
    """What a place is."""

    NONE = "none"
    """It does not count."""
    WAITS = "waits"
    """It is held as soon as another one of its client is free."""
    HELD = "held"
    """It counts."""


NONE, WAITS, HELD = PlaceState


class Place:
    """A place of one client: for one connection, or for one request. Whatever has it returns it with :meth:`leave`.

    :param limit: where it counts.
    :param client: see :func:`client_of`.
    :param on_held: called when the place is held after it has waited, on any thread; None: the place never waits.
    """

    __slots__ = ("client", "limit", "on_held", "state")

    def __init__(self, limit: ClientLimit, client: str, on_held: Callable[[], object] | None) -> None:
        self.limit = limit
        self.client = client
        self.on_held = on_held
        self.state = NONE
        """Read and written with the lock of the limit."""

    def enter(self, most_waiting: int = 0) -> PlaceState:
        """Hold the place, or wait for it. NONE: its client holds as many as it may, and as many wait.

        :param most_waiting: how many places of one client may wait.

        A second call changes nothing while the place is held or waits. A MemoryError leaves it as it was.
        """
        return self.limit.enter(self, most_waiting)

    def leave(self) -> None:
        """Return the place, or stop to wait. Any thread; a second call, also after a MemoryError, does no harm.

        Nothing is called between two writes, so that not even RequestTimeout, which may be raised in any call, leaves
        half of them.
        """
        self.limit.leave(self)


class ClientLimit:
    """One limit of a server, and what its clients hold of it; owned by :class:`ClientLimits`. Any thread calls it.

    :param most: places that one client may hold.
    :param unlimited: clients that are not counted.
    """

    def __init__(self, most: int, unlimited: TrustedProxies) -> None:
        self.most = most
        self.refused = 0
        """How often a client was refused."""
        self._unlimited = unlimited
        self._lock = threading.Lock()
        self._held: dict[str, int] = {}
        self._waiting: dict[str, dict[Place, None]] = {}
        """The longest waiting first. A client has an entry only while it holds as many places as it may."""
        self._client_of = lru_cache(maxsize=_KNOWN)(self._limited)

    def place(self, host: str, on_held: Callable[[], object] | None = None) -> Place | None:
        """Make a place for the client with this address, which is not held yet. None: the client has no limit."""
        client = self._client_of(host)
        return None if client is None else Place(self, client, on_held)

    def _limited(self, host: str) -> str | None:
        client = client_of(host)
        return None if (self._unlimited.trusts(host) if client else self._unlimited.unix) else client

    def enter(self, place: Place, most_waiting: int) -> PlaceState:
        """See :meth:`Place.enter`."""
        client = place.client
        with self._lock:
            if place.state is not NONE:
                return place.state
            count = self._held.get(client, 0)
            if count < self.most:
                self._held[client] = count + 1
                place.state = HELD
                return HELD
            waiting = self._waiting.get(client, {})
            if len(waiting) < most_waiting:
                waiting[place] = None
                self._waiting[client] = waiting
                place.state = WAITS
                return WAITS
            return NONE

    def leave(self, place: Place) -> None:
        """See :meth:`Place.leave`."""
        client = place.client
        first = None
        with self._lock:
            if place.state is NONE:
                return
            waiting = self._waiting.get(client)
            if place.state is WAITS:
                assert waiting is not None, "a place that waits is in the table"
                del waiting[place]
                if not waiting:
                    del self._waiting[client]
            elif waiting:
                first = next(iter(waiting))  # gets the place of this one, so that no newcomer can be faster
                del waiting[first]
                if not waiting:
                    del self._waiting[client]
                first.state = HELD
            else:
                count = self._held[client] - 1
                if count:
                    self._held[client] = count
                else:
                    del self._held[client]
            place.state = NONE
        if first is not None and first.on_held is not None:
            try:
                first.on_held()
            except MemoryError:  # nothing is lost: every connection that waits is stepped once then
                return

    def count_refused(self) -> None:
        """Count that a client was refused."""
        with self._lock:
            self.refused += 1

    def holding(self) -> tuple[dict[str, int], int]:
        """How many places each client holds, and how many wait."""
        with self._lock:
            return dict(self._held), sum(map(len, self._waiting.values()))


class ClientLimits:
    """The limits of one server for each of its clients; owned by its runtime. Any thread reads it."""

    def __init__(self, settings: EngineSettings) -> None:
        unlimited = trusted_proxies(settings.unlimited_clients)
        connections, running = settings.max_connections_per_client, settings.max_running_per_client
        self.connections = ClientLimit(connections, unlimited) if connections else None
        """Open connections (``--max-connections-per-client``); None: no limit."""
        self.running = ClientLimit(running, unlimited) if running else None
        """Requests that run or wait for a worker (``--max-running-per-client``); None: no limit."""
