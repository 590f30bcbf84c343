"""Collects the details of a request for the formats of the access log that show them.

By the thread that responds to the request, before the application runs and after it. What an application has put into
its environ is never called.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from reserve.apps._accesslog.formats import Needs
from reserve.apps._accesslog.record import Details, text_of
from reserve.apps._accesslog.requestids import basic_user, request_start, valid_traceparent

if TYPE_CHECKING:
    from reserve.protocol.codec import Head

__all__ = ["details_of", "note_application", "note_response"]


def details_of(needs: Needs, head: Head | None, base_environ: Mapping[str, Any], age: float) -> Details:
    """Begin to collect.

    :param needs: of the format.
    :param head: of the request; None: it is malformed.
    :param base_environ: the part of the environ that is the same for the connection.
    :param age: seconds since the head was complete.
    """
    details = Details()
    details.thread = threading.current_thread().name
    details.tls = text_of(base_environ.get("SSL_PROTOCOL", ""))
    if head is None or not needs.keys:
        return details
    environ = head.environ
    details.before = before = {key: text_of(environ.get(key, "")) for key in needs.keys}
    start = before.get("HTTP_X_REQUEST_START")
    if start and head.from_proxy:
        started = request_start(start)
        details.frontend = None if started is None else max(0.0, time.time() - age - started)
    details.traceparent = valid_traceparent(before.get("HTTP_TRACEPARENT", ""))
    if "HTTP_AUTHORIZATION" in before:
        details.user = basic_user(environ.get("HTTP_AUTHORIZATION", "")) or text_of(environ.get("REMOTE_USER", ""))
    return details


def note_application(details: Details, needs: Needs, environ: Mapping[str, Any], seconds: float) -> None:
    """Keep what the format shows of an application that has responded.

    :param environ: as the application has left it.
    :param seconds: from its call to the end of its response.
    """
    details.app = seconds
    if needs.variables:
        details.variables = {key: text_of(environ.get(key, "")) for key in needs.variables}


def note_response(details: Details, needs: Needs, headers: Iterable[tuple[str, str]], head_size: int) -> None:
    """Keep what the format shows of the head of a response, whose fields were checked.

    :param head_size: bytes of it, as it is sent.
    """
    details.head_sent = head_size
    if needs.response_fields:
        kept: dict[str, str] = {}
        for name, value in headers:
            lower = name.lower()
            if lower in needs.response_fields:
                kept[lower] = text_of(f"{kept[lower]}, {value}" if lower in kept else value)
        details.response_fields = kept
