"""The endpoints of a server: its listening sockets, and for each the application that serves it, with TLS or without.

The thread that makes the server makes them, before the start; the shutdown of the server closes the listeners.
"""

from __future__ import annotations

import socket
from collections.abc import Iterable
from typing import Any, NamedTuple, TypeAlias

from reserve.engine.connections.application import Application
from reserve.engine.drivers.handler import Handle, HandlerApplication
from reserve.engine.polling.wakeup import identity
from reserve.engine.settings import EngineSettings
from reserve.errors import UsageError, short_repr
from reserve.sockets.systemd import adopt
from reserve.sockets.unix import release

__all__ = ["Descriptors", "Endpoint", "Endpoints"]

Descriptors: TypeAlias = "int | socket.socket | Iterable[int | socket.socket]"
"""One listening descriptor or socket, or several."""


class Endpoint(NamedTuple):
    """How the connections of one listener are served: by which application, and whether with TLS."""

    application: Application
    tls: bool
    """The connections begin with a TLS handshake, if the server has an adapter."""


class Endpoints:
    """The listeners of one server and the endpoint of each; owned by the server.

    The parameters are those of :class:`~reserve.engine.server.Server`.

    Raises UsageError for a descriptor that is not a listening stream socket, and for a ``handle`` that is neither
    callable nor an application.
    """

    def __init__(
        self,
        fds: Descriptors,
        handle: Handle | Application,
        without_tls: Descriptors,
        extra: Iterable[tuple[Descriptors, Handle | Application]],
        settings: EngineSettings,
        *,
        own: bool,
    ) -> None:
        self.main = _application_for(handle, settings)
        """The application of most listeners, which decides what is offered to TLS clients (ALPN)."""
        first, plain = _several(fds), _several(without_tls)
        given = [*first, *(one for one in plain if one not in first)]
        endpoints = [Endpoint(self.main, tls=one not in plain) for one in given]
        for descriptors, other in extra:
            endpoint = Endpoint(_application_for(other, settings), tls=False)
            for one in _several(descriptors):
                given.append(one)
                endpoints.append(endpoint)
        if not given:
            raise UsageError("a server needs at least one listening socket; reserve.listen('127.0.0.1:8080') opens one")
        self.listeners = [adopt(one) for one in given]
        self.by_listener = dict(zip(self.listeners, endpoints, strict=True))
        self._identities = [identity(listener.fileno()) for listener in self.listeners]
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
        """The addresses that the listeners are bound to, also after they were closed."""

    def applications(self) -> list[Application]:
        """Every application once, in the order of the listeners."""
        return list(dict.fromkeys(endpoint.application for endpoint in self.by_listener.values()))

    def close_listeners(self) -> None:
        """Accept no more clients. Listeners that belong to the caller stay open, and so does any other file that has
        the number of a listener, because another part of the program has closed the listener.
        """
        if self._own:
            for listener, own in zip(self.listeners, self._identities, strict=True):
                if identity(listener.fileno()) != own:
                    listener.detach()
                release(listener)

    def detach_borrowed(self) -> None:
        """Forget the descriptors that belong to the caller: only the socket objects made around them are dropped."""
        for listener in self._borrowed:
            listener.detach()


def _several(fds: Descriptors) -> list[int | socket.socket]:
    if isinstance(fds, (int, socket.socket)):
        return [fds]
    is_pair = isinstance(fds, tuple) and len(fds) == 2 and isinstance(fds[0], str)  # cheroot's bind_addr
    if isinstance(fds, str) or is_pair:
        raise UsageError(
            f"{fds!r:.100} is an address, and a server takes listeners; write reserve.listen({fds!r:.100})"
        )
    return list(fds)


def _application_for(handle: Handle | Application, settings: EngineSettings) -> Application:
    """``handle`` itself if it is an application, else one around the handler. Raises UsageError if it is neither."""
    if isinstance(handle, Application):
        return handle
    if hasattr(handle, "make_driver"):
        base = f"{Application.__module__}.Application"
        raise UsageError(f"{short_repr(handle)} has make_driver, but its class is not derived from {base}")
    if not callable(handle):
        raise UsageError(f"the application is not callable: {short_repr(handle)}")
    return HandlerApplication(
        handle,
        timeout=settings.handler_timeout,
        max_output=settings.max_output,
        idle_timeout=settings.idle_timeout,
    )
