"""The HTTP application for a program of :mod:`reserve.desk`. One for each server."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from reserve.apps.http.app import HTTPApp
from reserve.apps.http.settings import HTTPSettings
from reserve.gateways.callingthread import CallingThread
from reserve.gateways.exchange import WSGIApplication
from reserve.gateways.wsgi import WSGIGateway

if TYPE_CHECKING:
    from reserve.engine.connections.connection import Connection
    from reserve.engine.connections.context import ServerContext

__all__ = ["DeskApp"]


class DeskApp(HTTPApp):
    """Runs a program on the thread that starts the server, and stops the server when the program says so.

    :param make: is given what a response with ``shut_down`` calls, and makes the WSGI application.
    :param name: of the program, as the user has written it.
    """

    def __init__(self, make: Callable[[Callable[[], object]], WSGIApplication], name: str) -> None:
        self._request_stop: Callable[[], object] | None = None
        super().__init__(WSGIGateway(CallingThread(make(self._stop))), HTTPSettings())
        self.single_thread = f"{name} is a program of reserve.desk"

    def start(self, server: ServerContext[Connection]) -> None:
        """Remember how to stop the server, and start the access log."""
        super().start(server)
        if server.facade is not None:
            self._request_stop = server.facade.request_stop

    def _stop(self) -> None:
        if self._request_stop is not None:
            self._request_stop()
