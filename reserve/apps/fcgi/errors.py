"""``wsgi.errors`` of FastCGI: the web server gets the text with the response, and writes it into its error log.

A :class:`RequestErrors` belongs to one request. Threads of the application may write to it at any time; what is written
too late, or is too much, goes to the stream that other protocols use.
"""

from __future__ import annotations

from typing import TextIO

from reserve.gateways.streams import ErrorStream
from reserve.protocol.codec import Head
from reserve.protocol.fastcgi.codec import FastCGIHead
from reserve.protocol.fastcgi.records import STDERR, record, stream

__all__ = ["RequestErrors", "make_errors"]

MOST_PENDING = 65536
"""Characters that wait for the next part of the response; more goes to the log of the server."""


class RequestErrors(ErrorStream):
    """The errors of one request. See :class:`reserve.protocol.codec.ErrorsOutput`.

    :param request_id: of the request.
    :param log: the gateway's ``wsgi.errors``.
    """

    def __init__(self, request_id: int, log: TextIO) -> None:
        super().__init__(self._keep)
        self._request_id = request_id
        self._log = log
        self._pending = ""
        self._sent = False
        self._over = False

    def _keep(self, text: str) -> None:
        # The lock of the base class is held.
        if self._over or len(self._pending) + len(text) > MOST_PENDING:
            self._log.write(text)
        else:
            self._pending += text

    def take(self) -> bytes:
        if not self._pending:
            return b""
        with self._lock:
            text, self._pending = self._pending, ""
            self._sent = True
        return b"".join(stream(STDERR, self._request_id, text.encode("utf-8", "backslashreplace")))

    def finish(self) -> bytes:
        with self._lock:
            if self.partial:
                self.flush()
            self._over = True
            data = self.take() if self._pending else b""
            # "zero or more FCGI_STDERR records, followed by an empty one" (FastCGI 1.0 section 6.2)
            return data + record(STDERR, self._request_id) if self._sent else b""

    def end(self) -> None:
        with self._lock:
            if self.partial:
                self.flush()
            self._over = True
            text, self._pending = self._pending, ""
        if text:
            self._log.write(text)


def make_errors(head: Head, log: TextIO) -> RequestErrors:
    """Make ``wsgi.errors`` of one request; see :data:`reserve.protocol.codec.ErrorsFactory`."""
    assert isinstance(head, FastCGIHead)
    head.errors = errors = RequestErrors(head.request_id, log)
    return errors
