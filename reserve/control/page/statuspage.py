"""The status page at its path: the page itself, and the data that its script and other programs fetch.

File threads call it, so that it works while every worker is busy or stuck. It shows all processes, whichever of them
responds. One server has one; several threads may call it at once.
"""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

from reserve.control.page.html import headers, page
from reserve.control.page.view import View, make_view, unknown_view
from reserve.control.totals import UNREADABLE
from reserve.errors import ReserveError
from reserve.gateways.static import METHODS, StaticResponse, method_not_allowed

if TYPE_CHECKING:
    from reserve.control.collector import Collector

__all__ = ["StatusPage"]

_HTML, _JSON, _TEXT = "text/html; charset=utf-8", "application/json", "text/plain; charset=utf-8"
_TIMEOUT = 2.0
"""Seconds that other processes may take to tell their numbers."""


class StatusPage:
    """The responses for one path, which :attr:`~reserve.apps.http.context.HTTPContext.pages` has.

    :param collector: makes the documents.
    """

    def __init__(self, collector: Collector) -> None:
        self._collector = collector

    def respond(self, environ: dict[str, Any]) -> StaticResponse:
        """The page; with the query ``json`` the document that it is made from, and with ``view`` its texts and numbers
        for its script, which may change with any release. 503: the server that it is about cannot be asked.
        """
        method, query = environ["REQUEST_METHOD"], environ.get("QUERY_STRING", "")
        if method not in METHODS:
            return method_not_allowed()
        status, kind = 200, _JSON if query in ("json", "view") else _HTML
        try:
            document = self._collector.collect(_TIMEOUT)
            if kind is _HTML:
                body = page(_view(document))
            else:
                body = _encoded(document if query == "json" else _view(document).as_json())
        except ReserveError as error:  # of the control socket
            status = 503
            if kind is _HTML:
                body = page(unknown_view(time.time(), str(error)))
            else:
                kind, body = _TEXT, f"{error}\n".encode("utf-8", "backslashreplace")
        fields = [*headers(kind), ("Content-Length", str(len(body)))]
        return StaticResponse(status, fields, b"" if method == "HEAD" else body)


def _view(document: dict[str, Any]) -> View:
    """What is to be seen in a document, which a server of another version may have made.

    :raises ReserveError: this version cannot read it.
    """
    try:
        return make_view(document)
    except UNREADABLE:
        raise ReserveError("the server has sent no document that this version of the page can read") from None


def _encoded(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode("ascii") + b"\n"
