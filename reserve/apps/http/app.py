"""The HTTP application: joins the protocol, the engine and a gateway. One for each server."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from reserve.apps._accesslog.log import AccessLog, log_format
from reserve.apps._accesslog.requestids import RequestIds
from reserve.apps._debug import not_local
from reserve.apps._static.guardedpage import GuardedPage
from reserve.apps._static.mounts import static_mounts
from reserve.apps.http.context import HTTPContext
from reserve.apps.http.driver import HTTPDriver
from reserve.apps.http.redirect import RedirectApp
from reserve.apps.http.settings import HTTP_NEEDS, OWN_PATHS, HTTPSettings, check_paths
from reserve.apps.http.straightdriver import HTTPStraightDriver
from reserve.apps.http.straightforms import form, make_straight_line
from reserve.paramtypes import check_settings, defaults_of, without_effect
from reserve.protocol.http1.codec import HTTP1Codec
from reserve.protocol.http1.limits import LIMIT_KINDS, Limits
from reserve.sockets.allowedclients import AllowedClients

if TYPE_CHECKING:
    from reserve.apps._static.page import Page
    from reserve.engine.connections.connection import Connection
    from reserve.engine.connections.context import ServerContext
    from reserve.engine.connections.driver import Driver
    from reserve.engine.settings import EngineSettings
    from reserve.gateways.wsgi import WSGIGateway

__all__ = ["HTTPApp"]


class HTTPApp(HTTPContext):
    """The application that a :class:`~reserve.engine.server.Server` serves HTTP with. It makes the drivers.

    The program that makes it calls :meth:`configure` before the server starts; from then on the server owns it and
    calls the other methods. :meth:`use_settings` may replace the settings later, too.

    :param gateway: runs the WSGI application for each request.
    :param settings: limits, timeouts and the rest; see :class:`HTTPSettings`. Default: those of ``HTTPSettings()``.
    """

    serves_application = True
    """False: the application of the gateway only says that it has nothing at the path."""
    _folder = ""

    def __init__(self, gateway: WSGIGateway, settings: HTTPSettings | None = None) -> None:
        self._status_pages: dict[str, str] = {}
        super().__init__(gateway, settings if settings is not None else HTTPSettings())

    def use_settings(self, settings: HTTPSettings) -> None:
        super().use_settings(settings)
        if isinstance(self.codec, HTTP1Codec):
            self.codec = HTTP1Codec(keep_slashes=settings.encoded_slashes == "keep")
        self.static = static_mounts(
            settings, self.gateway.application, root_folder=self._folder, has_application=self.serves_application
        )
        self.gateway.mount(settings.root_path, self.static)

    def serve_folder(self, path: str) -> None:
        """Serve the files of a directory at ``/``. Before the server starts, and before :meth:`configure`.

        :raises UsageError: it is no directory.
        """
        self._folder = path
        self.use_settings(self.settings)

    def serve_status(self, path: str, socket: str) -> None:
        """Show at a path what a server does, like ``--status-path``. Before the server starts.

        :param path: of the page.
        :param socket: the control socket of the server that is shown; empty: the one that this application is of.
        """
        self._status_pages[path] = socket

    def configure(self, values: Mapping[str, Any], given: Sequence[str] = ()) -> None:
        """Take settings by their names, those of :class:`HTTPSettings` and of :class:`Limits` alike; before the
        server starts. Raises UsageError for a value that is out of bounds.
        """
        limit_names = {field.name for field in dataclasses.fields(Limits)}
        limits = {name: value for name, value in values.items() if name in limit_names}
        others = {name: value for name, value in values.items() if name not in limit_names}
        settings = dataclasses.replace(
            self.settings, limits=dataclasses.replace(self.settings.limits, **limits), **others
        )
        check_settings(settings.limits, LIMIT_KINDS)
        check_paths({name: getattr(settings, name) for name in OWN_PATHS})
        self.use_settings(settings)

    def redirect_application(self, port: int) -> RedirectApp | None:
        """Make the application for listeners of plain HTTP whose clients are sent to https (``--redirect-http``).

        :param port: the TCP port of https.

        Called after :meth:`configure`, because the result has the settings of this application.
        """
        return RedirectApp(self, port)

    # ---- called by the server ----

    url_scheme = "http"

    @property
    def straight_line_form(self) -> str:
        return form() if self.gateway.calling_thread is None else ""

    alpn_protocols: tuple[str, ...] = ("http/1.1", "http/1.0")

    def refuse_plain(self, first: bytes) -> bytes | None:
        """The response to a client that speaks plain HTTP to a port of TLS.

        :param first: the first bytes that the client has sent.
        """
        return self.codec.refusal(
            400,
            "This port speaks TLS: the address begins with https://.",
            request=None,
            block=first,
            head_request=first == b"HEAD ",
            date=self.date_line(),
            server=self.server_line,
        ).data

    def start(self, server: ServerContext[Connection]) -> None:
        """Start the access log, before the first connection."""
        self.on_request_end = server.hooks.on_request_end
        self.gateway.use_log(server.log.failure, server.log.warning)
        if self.gateway.calling_thread is not None and server.start_thread is not None:
            self.gateway.calling_thread.attach(server.start_thread)
        for text in self._without_effect(server.settings):
            server.log.warning(text)
        reachable = not_local(server.facade.addresses) if self.settings.debug else []
        if reachable:
            server.log.warning(
                f"--debug is for development, and other machines can reach {', '.join(reachable)}: they get no "
                "tracebacks, but a frontend on this machine that does not name its clients passes them on"
            )
        self._make_status_pages(server)
        self._make_metrics_page(server)
        if self.settings.access_log:
            form = log_format(self.settings.access_log_format)
            self.access_log = AccessLog(server.log, form=form, destination=self.settings.access_log_file)
            self.access_log.start()
        self.use_request_ids(needed=self.request_ids is not None or server.settings.slow_request > 0)
        if self.request_ids is not None:
            self.request_ids = RequestIds()  # a process that was forked has its own
        self.straight_line_maker = partial(make_straight_line, server=server)
        self.lay_straight_line()

    def _without_effect(self, engine: EngineSettings) -> Iterator[str]:
        """What to say about settings that do nothing because another is off."""
        values = {field.name: getattr(self.settings, field.name) for field in dataclasses.fields(HTTPSettings)}
        values["trusted_proxies"] = engine.trusted_proxies
        values["status_path"] = values["status_path"] or self._status_pages
        values["static"] = values["static"] or self._folder
        return without_effect(HTTP_NEEDS, values, defaults_of(HTTPSettings))

    @property
    def log_lines_dropped(self) -> int:
        return 0 if self.access_log is None else self.access_log.lines_dropped

    def _make_status_pages(self, server: ServerContext[Connection]) -> None:
        settings = self.settings
        paths = {settings.status_path: "", **self._status_pages} if settings.status_path else self._status_pages
        if not paths:
            return
        from reserve.control.collector import collector_of
        from reserve.control.page.remote import RemoteCollector
        from reserve.control.page.statuspage import StatusPage

        allowed = AllowedClients(settings.status_allow)
        name = f"the status page is for --status-allow {settings.status_allow}"
        pages: dict[str, Page] = dict(self.pages or {})
        for path, socket in paths.items():
            collector = RemoteCollector(socket) if socket else collector_of(server.facade)
            pages[path] = GuardedPage(StatusPage(collector), allowed, name)
        self.pages = pages

    def _make_metrics_page(self, server: ServerContext[Connection]) -> None:
        path, allowed = self.settings.metrics_path, self.settings.metrics_allow
        if not path:
            return
        from reserve.control.metrics.page import metrics_page

        name = f"the metrics are for --metrics-allow {allowed}"
        page = GuardedPage(metrics_page(server.facade), AllowedClients(allowed), name)
        self.pages = {**(self.pages or {}), path: page}

    def finish(self, server: ServerContext[Connection]) -> None:
        """Stop the access log, after the last connection."""
        if self.access_log is not None:
            self.access_log.stop()

    def make_driver(self, connection: Connection) -> Driver:
        """Make the driver of a connection, on the accept thread, or on the thread that completed its TLS handshake."""
        return (HTTPStraightDriver if self.codec.has_straight_line else HTTPDriver)(self, connection)
