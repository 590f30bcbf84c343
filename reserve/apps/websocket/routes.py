"""WebSocket handlers by path, beside an HTTP application on the same port.

The HTTP driver asks :meth:`WebSocketRoutes.begin` for each request that asks for an upgrade.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from reserve.apps.http.context import HTTPContext, Upgrades
from reserve.apps.websocket.driver import WebSocketDriver
from reserve.apps.websocket.handlers import Handler
from reserve.errors import UsageError, short_repr
from reserve.protocol.websocket.handshake import (
    Refusal,
    accept_key,
    asks_for_websocket,
    check_request,
    choose_subprotocol,
)
from reserve.protocol.websocket.session import Session

if TYPE_CHECKING:
    from reserve.engine.connections.connection import Connection
    from reserve.engine.connections.driver import Driver
    from reserve.protocol.codec import Head

__all__ = ["EVERY_PATH", "WebSocketRoutes"]

EVERY_PATH = "*"
"""In place of a path: the handler of all others."""


class WebSocketRoutes(Upgrades):
    """The handlers of one HTTP application. Made before the server starts; the threads that step connections read it.

    :param routes: handlers (see :mod:`reserve.apps.websocket.handlers`) by path, decoded, as ``/chat``. A path without
        a handler is left to the HTTP application.
    :raises UsageError: for what is no mapping, a path without a slash at its beginning, or what is no handler.
    """

    def __init__(self, routes: Mapping[str, Any]) -> None:
        self._handlers: dict[str, Handler] = {}
        if not isinstance(routes, Mapping):
            raise UsageError(f"WebSocket handlers are given by path, as {{'/chat': handle}}; got {short_repr(routes)}")
        for path, target in routes.items():
            if path != EVERY_PATH and not str(path).startswith("/"):
                raise UsageError(f"the path of a WebSocket handler begins with a slash, like /chat; got {path!r:.80}")
            try:
                self._handlers[path] = Handler(target)
            except UsageError as error:
                raise UsageError(f"{'' if path == EVERY_PATH else f'{path}: '}{error}") from None

    def begin(
        self, context: HTTPContext, connection: Connection, head: Head, received: bytes, log: Callable[[int], None]
    ) -> Driver | Refusal | None:
        environ = head.environ
        if not asks_for_websocket(environ, head.minor):
            return None
        settings = context.settings
        path = _below(settings.root_path, environ["PATH_INFO"])
        handler = self._handlers.get(path) or self._handlers.get(EVERY_PATH)
        if handler is None:
            return None
        refusal = check_request(head.method, environ, head.length, settings.ws_origins)
        if refusal is not None:
            return refusal
        session = Session(settings.ws_max_message)
        fields = ["HTTP/1.1 101 Switching Protocols", "Upgrade: websocket", "Connection: Upgrade"]
        fields.append(f"Sec-WebSocket-Accept: {accept_key(environ['HTTP_SEC_WEBSOCKET_KEY'])}")
        if settings.ws_compression and "HTTP_SEC_WEBSOCKET_EXTENSIONS" in environ:
            extensions = session.negotiate(environ["HTTP_SEC_WEBSOCKET_EXTENSIONS"])
            if extensions is not None:
                fields.append(f"Sec-WebSocket-Extensions: {extensions}")
        subprotocol = choose_subprotocol(environ.get("HTTP_SEC_WEBSOCKET_PROTOCOL", ""), handler.subprotocols)
        if subprotocol is not None:
            fields.append(f"Sec-WebSocket-Protocol: {subprotocol}")
        response = "\r\n".join(fields).encode("latin-1") + b"\r\n" + context.date_line() + context.server_line + b"\r\n"
        driver = WebSocketDriver(
            connection, session, handler, settings, environ, path, subprotocol, head.remote_addr, received, log
        )
        if not driver.begin(response):
            return Refusal(
                "503 Service Unavailable",
                "As many connections are upgraded as the server allows; try again in a moment.",
                (("Retry-After", "1"),),
            )
        return driver


def _below(root: str, path: str) -> str:
    """The path of an environ without the root path, decoded."""
    root = root.removesuffix("/").encode("utf-8").decode("latin-1")
    if root and (path == root or path.startswith(root + "/")):
        path = path[len(root) :]
    return path.encode("latin-1").decode("utf-8", "replace") or "/"
