"""The straight line of HTTP: what an ordinary request passes, from the first byte to the last, in one call.

A worker calls :meth:`StraightLine.serve` for a connection that has waited for its next request and for nothing
else, or has just been accepted (:mod:`reserve.engine.connections.straightline`). An ordinary request is there with one
receive, or with a second one that gets its small body. Its response is a list of bytes, or another iterable whose first
item is all that its Content-Length says, and leaves with one send. Every other one leaves the line where that shows:

- before the application is called, the driver is given what was received, and steps as if it had received it itself;
- afterwards, or inside ``start_response`` and ``write``, the request becomes an
  :class:`~reserve.apps.http.exchange.HTTPExchange`, which is told what the application has said so far.

What was received after a request (pipelining) is kept where the driver keeps it, from before the application is called,
so that the driver has it whenever the request leaves the line. The next call of the line begins with it, instead of a
receive.

So no rule stands here a second time: the line knows only what is certainly right, by the parser and by the caches of
lines that have passed their checks.

A body on the line is counted into no budget (``--buffer-memory``), and ``--body-memory`` does not concern it: these are
about what waits, for its client or for a worker. Here the worker that has received it runs the application at once. So
there are no more such bodies than workers, each smaller than :data:`RECEIVE_SIZE`. One that has to wait leaves the
line.

``_straightline.c`` is the same in C. It is used where it was compiled, unless ``RESERVE_PURE=1`` is set.
"""

from __future__ import annotations

import contextlib
import time
from collections import deque
from collections.abc import Callable
from contextvars import Context
from dataclasses import dataclass
from io import BytesIO
from os import read, write
from threading import get_ident
from typing import TYPE_CHECKING, Any, Protocol

from reserve.apps._accesslog.record import LONGEST_UNCUT
from reserve.apps.http.bufferedbody import close_content
from reserve.engine.connections.driver import CLOSE, LINGER
from reserve.engine.connections.straightline import DECLINED, MORE
from reserve.engine.metrics.requests import METHODS, MOST_PENDING, OTHER
from reserve.errors import ApplicationError, RemoteError
from reserve.gateways.response import END, PartlyIterated, WSGIResponse, ended, first_item, is_own_iterable, rest_of
from reserve.protocol.http1.responsefields import (
    CACHED_LINES,
    CACHED_STATUS,
    CONTENT_LENGTH,
    PLAIN,
    check_field,
    check_status,
)

if TYPE_CHECKING:
    from reserve.apps._accesslog.log import AccessLog
    from reserve.apps.http.context import HTTPContext
    from reserve.engine.connections.connection import Connection
    from reserve.engine.connections.context import ServerContext
    from reserve.engine.metrics.requests import Tally
    from reserve.gateways.exchange import ExcInfo, Write, WSGIApplication
    from reserve.gateways.streams import ErrorStream
    from reserve.gateways.wsgi import WSGIGateway
    from reserve.protocol.codec import Head, ParseHead
    from reserve.protocol.http1.limits import Limits

__all__ = [
    "LARGEST_HEAD",
    "RECEIVE_SIZE",
    "LineSettings",
    "StraightDriver",
    "StraightLine",
    "StraightResponse",
    "line_settings",
]

LARGEST_HEAD = 4095
"""Bytes. A larger head is not ordinary: the server's memory budget has a rule for it (``LARGE_HEAD``)."""
RECEIVE_SIZE = 8192
"""Bytes. A request has to be smaller, with its body: then a receive that asks for so many has emptied the socket. It
leaves room for a body as large as the largest head, which nearly all forms and calls of an API are. Not more, because
what a client sends after a request that leaves the line is kept while the response is sent.
"""
MOST_JOINED = 65536
"""Bytes of a body that are copied after the head, to leave in one system call."""
_cached_status, _cached_line = CACHED_STATUS.get, CACHED_LINES.get
"""Bound once, because both are called for each response."""
_UNFRAMED = frozenset((204, 205, 304))
"""Statuses whose responses have no content, and rules of their own for Content-Length."""


