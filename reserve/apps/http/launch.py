"""``reserve app http wsgi NAME [args...]``, with ``--mount`` and ``--websocket``: makes an HTTP application. So does
``reserve app http status [SOCKET]``.

Runs on the main thread at start. ``reserve/apps/_wsgi.py`` has what it shares with the other protocols.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from reserve.apps._wsgi import ARGUMENTS as WSGI_ARGUMENTS
from reserve.apps._wsgi import launch_wsgi, nothing_here, take_paths
from reserve.errors import UsageError
from reserve.loader.arguments import Arguments

if TYPE_CHECKING:
    from reserve.apps.http.app import HTTPApp

__all__ = ["ARGUMENTS", "launch"]

ARGUMENTS = f"""\
{WSGI_ARGUMENTS}\
--websocket /PATH=NAME a WebSocket handler at a path (repeatable)
status [SOCKET]        the status page of the server with that --control
"""

_WEBSOCKET = "--websocket"


def launch(args: Sequence[str]) -> HTTPApp:
    """Make the HTTP application that ``args`` describes.

    :param args: ``["reserve http", "wsgi", NAME, ...]``.
    :raises UsageError: unknown arguments, a malformed mount, or two mounts of one prefix.
    :raises StartupError: an application that cannot be imported or launched.
    """
    arguments = Arguments.of(args)
    if arguments.before[:1] == ["status"]:
        return _launch_status(arguments)
    remaining, websockets = take_paths(arguments.before, _WEBSOCKET, "/PATH=NAME, as /chat=chat:handle")
    others = Arguments(
        [*arguments[:1], *remaining, *arguments.after],
        literal=len(arguments.after),
        reserved=(*arguments.reserved, _WEBSOCKET),
        served=arguments.served,
    )
    application = launch_wsgi(others, "http", _app_class)
    if websockets:
        if application.single_thread:
            raise UsageError(
                f"--websocket cannot be served here: {application.single_thread}, and handlers of WebSocket run on "
                "other threads than the main thread; serve them with another command"
            )
        _add_websockets(application, websockets, others)
    return application


def _launch_status(arguments: Arguments) -> HTTPApp:
    """Make the application with the status page at ``/``."""
    from reserve.apps.http.app import HTTPApp
    from reserve.gateways.wsgi import WSGIGateway

    words = arguments[2:]
    if len(words) > 1 or (words and (words[0].startswith("-") or not words[0])):
        raise UsageError(
            f"app http status takes at most one control socket; it got {' '.join(words)}",
            "; write: reserve app http status, or reserve app http status SOCKET, with the path that the other server "
            "has in --control",
        )
    application = HTTPApp(WSGIGateway(nothing_here))
    application.serves_application = False
    application.serve_status("/", words[0] if words else "")
    arguments.served.append(f"the status of the server at {words[0]}" if words else "the status of this server")
    return application


def _add_websockets(application: HTTPApp, names: Mapping[str, str], arguments: Arguments) -> None:
    """Import the WebSocket handlers, whose names are given by path."""
    from reserve.apps.websocket.launch import load_handler
    from reserve.apps.websocket.routes import WebSocketRoutes

    handlers = {}
    for path, name in names.items():
        served = len(arguments.served)
        handlers[path] = load_handler(name, arguments.derive(f"websocket {name}", (), ()))
        arguments.served[served:] = [f"{path} -> {line}" for line in arguments.served[served:]]
    application.upgrades = WebSocketRoutes(handlers)


def _app_class() -> type[HTTPApp]:
    from reserve.apps.http.app import HTTPApp

    return HTTPApp
