"""The FastCGI application: the machine of HTTP with the codec of FastCGI. One for each server."""

from __future__ import annotations

import os
from collections.abc import Mapping
from ipaddress import ip_address
from typing import TYPE_CHECKING

from reserve.apps._cgi.app import CGIApp
from reserve.apps.fcgi.errors import make_errors
from reserve.apps.http.settings import HTTPSettings
from reserve.engine.connections.driver import CLOSE, Action, Driver
from reserve.engine.connections.peers import address_of
from reserve.errors import StartupError
from reserve.protocol.fastcgi.codec import FastCGICodec

if TYPE_CHECKING:
    from reserve.engine.connections.connection import Connection
    from reserve.engine.connections.context import ServerContext
    from reserve.gateways.wsgi import WSGIGateway

__all__ = ["FastCGIApp", "web_server_addresses"]

ADDRESSES = "FCGI_WEB_SERVER_ADDRS"
"""The environment variable with the addresses of the web servers that may connect over TCP (FastCGI 1.0 section 3.2).
"""


class FastCGIApp(CGIApp):
    """The application that a :class:`~reserve.engine.server.Server` serves FastCGI with. It makes the drivers.

    The parameters are those of :class:`~reserve.apps.http.app.HTTPApp`.
    """

    codec: FastCGICodec = FastCGICodec()
    protocol = "FastCGI"
    options_without_use: Mapping[str, str] = {
        **{
            name: reason
            for name, reason in CGIApp.options_without_use.items()
            if name not in ("keep-alive", "max-chunk-overhead")
        },
        "metrics-allow": "there are no metrics at a path",
        "metrics-path": "there are no metrics at a path; --metrics-bind has them",
        "status-allow": "there is no status page",
        "status-path": "there is no status page; reserve app http status SOCKET shows the server of a control socket",
    }

    def __init__(self, gateway: WSGIGateway, settings: HTTPSettings | None = None) -> None:
        self.codec = FastCGICodec()  # one of its own, because the server's limit of connections is in it
        self.codec.errors = make_errors
        self._web_servers: frozenset[str] = frozenset()
        super().__init__(gateway, settings)

    def start(self, server: ServerContext[Connection]) -> None:
        """Raises StartupError for a malformed FCGI_WEB_SERVER_ADDRS."""
        self._web_servers = web_server_addresses(os.environ.get(ADDRESSES, ""))
        self.codec.set_max_connections(server.settings.max_connections)
        super().start(server)

    def make_driver(self, connection: Connection) -> Driver:
        host = address_of(connection.peer)[0]
        if self._web_servers and host and host not in self._web_servers:
            self.log_warning(
                connection, f"closed: {ADDRESSES} does not have this address", f"connections that {ADDRESSES} excludes"
            )
            return _Excluded()
        return super().make_driver(connection)


class _Excluded(Driver):
    """Closes a connection from an address that the environment excludes."""

    def step(self, events: int, now: float) -> Action:
        return CLOSE


def web_server_addresses(text: str) -> frozenset[str]:
    """The addresses of FCGI_WEB_SERVER_ADDRS, separated by commas; none: every web server may connect.

    :raises StartupError: one of them is no IP address.
    """
    try:
        return frozenset(str(ip_address(item.strip())) for item in text.split(",") if item.strip())
    except ValueError as error:
        raise StartupError(f"{ADDRESSES}: {error}; it has IP addresses separated by commas") from None