@dataclass(frozen=True, kw_only=True)
class LineSettings:
    """What the straight line of an application is made of, in Python and in C: the settings of a moment, and the
    objects that it uses. Any thread may read it.
    """

    context: HTTPContext
    """The application."""
    server: ServerContext[Connection]
    """What serves it."""
    now: Callable[[], float]
    """The engine's clock."""
    tallies: dict[int, Tally]
    """What the line in C has counted, by thread."""
    gateway: WSGIGateway
    app: WSGIApplication
    errors: ErrorStream
    """``wsgi.errors``."""
    log: AccessLog | None
    """None: there is no access log."""
    records: deque[Any] | None
    """The queue of the access log, if the line may put records into it: the driver would do nothing else with them."""
    most_records: int
    """How many records wait in it at most."""
    longest: int
    """Characters of the texts of a record that are not cut, all together."""
    special: Callable[[dict[str, Any]], bool] | None
    """Whether the path of a request is not for the application; None: every path is."""
    paths: frozenset[str] | None
    """The paths that are not; None: they cannot be listed, because there are folders of files."""
    server_line: bytes
    keep_alive: float
    """Seconds."""
    largest: int
    """Bytes. A head of at most this size is ordinary, and exceeds no limit of size."""
    most_fields: int
    refuse_underscores: bool
    streams: bool
    """The application reads bodies while they arrive."""
    has_ids: bool
    """Requests have IDs."""
    shows_ids: bool
    """Responses have them in a field."""


def line_settings(context: HTTPContext, server: ServerContext[Connection]) -> LineSettings:
    """What the straight line of an application is made of now.

    :param server: what serves the application.
    """
    settings, limits, gateway, log = context.settings, context.settings.limits, context.gateway, context.access_log
    return LineSettings(
        context=context,
        server=server,
        now=server.clock.now,
        tallies=server.request_metrics.tallies,
        gateway=gateway,
        app=gateway.app,
        errors=gateway.errors,
        log=log,
        records=None if log is None or context.skipped is not None or context.log_needs.details else log.records,
        most_records=0 if log is None else log.limit,
        longest=LONGEST_UNCUT,
        special=context.is_special if context.has_special_paths else None,
        paths=frozenset((*(context.checks or ()), *(context.pages or ()))) if context.static is None else None,
        server_line=context.server_line,
        keep_alive=settings.keep_alive,
        largest=min(LARGEST_HEAD, limits.max_request_line, limits.max_field, limits.max_head),
        most_fields=limits.max_fields,
        refuse_underscores=settings.underscores == "refuse",
        streams=settings.stream_bodies,
        has_ids=context.request_ids is not None,
        shows_ids=settings.request_id == "response",
    )


class StraightDriver(Protocol):
    """What the line uses of a connection's :class:`~reserve.apps.http.straightdriver.HTTPStraightDriver`."""

    parse_head: ParseHead
    base_environ: dict[str, Any]
    limits: Limits
    unix_socket: bool
    unparsed: bytes
    straight_response: StraightResponse | None

    def identify(self, environ: dict[str, Any], from_proxy: bool, begun: float) -> str: ...

    def decline(self, data: bytes) -> int: ...

    def leave_straight_response(self, response: StraightResponse) -> WSGIResponse: ...

    def leave_with(self, response: StraightResponse, result: Any, failure: BaseException | None) -> int: ...

    def leave_sending(
        self, response: StraightResponse, message: bytes, count: int, rest: PartlyIterated | None
    ) -> int: ...

    def put_record(self, request: Head, status: int, bytes_sent: int, referer: str, user_agent: str) -> None: ...


