"""The FastCGI application: the machine of HTTP with the codec of FastCGI. One for each server."""

from __future__ import annotations

from typing import TYPE_CHECKING

from reserve.apps._cgi.app import CGIApp
from reserve.apps.fcgi.errors import make_errors
from reserve.apps.http.settings import HTTPSettings
from reserve.protocol.fastcgi.codec import FastCGICodec

if TYPE_CHECKING:
    from reserve.engine.connections.connection import Connection
    from reserve.engine.connections.context import ServerContext
    from reserve.gateways.wsgi import WSGIGateway

__all__ = ["FastCGIApp"]


class FastCGIApp(CGIApp):
    """The application that a :class:`~reserve.engine.server.Server` serves FastCGI with. It makes the drivers.

    The parameters are those of :class:`~reserve.apps.http.app.HTTPApp`.
    """

    codec: FastCGICodec
    protocol = "FastCGI"
    options_without_use = {
        name: reason
        for name, reason in CGIApp.options_without_use.items()
        if name not in ("keep-alive", "max-chunk-overhead")
    }

    def __init__(self, gateway: WSGIGateway, settings: HTTPSettings | None = None) -> None:
        self.codec = FastCGICodec()
        self.codec.errors = make_errors
        super().__init__(gateway, settings)

    def start(self, server: ServerContext[Connection]) -> None:
        super().start(server)
        self.codec.set_max_connections(server.settings.max_connections)
