"""``reserve app websocket MODULE[:NAME]``: serves one WebSocket handler, at every path.

Runs on the main thread at start.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from reserve.errors import UsageError
from reserve.loader.arguments import Arguments
from reserve.loader.find import load_application

if TYPE_CHECKING:
    from reserve.apps.http.app import HTTPApp

__all__ = ["ARGUMENTS", "HANDLER_NAMES", "launch", "load_handler"]

ARGUMENTS = """\
MODULE[:NAME]          serve a WebSocket handler: a function handle(ws), or what has on_message(ws, message); without
                       NAME what launch(args) returns, handle, or the module itself
"""

HANDLER_NAMES = ("handle", "on_message")
"""The attributes of a module that make it a handler."""


def launch(args: Sequence[str]) -> HTTPApp:
    """Make the application that ``args`` describes.

    :raises UsageError: unknown arguments.
    :raises StartupError: a handler that cannot be imported, or the library ``websockets`` is missing.
    """
    arguments = Arguments.of(args)
    if not arguments.before or arguments.before[0].startswith("-"):
        raise UsageError("app websocket: the handler's name is missing", "; write: reserve app websocket MODULE:NAME")

    from reserve.apps.http.app import HTTPApp
    from reserve.apps.http.settings import HTTPSettings
    from reserve.apps.websocket.routes import EVERY_PATH, WebSocketRoutes
    from reserve.gateways.wsgi import WSGIGateway

    name = arguments.before[0]
    handler = load_handler(name, arguments.derive(f"websocket {name}", arguments.before[1:], arguments.after))
    application = HTTPApp(WSGIGateway(refuse_http), HTTPSettings())
    application.serves_application = False
    application.upgrades = WebSocketRoutes({EVERY_PATH: handler})
    return application


def load_handler(name: str, args: Arguments) -> Any:
    """Import a handler: ``module:attribute``, or a module with ``launch(args)``, ``handle`` or ``on_message``."""
    found = load_application(name, args, attributes=HANDLER_NAMES)
    module = _module_of_events(name)
    if module is not None and found is getattr(module, "on_message", None):
        return module
    return found


def _module_of_events(name: str) -> Any:
    """A module that is itself the handler, because it has ``on_message``."""
    return sys.modules.get(name) if ":" not in name else None


def refuse_http(environ: Mapping[str, Any], start_response: Any) -> Iterable[bytes]:
    """The response to a request that does not open a WebSocket."""
    body = b"This address serves WebSocket only.\n"
    fields = [("Content-Type", "text/plain; charset=utf-8"), ("Content-Length", str(len(body)))]
    start_response("426 Upgrade Required", fields)
    return [body]
