"""What a server is given to serve: listening sockets, and behind each the application and whether TLS stands before it.

A *door* is a listener's. The doors are made before the server starts and closed by whoever ends it.
"""

from __future__ import annotations

import socket
from collections.abc import Iterable
from typing import Any, NamedTuple, TypeAlias

from reserve.engine.connections.driver import DriverFactory
from reserve.engine.drivers.handler import Handle, HandlerFactory
from reserve.engine.settings import EngineSettings
from reserve.errors import UsageError
from reserve.sockets.listeners import adopt, release

__all__ = ["Descriptors", "Endpoint", "Endpoints"]

Descriptors: TypeAlias = "int | socket.socket | Iterable[int | socket.socket]"
"""One listening descriptor or socket, or several."""


class Endpoint(NamedTuple):
    """What a listener serves."""

    factory: DriverFactory
    tls: bool
    """TLS stands before it, once the server has an adapter."""


class Endpoints:
    """Those of one server; the parameters are those of :class:`~reserve.engine.server.Server`.

    Raises UsageError for descriptors that are not listening stream sockets, and for an application that is none.
    """

    def __init__(
        self,
        fds: Descriptors,
        handle: Handle | DriverFactory,
        without_tls: Descriptors,
        extra: Iterable[tuple[Descriptors, Handle | DriverFactory]],
        settings: EngineSettings,
        *,
        own: bool,
    ) -> None:
        self.main = _factory_for(handle, settings)
        """The application behind most of them, the one that is asked what it speaks under TLS."""
        first, without = _several(fds), _several(without_tls)
        given = [*first, *(one for one in without if one not in first)]
        endpoints = [Endpoint(self.main, tls=one not in without) for one in given]
        for some, other in extra:
            door = Endpoint(_factory_for(other, settings), tls=False)
            for one in _several(some):
                given.append(one)
                endpoints.append(door)
        if not given:
            raise UsageError("a server needs at least one listening socket; reserve.listen('127.0.0.1:8080') opens one")
        self.listeners = [adopt(one) for one in given]
        self.by_listener = dict(zip(self.listeners, endpoints, strict=True))
        self._own = own
        self._borrowed = (
            [] if own else [sock for sock, one in zip(self.listeners, given, strict=True) if isinstance(one, int)]
        )
        for listener in self.listeners:
            if listener.family != getattr(socket, "AF_UNIX", None):
                # Accepted sockets inherit both, which saves two system calls for each.
                listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                listener.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        self.addresses: list[Any] = [listener.getsockname() for listener in self.listeners]
        """What they are bound to, or were: it outlives them."""

    def applications(self) -> list[DriverFactory]:
        """Every application once, in the order of the doors."""
        return list(dict.fromkeys(door.factory for door in self.by_listener.values()))

    def close_listeners(self) -> None:
        """Nobody comes in any more. Listeners that are the caller's stay open."""
        if self._own:
            for listener in self.listeners:
                release(listener)

    def let_go(self) -> None:
        """Forget the numbers of listeners that are the caller's: only our wrapper around each goes."""
        for listener in self._borrowed:
            listener.detach()


def _several(fds: Descriptors) -> list[int | socket.socket]:
    return [fds] if isinstance(fds, (int, socket.socket)) else list(fds)


def _factory_for(handle: Handle | DriverFactory, settings: EngineSettings) -> DriverFactory:
    """What makes the drivers of an application. Raises UsageError for what is none."""
    if hasattr(handle, "make_driver"):
        return handle
    if not callable(handle):
        raise UsageError(f"the application is not callable: {handle!r}")
    return HandlerFactory(handle, timeout=settings.handler_timeout, max_output=settings.max_output)