class StraightLine:
    """The straight line of one application, with the settings of a moment. Any thread may call it."""

    __slots__ = ("_app", "_context", "_date", "_errors", "_ids", "_keep_alive", "_largest", "_log", "_most_records",
                 "_now", "_records", "_refuse_underscores", "_server_line", "_shows_ids", "_special",
                 "_streams")  # fmt: skip

    def __init__(self, settings: LineSettings) -> None:
        self._context = settings.context
        self._now = settings.now
        self._app = settings.app
        self._errors = settings.errors
        self._keep_alive = settings.keep_alive
        self._largest = settings.largest
        self._streams = settings.streams
        self._log = settings.log
        self._records = settings.records
        self._most_records = settings.most_records
        self._ids = settings.has_ids
        self._shows_ids = settings.shows_ids
        self._refuse_underscores = settings.refuse_underscores
        self._server_line = settings.server_line
        self._special = settings.special
        self._date = (0.0, 0.0, b"")
        """When a second begins and ends, and the lines that end every head in it."""

    def serve(self, connection: Connection, begun: float, /) -> float | int:
        """Serve one request. See :class:`reserve.engine.connections.straightline.StraightLine`."""
        # The driver was made for this context, whose straight line this is.
        driver: StraightDriver = connection.driver  # type: ignore[assignment]
        fd = connection.fd
        data = driver.unparsed
        if data:  # it came with the request before
            driver.unparsed = b""
        else:
            try:
                # On a socket that does not block, read() and write() do what recv() and send() do, with fewer
                # instructions.
                data = read(fd, RECEIVE_SIZE)
            except OSError:  # nothing has come, or the connection has failed: the driver finds out which
                return DECLINED

        # A head, complete, and within the limits?
        size = len(data)
        end = data.find(b"\r\n\r\n") + 4
        block = data
        if end != size or size > self._largest:
            if not 4 < end <= self._largest:
                return driver.decline(data)
            block = data[:end]
        try:
            # Not driver.parse_head(...), which would look for a method first; by position, not by name: both cost less.
            parse_head = driver.parse_head
            head = parse_head(block, driver.base_environ, driver.limits, self._refuse_underscores, driver.unix_socket)
        except RemoteError:
            return driver.decline(data)
        environ = head.environ
        method = head.method
        if (
            not head.minor
            or method == "HEAD"
            or "HTTP_UPGRADE" in environ
            or (self._special is not None and self._special(environ))
        ):
            return driver.decline(data)
        if head.length != 0:
            length, start = head.length, end
            # None: it is chunked.
            if length is None or end + length >= RECEIVE_SIZE or head.expect_continue or self._streams:
                return driver.decline(data)
            end += length
            if size < end:
                # Many clients send head and body one after the other. As above, the driver finds out about errors.
                with contextlib.suppress(OSError):
                    data += read(fd, RECEIVE_SIZE - size)
                size = len(data)
                if size < end:
                    return driver.decline(data)
            content: BytesIO | None = BytesIO(data[start:end])
            environ["wsgi.input"] = content
        else:
            environ["wsgi.input"] = BytesIO()
            content = None
        if size != end:
            if size == RECEIVE_SIZE:  # the socket may have more, of which the poller has told already
                return driver.decline(data)
            driver.unparsed = data[end:]

        shown_id = b""
        if self._ids:
            request_id = driver.identify(environ, head.from_proxy, begun)
            if self._shows_ids:
                shown_id = b"X-Request-ID: %b\r\n" % request_id.encode()

        # The application. Threads are reused: what one request sets in context variables (PEP 567) must not be there
        # for the next.
        response = driver.straight_response = StraightResponse(connection, head, begun, end)
        if content is not None:
            response.content = content
        if self._log is not None:
            # Read before the application may change its environ.
            response.referer, response.user_agent = environ.get("HTTP_REFERER", ""), environ.get("HTTP_USER_AGENT", "")
        try:
            result: Any = response.variables.run(self._app, environ, response.start_response)
        except BaseException as error:
            return driver.leave_with(response, None, error)

        # The response: is it all there, and nothing but bytes?
        server = connection.server
        kind = type(result)
        lines = response.lines
        if not lines or server.retiring:
            return driver.leave_with(response, result, None)
        stated = response.length
        iterator: Any = None
        if kind is list or kind is tuple:
            for item in result:
                if type(item) is not bytes:
                    return driver.leave_with(response, result, None)
            body = result[0] if len(result) == 1 else b"".join(result)
            sent = len(body)
            if sent > MOST_JOINED or (stated >= 0 and stated != sent):
                return driver.leave_with(response, result, None)
        else:
            try:
                if not 0 < stated <= MOST_JOINED or not is_own_iterable(result):
                    return driver.leave_with(response, result, None)
                iterator, body = response.variables.run(first_item, result)
            except BaseException as error:
                return driver.leave_with(response, result, error)
            if type(body) is not bytes or len(body) != stated or response.wsgi is not None:
                return driver.leave_with(response, rest_of(result, iterator, body), None)
            sent = stated
        try:
            wall = time.time()
            date = self._date
            if not date[0] <= wall < date[1]:
                second = wall // 1.0
                date = self._date = second, second + 1.0, self._context.date_line() + self._server_line + b"\r\n"
            if shown_id:
                lines.insert(len(lines) - (stated >= 0), shown_id)
            if stated < 0:
                lines.append(b"Content-Length: %d\r\n" % sent)
            lines.append(date[2] if head.keep_alive else date[2][:-2] + b"Connection: close\r\n\r\n")
            lines.append(body)
            message = b"".join(lines)
            count = write(fd, message)
        except (BlockingIOError, InterruptedError):
            count = 0
        except OSError:
            return driver.leave_with(response, result if iterator is None else rest_of(result, iterator, body), None)
        except BaseException as error:  # no memory, as a rule
            if iterator is None:
                raise
            return driver.leave_with(response, result, error)  # its close() has to be called
        if count != len(message):
            response.sent = sent
            rest = None if iterator is None else PartlyIterated(result, iterator, END)
            return driver.leave_sending(response, message, count, rest)
        if iterator is not None:
            # What a generator does at its end, and whether it has bytes that are too many.
            response.sent = sent
            try:
                body = response.variables.run(next, iterator, END)
            except BaseException as error:
                return driver.leave_with(response, result, error)
            if body is not END or response.wsgi is not None:
                return driver.leave_with(response, rest_of(result, iterator, body), None)
            response.connection = None
            response.variables.run(self._context.gateway.close_result, None, environ, result)

        # What is known of it afterwards.
        response.connection = None
        driver.straight_response = None
        if content is not None:
            close_content(content)
        read_clock = self._now  # see parse_head above
        now = read_clock()
        metrics = server.request_metrics
        pending = metrics.pending[get_ident()]
        pending.append((method if method in METHODS else OTHER, response.code, end, sent, 0.0, now - begun))
        if len(pending) > MOST_PENDING:
            metrics.fold()
        log = self._log
        if log is not None:
            target, referer, user_agent = head.target, response.referer, response.user_agent
            if (
                self._records is None
                or head.remote_addr
                or len(method) + len(target) + len(referer) + len(user_agent) > LONGEST_UNCUT
                or len(self._records) >= self._most_records
            ):
                driver.put_record(head, response.code, sent, referer, user_agent)
            else:
                host = driver.base_environ["REMOTE_ADDR"]
                self._records.append((wall, host, method, target, "HTTP/1.1", response.code, sent, referer, user_agent))
                if log.asleep:
                    log.wake()
        if self._errors.partial:
            self._context.gateway.flush_errors(None, environ)
        response.head = None  # the application may have kept the object in its environ, which would refer to itself
        if not head.keep_alive:
            # A close while input is unread is a reset, which would destroy the response on its way.
            connection.closing = LINGER if size != end or connection.has_unread() else CLOSE
            driver.unparsed = b""
            return now
        connection.deadline = now + self._keep_alive
        return now if size == end else MORE


