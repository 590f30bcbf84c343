"""The part of the HTTP driver that needs no worker: receives the heads, and sends responses that need no application.

The thread that owns the connection receives and checks a head; :meth:`HTTPBaseDriver._begin_request`, of the derived
class, decides what follows. Responses that need no application are made here: refusals, and those of
:meth:`HTTPBaseDriver._respond_immediately`.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import TYPE_CHECKING

from reserve.apps._accesslog.collect import details_of
from reserve.apps._accesslog.record import CLIENT_CLOSED_REQUEST, LONGEST_UNCUT, MAX_FIELD, DetailedRecord, cut
from reserve.apps._checks import check_response
from reserve.apps.http.bufferedbody import LARGE_HEAD, large_head_error
from reserve.apps.http.context import HTTPContext, path_of
from reserve.engine.connections.driver import (
    AGAIN,
    CLOSE,
    FIRST_REQUEST,
    KEEP_ALIVE,
    LINGER,
    Action,
    Driver,
    Wait,
)
from reserve.engine.connections.states import CLOSE_IDLE
from reserve.engine.polling.poller import READ
from reserve.engine.polling.timers import NEVER
from reserve.errors import ClientDisconnected, RemoteError
from reserve.protocol.codec import NONE, Head

if TYPE_CHECKING:
    from reserve.apps._accesslog.record import Details
    from reserve.engine.connections.connection import Connection
    from reserve.protocol.codec import ParseHead, Reader

__all__ = ["HTTPBaseDriver"]

_RECEIVE_SIZE = 4096
"""Bytes. What arrives after a request is kept while its response is sent, so little of it is received at a time."""
_MAX_LOGGED_TARGET = 200  # characters of a target that a line of the error log shows


class HTTPBaseDriver(Driver, ABC):
    """Drives a connection whose requests have no body that is read. Derived classes decide what follows each head.

    The owner of the connection calls every method, except :meth:`describe`, which any thread may call.

    :param context: the application that the connection belongs to.
    """

    __slots__ = (
        "_block",
        "_codec",
        "_connection",
        "_context",
        "_details",
        "_head",
        "_head_deadline",
        "_head_size",
        "_reader",
        "_received_at",
        "_request_id",
        "_unwritten",
        "_wait",
        "base_environ",
        "limits",
        "parse_head",
        "unix_socket",
        "unparsed",
    )

    def __init__(self, context: HTTPContext, connection: Connection) -> None:
        self._context = context
        self._connection = connection
        self.unix_socket = not isinstance(connection.peer, tuple)
        self.limits = context.settings.limits
        self.base_environ = context.base_environ(connection)
        self._codec = context.codec
        self.parse_head: ParseHead = self._codec.parse_head
        if connection.server.settings.trusted_proxies:
            self.parse_head = context.head_parser(connection)
        self._reader: Reader | None = None
        """Finds the ends of heads; made when the first bytes come that are not for the straight line. None: there were
        none yet, or the straight line has served requests since. So a connection that is idle needs none.
        """
        self.unparsed = b""
        """What was received after a request, and nothing has looked at yet."""
        self._head: Head | None = None
        self._head_size = 0
        """Bytes of the last head; of the whole request, if it has left the straight line."""
        self._block = b""
        """A head that has a body, until its environ is certain to be kept. See :class:`HTTPDriver`."""
        self._received_at = 0.0
        """When the last head was complete, on the engine's clock, if anything shows that. Likewise the next two."""
        self._request_id = ""
        """The ID of the current request; empty: none was asked for yet."""
        self._details: Details | None = None
        """What is collected of the current request; None: nothing more than each line of the access log shows."""
        self._unwritten: DetailedRecord | None = None
        """A record that is put when the last byte of its response has left."""
        # A client that sends nothing at all is late like one whose first head comes too slowly.
        self._head_deadline = connection.server.clock.now() + context.settings.head_timeout
        kind = KEEP_ALIVE if context.silent_is_idle else FIRST_REQUEST
        self._wait = Wait(kind, READ, self._head_deadline)

    @abstractmethod
    def _begin_request(self, head: Head, now: float) -> Action:
        """Decide what follows a head that is complete."""

    # ---- the driver, see reserve.engine.connections.driver ----

    def step(self, events: int, now: float) -> Action:
        try:
            return self._receive_head(now, close_idle=events & CLOSE_IDLE != 0)
        except ClientDisconnected:
            return CLOSE

    def idle_since(self) -> float:
        return self._connection.deadline - self._context.settings.keep_alive

    def leave_straight_line(self, deadline: float) -> None:
        wait = self._wait
        if deadline != wait.deadline and deadline != NEVER:  # there were requests, which end a series of empty lines
            self._reader = None
            wait.kind = KEEP_ALIVE
            wait.deadline = deadline

    def expired(self, kind: str, now: float) -> Action:
        if kind == KEEP_ALIVE or self._reader is None or not self._reader.started:
            return CLOSE
        return self._refuse_incomplete_head(
            RemoteError(408, "the head of the request came too slowly (--head-timeout)")
        )

    def refuse(self, reason: str) -> bytes | None:
        head = self._head
        if reason == "lost":
            if head is not None:
                self._log_refusal(head, CLIENT_CLOSED_REQUEST, 0)
            return None
        refusal = self._codec.refusal(
            503,
            "The application did not respond in time."
            if reason == "timeout"
            else "The server is overloaded; try again in a moment.",
            request=head,
            block=b"",
            head_request=head is not None and head.method == "HEAD",
            date=self._context.date_line(),
            server=self._context.server_line,
            extra=[("Retry-After", "1"), *self._own_fields(head)],
        )
        if head is not None:
            self._log_refusal(head, 503, refusal.body_size)
        return refusal.data or None

    @property
    def shown_head(self) -> Head | None:
        """The head of the current request, for log lines. Any thread."""
        return self._head

    def describe(self) -> str:
        head = self.shown_head
        return "" if head is None else f"{head.method} {head.target[:_MAX_LOGGED_TARGET]}"

    def request_id(self) -> str:
        return self._request_id

    def client(self) -> str:
        head = self.shown_head
        return "" if head is None else head.remote_addr

    def _reply(self, data: bytes) -> None:
        """Send a message of the protocol that is no response, when a reader or a decoder has received its cause. By the
        thread that has called that: the owner, or a worker during its run.
        """
        connection = self._connection
        if connection.lent:
            connection.reclaim()
        connection.write(data)

    # ---- between two requests ----

    def _receive_head(self, now: float, *, close_idle: bool = False) -> Action:
        """Receive until a head is complete or nothing more has arrived.

        :param close_idle: the server needs the connection's place: an idle connection closes.
        """
        reader = self._reader
        connection = self._connection
        receive = connection.recv
        while True:
            data = self.unparsed
            if data:
                self.unparsed = b""
                emptied = False
            else:
                try:
                    data = receive(_RECEIVE_SIZE)
                except (BlockingIOError, InterruptedError):
                    break
                emptied = len(data) < _RECEIVE_SIZE
                if not data:
                    return (
                        CLOSE  # a client may close between two requests; after a part of a head nothing can be served
                    )
            if reader is None:
                reader = self._reader = self._codec.make_reader(self.limits, self._reply)
            fresh = not reader.started
            try:
                block = reader.feed(data)
            except RemoteError as error:
                if connection.body_memory:
                    self._count_head(0)
                self._head_size = 0
                return self._refuse(error, reader.refused)
            if block is not None:
                if connection.body_memory:
                    self._count_head(0)
                self._head_size = len(block)
                refuse_underscores = self._context.settings.underscores == "refuse"
                try:
                    head = self._head = self.parse_head(
                        block,
                        self.base_environ,
                        self.limits,
                        refuse_underscores=refuse_underscores,
                        unix_socket=self.unix_socket,
                    )
                except RemoteError as error:
                    return self._refuse(error, block)
                self.unparsed, reader.rest = reader.rest, b""  # not kept twice: it may be 64 KiB of a body
                if self._context.is_observed:
                    self._received_at = now
                    self._request_id, self._details = "", None
                if head.length != 0:
                    self._block = block
                return self._begin_request(head, now)
            if fresh and reader.started and self._wait.kind == KEEP_ALIVE:
                self._head_deadline = now + self._context.settings.head_timeout
            if emptied:
                break  # a short receive has emptied the socket; the poller reports when there is more
        wait = self._wait
        held = 0 if reader is None else reader.buffered
        in_tls = 0 if connection.tls is None else connection.tls.held  # which the engine counts
        unshared = held + in_tls - connection.counted[0]
        if held + in_tls > LARGE_HEAD and not connection.server.budget.memory_for(unshared):
            return self._refuse_incomplete_head(large_head_error())
        if reader is not None and reader.started:
            self._count_head(held)
            wait.kind = "head"
            wait.deadline = self._head_deadline
        elif connection.server.stopping or (close_idle and wait.kind == KEEP_ALIVE):
            return CLOSE
        wait.events = READ
        return wait

    def _count_head(self, size: int) -> None:
        """Count the bytes of an incomplete head into the server's budget."""
        self._connection.body_memory = size
        self._connection.settle()

    def _refuse_incomplete_head(self, error: RemoteError) -> Action:
        """Refuse a request whose head is not complete, and free the bytes of it that have been received."""
        received = b"" if self._reader is None else self._reader.prefix
        self._reader = None
        self._count_head(0)
        self._head_size = 0
        return self._refuse(error, received)

    def _after_response(self, keep_alive: bool, client_may_send: bool, now: float) -> Action:
        """Decide whether another request may follow the one that has its response.

        :param client_may_send: the client does not know yet that the connection closes, or has not sent its body.
        """
        if not keep_alive:
            # A close while input is unread is a reset, which would destroy the response on its way.
            unread = self.unparsed or client_may_send or self._connection.has_unread()
            self.unparsed = b""
            return LINGER if unread else CLOSE
        wait = self._wait
        wait.kind = KEEP_ALIVE
        wait.deadline = now + self._context.settings.keep_alive
        return wait

    # ---- responses that need no application ----

    def _check_at(self, head: Head) -> str:
        """What a request asks for at a path for health checks, if there are any; empty: it is no check."""
        checks = self._context.checks
        if checks is None or head.length != 0 or head.method not in ("GET", "HEAD"):
            return ""
        return checks.get(path_of(head.environ), "")

    def _respond_to_check(self, check: str, head: Head, now: float) -> Action:
        """Respond to a health check. See :func:`~reserve.apps._checks.check_response`."""
        server = self._connection.server
        response = check_response(check, head.environ, live=server.live, reasons=server.unhealthy_reasons())
        return self._respond_immediately(head, now, *response)

    def _respond_immediately(
        self, head: Head, now: float, status: str, headers: list[tuple[str, str]], body: bytes
    ) -> Action:
        """Respond on the thread that steps the connection, so that it works while every worker is busy.

        A body of the request is not read; the connection closes then.
        """
        has_body = head.length != 0
        settings = self._context.settings
        if self._context.adds_fields:
            headers = [*headers, *self._own_fields(head)]
        response = self._codec.response_head(
            status,
            headers,
            request=head,
            minor=head.minor,
            head_request=head.method == "HEAD",
            keep_alive=(
                head.keep_alive and not has_body and settings.keep_alive > 0 and not self._connection.server.retiring
            ),
            length=len(body),
            date=self._context.date_line(),
            server=self._context.server_line,
        )
        if response.framing is NONE:
            body = b""
        elif response.chunk is not None:
            body = b"".join(response.chunk(body))
        self._connection.write(response.data + body + response.last_chunk)
        self._head = None
        action = self._after_response(response.keep_alive, head.keep_alive or has_body, now)
        # Each request of a pipeline gets a turn of its own, because the other connections wait for this thread.
        return AGAIN if action is self._wait and self.unparsed else action

    def _refuse(
        self, error: RemoteError, block: bytes = b"", *, logged: bool = False, extra: Iterable[tuple[str, str]] = ()
    ) -> Action:
        """Send the last response of this connection, which says what is wrong with the request.

        :param block: the beginning of the head, where that is incomplete or malformed.
        :param logged: the error log has a line about it already, with more than the client is told.
        :param extra: more fields of the response.
        """
        text = self._context.text_of(error)
        if not logged:
            status = error.status
            self._context.log_warning(self._connection, f"{status} {text}", f"requests refused with {status}")
        self.unparsed = b""
        head = self._head
        refused = head if head is not None else self._codec.describe_refused(block)
        data, body_size = self._codec.refusal(
            error.status,
            text,
            request=head,
            block=block,
            head_request=refused.method == "HEAD",
            date=self._context.date_line(),
            server=self._context.server_line,
            extra=(*extra, *self._own_fields(head)),
        )
        if isinstance(refused, Head):
            self._log_refusal(refused, error.status, body_size)
        else:
            self._log_response(refused.line or "-", error.status, body_size, refused.referer, refused.user_agent)
        try:
            if data:
                self._connection.write(data)
        except ClientDisconnected:
            return CLOSE
        return LINGER

    # ---- the access log ----

    def _log_refusal(self, head: Head, status: int, bytes_sent: int) -> None:
        if head.environ:
            fields = (head.environ.get(key) for key in ("HTTP_REFERER", "HTTP_USER_AGENT"))
            # An application that runs too long may have put any object there.
            referer, user_agent = (value if isinstance(value, str) else "" for value in fields)
        else:
            _, _, referer, user_agent = self._codec.describe_refused(self._block)
        self._log_response(head, status, bytes_sent, referer, user_agent)

    def _log_response(self, request: Head | str, status: int, bytes_sent: int, referer: str, user_agent: str) -> None:
        """Count a response that no application has made, and put a line into the access log.

        :param request: the head of the request, or its request line where the head is malformed.
        :param bytes_sent: of the response's body.
        """
        method = request.partition(" ")[0] if isinstance(request, str) else request.method
        self._connection.server.request_metrics.add(method, status, self._head_size, bytes_sent)
        self.put_record(request, status, bytes_sent, referer, user_agent)

    def put_record(self, request: Head | str, status: int, bytes_sent: int, referer: str, user_agent: str) -> None:
        """Put a line into the access log, if there is one. The arguments are those of :meth:`_log_response`."""
        context = self._context
        log = context.access_log
        if log is None:
            return
        host, method, version = self.base_environ["REMOTE_ADDR"], "", ""
        if isinstance(request, str):
            target = request
        else:
            method, target, version = request.method, request.target, request.version
            if context.skipped is not None and target in context.skipped:
                return
            host = request.remote_addr or host
        if len(method) + len(target) + len(referer) + len(user_agent) > LONGEST_UNCUT:  # one of them may be too long
            if len(method) + len(target) + len(version) + 2 > MAX_FIELD:
                line = f"{method} {target} {version}" if method else target
                method, target, version = "", cut(line) if len(line) > MAX_FIELD else line, ""
            if len(referer) > MAX_FIELD:
                referer = cut(referer)
            if len(user_agent) > MAX_FIELD:
                user_agent = cut(user_agent)
        values = (time.time(), host, method, target, version, status, bytes_sent, referer, user_agent)
        if not context.log_needs.details:
            log.put(values)
        else:
            self._put_detailed(values, None if isinstance(request, str) else request)

    def _put_detailed(self, values: tuple[float, str, str, str, str, int, int, str, str], head: Head | None) -> None:
        """Put a record with details, now or when the last byte of the response has left."""
        context, connection, details = self._context, self._connection, self._details
        now = connection.server.clock.now()
        if details is None:
            details = self._collect(head)
        if head is not None:
            if details.duration is None:
                details.duration = now - self._received_at
            if details.first_byte is not None:
                details.ttfb = details.first_byte - self._received_at
        record = DetailedRecord(*values, details)
        if context.log_needs.written and details.first_byte is not None and connection.output is not None:
            self._unwritten = record
            return
        if details.first_byte is not None:
            details.write = now - details.first_byte
        assert context.access_log is not None
        context.access_log.put(record)

    def _put_unwritten(self) -> None:
        """The last byte of the response has left, or the connection ends: put the record that waits for that."""
        record, self._unwritten = self._unwritten, None
        log = self._context.access_log
        if record is None or log is None:
            return
        details = record.details
        assert details.first_byte is not None
        details.write = self._connection.server.clock.now() - details.first_byte
        log.put(record)

    def _collect(self, head: Head | None) -> Details:
        """Begin to collect what the format of the access log and other settings need of the current request.

        :param head: None: it is malformed.
        """
        context = self._context
        details = self._details = details_of(
            context.log_needs, head, self.base_environ, self._connection.server.clock.now() - self._received_at
        )
        details.received = self._head_size if head is not None else 0
        if head is not None and context.request_ids is not None:
            details.request_id = self._id_of(head)
        return details

    def _id_of(self, head: Head) -> str:
        """The ID of the current request, which is made when it is asked for first."""
        ids = self._context.request_ids
        if not self._request_id and ids is not None:
            self._request_id = ids.of(head.environ, from_proxy=head.from_proxy)
        return self._request_id

    def _own_fields(self, head: Head | None) -> list[tuple[str, str]]:
        """The fields of a response of the server itself that are about the request."""
        if head is None or not self._context.adds_fields:
            return []
        return self._context.own_fields(self._id_of(head))
