"""What watches the server beside its application: the listener of ``--metrics-bind``, and ``--statsd``.

The main thread makes one :class:`Monitoring` before the server starts. It runs from the moment at which the server
accepts connections until it has stopped.
"""

from __future__ import annotations

import dataclasses
import socket
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

from reserve.options.table import COMMAND_NEEDS, OPTIONS
from reserve.paramtypes import without_effect

if TYPE_CHECKING:
    from reserve.control.metrics.sender import StatsDSender
    from reserve.engine.hooks import Hooks
    from reserve.engine.server import Server
    from reserve.options.sources import Values

__all__ = ["Monitoring", "monitoring_application"]

_METRICS, _HEALTH, _READY, _LIVE = "/metrics", "/health", "/ready", "/live"
_THREAD_PREFIX = "reserve-metrics"
"""What the names of its threads begin with: those of the application's server have the same names without it."""
_KEEP_ALIVE = 90.0
"""Seconds: Prometheus asks every minute, and keeps its connection."""
_STOP = 3.0
"""Seconds that a response may take at the end; it may wait for two until other processes have told their numbers."""


class Monitoring:
    """Makes what the options ask for; nothing without them.

    :param listeners: those of ``--metrics-bind``, which belong to it from :meth:`start` on.
    :param hooks: of the server that is watched; the error log is the same.
    """

    def __init__(self, listeners: Sequence[socket.socket], values: Values, hooks: Hooks) -> None:
        self._listeners, self._values, self._hooks = listeners, values, hooks
        self._server: Server | None = None
        self._sender: StatsDSender | None = None

    @property
    def is_wanted(self) -> bool:
        """There is something to start."""
        return bool(self._listeners or self._values["statsd"] or self._without_effect())

    def _without_effect(self) -> list[str]:
        """What to say about options of the command that do nothing because another is off."""
        defaults = {option.field: option.default for option in OPTIONS}
        return list(without_effect(COMMAND_NEEDS, cast("Mapping[str, object]", self._values), defaults))

    def start(self, server: Server) -> None:
        """The server accepts connections.

        :param server: what is told about.
        :raises StartupError: the system starts no more threads.
        """
        values = self._values
        for text in self._without_effect():
            server.log.warning(text)
        if self._listeners:
            self._server = server.companion = _make_server(self._listeners, server, values, self._hooks)
            self._server.serve_in_background()
        if values["statsd"]:
            from reserve.control.collector import own_collector_of
            from reserve.control.metrics.sender import StatsDSender
            from reserve.control.metrics.target import statsd_target

            self._sender = StatsDSender(
                own_collector_of(server),
                statsd_target(str(values["statsd"])),
                cast("float", values["statsd_interval"]),
                server.log,
                tags=bool(values["statsd_tags"]),
            )
            self._sender.start()

    def hand_over(self) -> None:
        """Another process begins to send what is counted from now on: send what was counted until now."""
        if self._sender is not None:
            self._sender.stop()

    def stop(self) -> None:
        """The server has stopped, or has not started."""
        if self._sender is not None:
            self._sender.stop()
        if self._server is not None:
            self._server.stop(_STOP)


def _make_server(listeners: Sequence[socket.socket], server: Server, values: Values, hooks: Hooks) -> Server:
    """A server of its own, so that it responds while all connections and threads of the other one are taken, and has no
    part in the numbers that it tells.
    """
    from reserve.apps.http.app import HTTPApp
    from reserve.apps.http.settings import HTTPSettings
    from reserve.engine.hooks import Hooks
    from reserve.engine.server import Server
    from reserve.engine.settings import EngineSettings
    from reserve.gateways.wsgi import WSGIGateway

    application = HTTPApp(
        WSGIGateway(monitoring_application(server, values)),
        HTTPSettings(access_log=False, keep_alive=_KEEP_ALIVE, server_header=str(values["server_header"])),
    )
    # Clients that connect and send nothing must not keep out one that asks for the metrics.
    application.silent_is_idle = True
    return Server(
        listeners,
        application,
        hooks=Hooks(error_log=hooks.error_log),
        settings=dataclasses.replace(EngineSettings(), threads=2, max_connections=64, max_queued=64, file_threads=1),
        thread_prefix=_THREAD_PREFIX,
    )


def monitoring_application(
    server: Server, values: Mapping[str, Any] | Values
) -> Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]:
    """The WSGI application of ``--metrics-bind``: the metrics of all processes, and whether they are healthy, together.

    :param server: that is watched.
    :param values: of the options: the paths that they name are served as well.
    """
    from reserve.apps._checks import LIVE, READY, check_response
    from reserve.control.collector import collector_of
    from reserve.control.metrics.page import metrics_page
    from reserve.control.totals import totals
    from reserve.gateways.static import METHODS, method_not_allowed, plain_response

    page = metrics_page(server)
    collector = collector_of(server)
    checks = {
        _LIVE: LIVE, str(values["live_path"]): LIVE, _HEALTH: READY, _READY: READY,
        str(values["ready_path"]): READY, str(values["health_path"]): READY,
    }  # fmt: skip
    paths = {_METRICS, str(values["metrics_path"])} - {""}

    def respond(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        path, method = environ["PATH_INFO"], environ["REQUEST_METHOD"]
        if path in paths:
            return page.respond(environ).to_wsgi(environ, start_response)
        check = checks.get(path) if path else None
        if check is None:
            return plain_response(404, method=method).to_wsgi(environ, start_response)
        if method not in METHODS:
            return method_not_allowed().to_wsgi(environ, start_response)
        document = collector.collect()
        serving = [one["stats"] for one in document["processes"] if one["phase"] == "serving" and one["stats"]]
        live = all(stats["live"] for stats in serving)
        status, fields, body = check_response(check, environ, live=live, reasons=totals(document).unhealthy)
        start_response(status, [*fields, ("Content-Length", str(len(body)))])
        return [b"" if method == "HEAD" else body]

    return respond