class StraightResponse:
    """The response to one request on the straight line. The worker that runs the application owns it;
    :meth:`HTTPStraightDriver.describe` and the like read it on any thread.

    :param begun: when the application is called, on the engine's clock.
    :param received: bytes of the request, its body included.
    """

    __slots__ = (
        "begun",
        "code",
        "connection",
        "content",
        "head",
        "headers",
        "length",
        "lines",
        "received",
        "referer",
        "sent",
        "status",
        "user_agent",
        "variables",
        "wsgi",
    )

    # What the application has said, set together with :attr:`lines`.

    status: str
    code: int
    headers: list[tuple[str, str]]
    length: int
    """What Content-Length says; -1: the application has not stated it."""

    def __init__(self, connection: Connection, head: Head, begun: float, received: int) -> None:
        self.connection: Connection | None = connection
        """None: the response has ended."""
        self.head: Head | None = head
        """None: the response has ended."""
        self.begun = begun
        self.received = received
        self.content: BytesIO | None = None
        """``wsgi.input``, if the request has a body: it is closed after the application."""
        self.wsgi: WSGIResponse | None = None
        """What has taken over, because something is not ordinary."""
        self.lines: list[bytes] | None = None
        """Status line and fields, checked and encoded, Content-Length last; None: they are not known, or :attr:`wsgi`
        has them.
        """
        self.sent = -1
        """Bytes of the body, after the connection has taken over all of them; -1: before that."""
        self.referer = self.user_agent = ""
        self.variables = Context()
        """The context of the application (PEP 567)."""

    def start_response(self, status: str, headers: list[tuple[str, str]], exc_info: ExcInfo | None = None) -> Write:
        """``start_response`` (PEP 3333)."""
        if (
            self.wsgi is None
            and not (self.lines or exc_info)
            and self.connection is not None
            and type(headers) is list
            and self._check(status, headers)
        ):
            return self.write
        return self._leave().start_response(status, headers, exc_info)

    def write(self, data: bytes, /) -> None:
        """What ``start_response`` returns."""
        if self.connection is None and self.wsgi is None:
            raise ended("write()")
        self._leave().write(data)

    def _check(self, status: str, headers: list[tuple[str, str]]) -> bool:
        """Check and encode the head; False: something of it is not ordinary, or not allowed."""
        try:
            line, code = _cached_status(status) or check_status(status)
            if code in _UNFRAMED:
                return False
            lines = [line]
            length = -1
            length_line = b""
            for item in headers:
                if type(item) is not tuple:
                    return False
                line, kind = _cached_line(item) or check_field(item)
                if kind == PLAIN:
                    lines.append(line)
                elif kind == CONTENT_LENGTH and length < 0 and type(item[1]) is str:
                    length = int(item[1])
                    length_line = line
                else:
                    return False
        except (ApplicationError, TypeError):
            return False
        if length >= 0:
            lines.append(length_line)
        self.lines, self.code, self.length = lines, code, length
        self.status, self.headers = status, headers.copy()
        return True

    def _leave(self) -> WSGIResponse:
        """The general response, which is told what the application has said so far."""
        wsgi = self.wsgi
        if wsgi is None:
            if self.connection is None:
                raise ended("start_response()")
            driver: StraightDriver = self.connection.driver  # type: ignore[assignment]
            wsgi = driver.leave_straight_response(self)
        return wsgi
