"""The response to a request for a file (``--static``) or a page of the server's own, without a worker and gateway.

A file thread calls it, because opening a file and reading from a disk may block. Nothing here waits for the client:
what the socket does not take at once is sent later, by the thread that leads, or by a file thread if it is not in the
page cache.
"""

from __future__ import annotations

import contextlib
import os
from http import HTTPStatus
from typing import TYPE_CHECKING

from reserve.apps._accesslog.collect import note_response
from reserve.apps._static.guardedpage import GuardedPage
from reserve.engine.connections.backpressure import send_cached_file
from reserve.errors import ClientDisconnected, describe_exception
from reserve.gateways.static import StaticResponse, plain_response
from reserve.protocol.codec import NONE

if TYPE_CHECKING:
    from reserve.apps._accesslog.record import Details
    from reserve.apps._static.page import Page
    from reserve.apps.http.context import HTTPContext
    from reserve.engine.connections.connection import Connection
    from reserve.gateways.staticsite import FoundSite
    from reserve.protocol.codec import Head, ResponseHead

__all__ = ["StaticExchange"]

_SMALL = 65536
"""Bytes of a file that are read and sent with the head. Two system calls more for such a file cost more than that."""


class StaticExchange:
    """One request for a file, and what its driver has to know of the response. The thread that owns the connection
    uses it.
    """

    __slots__ = ("_site", "bytes_sent", "details", "fields", "is_page", "keep_alive", "must_reset", "status")

    def __init__(self, site: FoundSite | Page, *, is_page: bool = False) -> None:
        self._site = site
        self.is_page = is_page
        """It is a page of the server's own: it stands in no log and no count."""
        self.status = 0
        self.bytes_sent = 0
        """Of the body."""
        self.keep_alive = False
        self.fields: list[tuple[str, str]] = []
        """More fields of the response. Set by the driver, likewise the next one."""
        self.details: Details | None = None
        """What is collected for the access log; None: nothing."""
        self.must_reset = False
        """The client is gone, or has a part of the response."""

    def respond(self, context: HTTPContext, connection: Connection, head: Head) -> bool:
        """Write the response. False: there is no such file, and the application gets the request."""
        try:
            response = self._make_response(context, connection, head)
            if response is None:
                return False
            with contextlib.ExitStack() as failed:
                failed.callback(response.close)
                self._read_small(response)
                encoded = self._encode(context, connection, head, response)
                failed.pop_all()
        except Exception as error:
            # Such as: no descriptor is left, or the disk fails. That is neither the client's fault nor a bug.
            reason = str(error) if isinstance(error, OSError) else describe_exception(error)
            what = "page of the server" if self.is_page else "static file"
            context.log_warning(connection, f"500: a {what} cannot be sent: {reason}", f"{what}s that cannot be sent")
            response = plain_response(500, method=head.method)
            encoded = self._encode(context, connection, head, response)
        try:
            self._write(connection, encoded, response)
        except ClientDisconnected:
            connection.drop_output()
            self.must_reset = True
        finally:
            response.close()  # the output has a descriptor of its own
        return True

    def _make_response(self, context: HTTPContext, connection: Connection, head: Head) -> StaticResponse | None:
        site = self._site
        if isinstance(site, GuardedPage):
            reason = site.refusal(connection, head)
            if reason:
                context.log_warning(connection, f"404: {reason}", "pages of the server that a client may not see")
                return plain_response(404, method=head.method)
        return site.respond(head.environ)

    def _read_small(self, response: StaticResponse) -> None:
        """Replace a small file by its content, so that one call sends it with the head."""
        body = response.body
        if isinstance(body, bytes) or len(body.pieces) != 1 or not hasattr(os, "pread"):
            return
        piece = body.pieces[0]
        if isinstance(piece, bytes) or piece[1] - piece[0] > _SMALL:
            return
        with contextlib.closing(response):
            start, stop = piece
            data = os.pread(body.file.fileno(), stop - start, start)
            if len(data) != stop - start:
                raise OSError(f"the file has {start + len(data)} bytes, and its size is {stop}")
        response.body = data

    def _encode(
        self, context: HTTPContext, connection: Connection, head: Head, response: StaticResponse
    ) -> ResponseHead:
        status, body, server = response.status, response.body, connection.server
        encoded = context.codec.response_head(
            f"{status} {HTTPStatus(status).phrase}",
            [*response.headers, *self.fields] if self.fields else response.headers,
            request=head,
            minor=head.minor,
            head_request=head.method == "HEAD",
            keep_alive=head.keep_alive and context.settings.keep_alive > 0 and not server.retiring,
            length=len(body) if isinstance(body, bytes) else None,
            date=context.date_line(),
            server=context.server_line,
        )
        self.status = status
        self.keep_alive = encoded.keep_alive
        if self.details is not None:
            note_response(self.details, context.log_needs, response.headers, len(encoded.data))
            self.details.first_byte = server.clock.now()
        return encoded

    def _write(self, connection: Connection, encoded: ResponseHead, response: StaticResponse) -> None:
        body = response.body
        if encoded.framing is NONE:
            connection.write(encoded.data)
            return
        if isinstance(body, bytes):
            self.bytes_sent = len(body)
            connection.write(encoded.data + body)
            return
        connection.write(encoded.data)
        descriptor = body.file.fileno()
        part = None
        for piece in body.pieces:
            if isinstance(piece, bytes):
                self.bytes_sent += len(piece)
                connection.write(piece)
            else:
                start, stop = piece
                self.bytes_sent += stop - start
                part = connection.write_file(descriptor, start, stop - start, same=part)
        send_cached_file(connection)
