"""The page with the metrics, for Prometheus (``--metrics-path``, ``--metrics-bind``)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from reserve.control.collector import collector_of
from reserve.control.metrics.application import ApplicationMetrics
from reserve.control.metrics.exposition import CONTENT_TYPE, exposition
from reserve.control.totals import totals
from reserve.gateways.static import METHODS, StaticResponse, method_not_allowed

if TYPE_CHECKING:
    from reserve.control.collector import Collector

__all__ = ["MetricsPage", "metrics_page"]


def metrics_page(server: Any) -> MetricsPage:
    """The page with the metrics of a server and its application.

    :param server: the :class:`~reserve.engine.server.Server`.
    """
    return MetricsPage(collector_of(server), ApplicationMetrics())


class MetricsPage:
    """A :class:`~reserve.apps._static.page.Page`: the metrics of all processes, whichever of them responds. It is owned
    by the application, whose file threads call it.

    :param collector: makes the document that the numbers are taken from.
    :param application: the metrics of the application, which follow those of the server; None: there are none.
    """

    def __init__(self, collector: Collector, application: ApplicationMetrics | None = None) -> None:
        self._collector = collector
        self._application = application

    def respond(self, environ: dict[str, Any]) -> StaticResponse:
        """The response to GET and HEAD; 405 for other methods."""
        method = environ["REQUEST_METHOD"]
        if method not in METHODS:
            return method_not_allowed()
        document = self._collector.collect()
        body = exposition(totals(document)).encode()
        if self._application is not None:
            body += self._application.exposition(several=document["supervisor"] is not None)
        fields = [
            ("Content-Type", CONTENT_TYPE),
            ("Content-Length", str(len(body))),
            ("Cache-Control", "no-store"),
            ("X-Content-Type-Options", "nosniff"),
        ]
        return StaticResponse(200, fields, b"" if method == "HEAD" else body)
