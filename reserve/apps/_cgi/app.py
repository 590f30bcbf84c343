"""The application of a protocol that web servers speak: the machine of HTTP, with the variables of the web server."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from reserve.apps.http.app import HTTPApp
from reserve.errors import UsageError
from reserve.protocol.proxy.forwarded import ForwardedParser, forwarded_fields
from reserve.sockets.proxies import trusted_proxies

if TYPE_CHECKING:
    from reserve.apps.http.settings import HTTPSettings
    from reserve.engine.connections.connection import Connection
    from reserve.engine.connections.context import ServerContext

__all__ = ["CGIApp"]

_NOT_FOR_WEB_SERVERS: Mapping[str, str] = {
    "encoded-slashes": "the web server decodes the path",
    "expect": "the web server sends the 100 (Continue)",
    "keep-alive": "each connection has one request",
    "max-chunk-extensions": "the web server decodes chunks",
    "max-chunk-line": "the web server decodes chunks",
    "max-chunk-overhead": "the web server decodes chunks",
    "max-trailer": "the web server drops trailer fields",
    "max-trailer-fields": "the web server drops trailer fields",
    "server-header": "the web server sends its own Server field",
    "underscores": "the names of all variables have underscores",
    "ws-close-timeout": "there is no WebSocket",
    "ws-compression": "there is no WebSocket",
    "ws-max-message": "there is no WebSocket",
    "ws-origins": "there is no WebSocket",
    "ws-ping": "there is no WebSocket",
    "ws-pong-timeout": "there is no WebSocket",
}
"""The options of HTTP that have no meaning behind a web server, and why."""


class CGIApp(HTTPApp):
    """Base of the applications behind a web server, which tells them in variables who the client is.

    A server has one and owns it. Subclasses set ``codec`` and :attr:`protocol`.

    The other end of a connection is the web server. So its address and its TLS are not those of the environ.
    """

    url_scheme = ""
    alpn_protocols = ()
    peers_are_frontends = True
    protocol = ""
    """The name of the protocol, for messages."""
    options_without_use: Mapping[str, str] = _NOT_FOR_WEB_SERVERS
    """Names of options that are refused, and why."""

    def configure(self, values: Mapping[str, Any], given: Sequence[str] = ()) -> None:
        for source in given:
            # --keep-alive, the environment variable RESERVE_KEEP_ALIVE, keep_alive in reserve.toml
            words = re.findall(r"[a-z-]+", source.lower().replace("_", "-"))
            for word in words:
                reason = self.options_without_use.get(word.removeprefix("--").removeprefix("reserve-"))
                if reason:
                    raise UsageError(f"{source} is for HTTP (reserve app http); with {self.protocol} {reason}")
        super().configure(values, given)

    def start(self, server: ServerContext[Connection]) -> None:
        super().start(server)
        if server.settings.max_connections_per_client:
            server.log.warning(
                f"--max-connections-per-client has no effect with {self.protocol}: connections come from the web "
                "server, which has such limits itself; --max-running-per-client counts its clients"
            )

    def redirect_application(self, port: int) -> None:
        """There are no redirects: the web server knows whether its client uses https."""
        return None

    def refuse_plain(self, first: bytes) -> None:
        """There is no response: the server asks for it when a client speaks HTTP, which is not the protocol here."""
        return None

    def head_parser(self, connection: Connection) -> ForwardedParser:
        """Judge header fields by the address that the web server tells: whether its client is a trusted proxy."""
        proxies = trusted_proxies(connection.server.settings.trusted_proxies)
        fields = forwarded_fields(self.settings.forwarded_fields, proxies.trusts)
        return ForwardedParser(self.codec.parse_head, fields, "", trusted=False)

    def use_settings(self, settings: HTTPSettings) -> None:
        super().use_settings(settings)
        self._base: tuple[object, dict[str, Any]] = None, {}
        """A server, and the environ that is the base of all its connections."""

    def base_environ(self, connection: Connection) -> dict[str, Any]:
        own = self.callables(connection)
        server, base = self._base
        if server is not connection.server:
            base = self.gateway.base_environ(
                server_name="",
                server_port="",
                remote_addr="",
                remote_port="",
                url_scheme="http",
                software=self.settings.server_header or "reserve",
                extra={},
            )
            self._base = connection.server, base
        return {**base, **own}
