"""The HTTP application: joins the protocol, the engine and a gateway. One for each server."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from reserve.apps.http.accesslog import AccessLog
from reserve.apps.http.datecache import DateCache
from reserve.apps.http.driver import HTTPDriver
from reserve.apps.http.settings import HTTPSettings
from reserve.engine.connections.application import Application
from reserve.engine.connections.peers import address_of, name_of, peer_of
from reserve.paramtypes import check_settings
from reserve.protocol.http1.limits import LIMIT_KINDS, Limits
from reserve.protocol.http1.response import refusal

if TYPE_CHECKING:
    from reserve.apps.http.basedriver import HTTPBaseDriver
    from reserve.engine.connections.connection import Connection
    from reserve.engine.connections.context import ServerContext
    from reserve.gateways.wsgi import WSGIGateway

__all__ = ["HTTPApp"]


class HTTPApp(Application):
    """What a :class:`~reserve.engine.server.Server` serves HTTP with.

    :param gateway: runs the application for each request.
    :param settings: everything that can be told; see :class:`HTTPSettings`.
    """

    def __init__(self, gateway: WSGIGateway, settings: HTTPSettings | None = None) -> None:
        self.gateway = gateway
        self.settings = settings if settings is not None else HTTPSettings()
        self.access_log: AccessLog | None = None
        self.date_line = DateCache().line
        self._adopt_settings()

    def configure(self, values: Mapping[str, Any]) -> None:
        """Take settings by their names, those of :class:`HTTPSettings` and of :class:`Limits` alike; before the
        server starts. Raises UsageError for a value that is out of bounds.
        """
        limit_names = {field.name for field in dataclasses.fields(Limits)}
        limits = {name: value for name, value in values.items() if name in limit_names}
        others = {name: value for name, value in values.items() if name not in limit_names}
        self.settings = dataclasses.replace(
            self.settings, limits=dataclasses.replace(self.settings.limits, **limits), **others
        )
        check_settings(self.settings.limits, LIMIT_KINDS)
        self._adopt_settings()

    def _adopt_settings(self) -> None:
        header = self.settings.server_header
        self.server_line = f"Server: {header}\r\n".encode("latin-1") if header else b""
        self.gateway.mount(self.settings.root_path)

    def redirection(self, port: int) -> HTTPApp:
        """What to put beside this application on listeners of plain HTTP whose clients belong to https.

        :param port: where they find it. After :meth:`configure`, because it has the same settings.
        """
        from reserve.apps.http.redirect import RedirectApp  # which derives from this class

        return RedirectApp(self, port)

    # ---- called by the server ----

    alpn_protocols = ("http/1.1", "http/1.0")
    """What is offered to TLS clients (RFC 7301)."""

    def refuse_plain(self, first: bytes) -> bytes:
        """The answer to a client that speaks plain HTTP to a port of TLS, and begins like this."""
        return refusal(
            400,
            "This port speaks TLS: the address begins with https://.",
            date=self.date_line(),
            server=self.server_line,
            head_request=first == b"HEAD ",
        )

    def start(self, server: ServerContext[Connection]) -> None:
        """Before the first connection."""
        self.gateway.use_log(server.log.failure)
        if self.settings.access_log:
            self.access_log = AccessLog(server.log)
            self.access_log.start()

    def finish(self, server: ServerContext[Connection]) -> None:
        """After the last connection."""
        if self.access_log is not None:
            self.access_log.stop()

    def make_driver(self, connection: Connection) -> HTTPBaseDriver:
        return HTTPDriver(self, connection)

    def note(self, connection: Connection, text: str, kind: str) -> None:
        """Put a line into the error log about what a client did wrong; ``kind``: what it has in common with others."""
        server = connection.server
        server.log.warning(f"{name_of(address_of(connection.peer))}: {text}", kind)

    def base_environ(self, connection: Connection) -> dict[str, Any]:
        """What every request of this connection starts with."""
        host, port = address_of(connection.peer)
        extra: dict[str, Any] = {"reserve.client_disconnected": connection.peer_closed}
        secure = connection.tls
        if secure is not None:
            extra.update(secure.environ())
        try:
            here = connection.sock.getsockname()
        except OSError:  # on some systems a connection that was reset before its turn has no name any more
            here = ""
        if isinstance(here, tuple):
            name, server_port = here[0], str(here[1])
            name = name[7:] if name.startswith("::ffff:") and "." in name else name
            name = f"[{name}]" if ":" in name else name  # RFC 3875 section 4.1.14
        else:
            name, server_port = "localhost", ""
            peer = peer_of(connection)
            if peer.pid is not None:
                # The names that cheroot gave them.
                extra["X_REMOTE_PID"] = str(peer.pid)
                extra["X_REMOTE_UID"] = str(peer.uid)
                extra["X_REMOTE_GID"] = str(peer.gid)
        return self.gateway.base_environ(
            server_name=name,
            server_port=server_port,
            remote_addr=host,
            remote_port=str(port) if host else "",
            url_scheme="http" if secure is None else "https",
            software=self.settings.server_header or "reserve",
            extra=extra,
        )
