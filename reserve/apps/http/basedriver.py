"""Drives one HTTP/1 connection from head to head: what is done off the workers.

A head is received and checked, and :meth:`HTTPBaseDriver._begin` says what follows it. What is said without an
application is said here: why a request is refused, and answers at once. All of it runs on whoever owns the connection.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

from reserve.apps.http.accesslog import Record
from reserve.apps.http.bufferedbody import LARGE_HEAD, head_refused
from reserve.apps.http.context import HTTPContext, body_size
from reserve.engine.connections.driver import AGAIN, CLOSE, LINGER, Action, Wait
from reserve.engine.connections.states import RECLAIM
from reserve.engine.polling.poller import READ
from reserve.errors import ClientDisconnected, RemoteError
from reserve.protocol.http1.fields import log_fields
from reserve.protocol.http1.head import Head, HeadReader, parse_head
from reserve.protocol.http1.requestline import method_of
from reserve.protocol.http1.response import Framing, refusal, response_head

if TYPE_CHECKING:
    from reserve.engine.connections.connection import Connection

__all__ = ["HTTPBaseDriver"]

_RECEIVE = 65536
_LOGGED = 4096  # octets of a request line that was not understood, as far as the access log has them
_SHOWN = 200  # letters of a target in a line of the error log


class HTTPBaseDriver(ABC):
    """One connection whose requests end with their heads. Derived classes say what is done about each."""

    __slots__ = (
        "_base",
        "_connection",
        "_context",
        "_head",
        "_head_deadline",
        "_head_size",
        "_limits",
        "_reader",
        "_rest",
        "_wait",
    )

    def __init__(self, context: HTTPContext, connection: Connection) -> None:
        self._context = context
        self._connection = connection
        self._limits = context.settings.limits
        self._base = context.base_environ(connection)
        self._reader = HeadReader(self._limits)
        self._rest = b""
        """What was received behind a request."""
        self._head: Head | None = None
        self._head_size = 0
        """Octets of the last head that has a body behind it."""
        # A connection that never says a word is cut as one whose first head is too slow.
        self._head_deadline = connection.server.clock.now() + context.settings.head_timeout
        self._wait = Wait("head", READ, self._head_deadline)

    @abstractmethod
    def _begin(self, head: Head, now: float) -> Action:
        """Decide what follows a head that has come."""

    # ---- the driver ----

    def step(self, events: int, now: float) -> Action:
        try:
            return self._receive_head(now, reclaim=events & RECLAIM != 0)
        except ClientDisconnected:
            return CLOSE

    def run(self) -> None:
        raise AssertionError("a request that ends with its head needs no worker")

    def expired(self, kind: str, now: float) -> Action:
        reader = self._reader
        if kind == "keep-alive" or not reader.started:
            return CLOSE
        return self._refuse_head(RemoteError(408, "the head of the request came too slowly (--head-timeout)"))

    def refuse(self, reason: str) -> bytes | None:
        head = self._head
        data = refusal(
            503,
            "The application did not answer in time."
            if reason == "timeout"
            else "The server is overloaded; try again in a moment.",
            date=self._context.date_line(),
            server=self._context.server_line,
            head_request=head is not None and head.method == "HEAD",
            extra=[("Retry-After", "1")],
        )
        if head is not None:
            octets = body_size(data)
            self._record_refusal(head, 503, octets)
        return data

    def expire_run(self) -> bool:
        return False

    def refuse_during_run(self, reason: str) -> bytes | None:
        return None

    def describe(self) -> str:
        head = self._head
        return "" if head is None else f"{head.method} {head.target[:_SHOWN]}"

    def revoke(self) -> bool:
        return False

    def closed(self, reason: str) -> bool:
        return False

    # ---- between two requests ----

    def _receive_head(self, now: float, *, reclaim: bool = False) -> Action:
        reader = self._reader
        connection = self._connection
        receive = connection.recv
        while True:
            data = self._rest
            if data:
                self._rest = b""
                emptied = False
            else:
                try:
                    data = receive(_RECEIVE)
                except (BlockingIOError, InterruptedError):
                    break
                emptied = len(data) < _RECEIVE
                if not data:
                    return CLOSE  # between two requests that is how it should end; within a head nobody can be answered
            fresh = not reader.started
            try:
                block = reader.feed(data)
            except RemoteError as error:
                if connection.body_memory:
                    self._count_head(0)
                return self._refuse(error, reader.refused)
            if block is not None:
                if connection.body_memory:
                    self._count_head(0)
                try:
                    head = self._head = parse_head(
                        block,
                        self._base,
                        self._limits,
                        refuse_underscores=self._context.settings.underscores == "refuse",
                    )
                except RemoteError as error:
                    return self._refuse(error, block)
                self._rest, reader.rest = reader.rest, b""  # not kept twice: it may be 64 KiB of a body
                if head.length != 0:
                    self._head_size = len(block)
                return self._begin(head, now)
            if fresh and reader.started and self._wait.kind == "keep-alive":
                self._head_deadline = now + self._context.settings.head_timeout
            if emptied:
                break  # a short receive has emptied the socket; the poller says when there is more
        wait = self._wait
        if reader.started:
            held = reader.held
            if held > LARGE_HEAD and not connection.server.budget.memory_for(held - connection.counted[0]):
                return self._refuse_head(head_refused())
            self._count_head(held)
            wait.kind = "head"
            wait.deadline = self._head_deadline
        elif connection.server.stopping or (reclaim and wait.kind == "keep-alive"):
            return CLOSE
        wait.events = READ
        return wait

    def _count_head(self, held: int) -> None:
        """Count what waits of a head into the server's budget."""
        self._connection.body_memory = held
        self._connection.settle()

    def _refuse_head(self, error: RemoteError) -> Action:
        """Refuse a request whose head is not here yet, and forget what there is of it."""
        begun = self._reader.begun
        self._reader = HeadReader(self._limits)
        self._count_head(0)
        return self._refuse(error, begun)

    def _go_on(self, keep_alive: bool, client_keeps: bool, now: float) -> Action:
        """Decide whether another request may follow the one that has been answered."""
        if not keep_alive:
            # Whoever sent more than we read would lose our answer to a reset. A client that wants to close sends
            # nothing; one that does not know yet that we do may be sending now.
            pipelined = self._rest or client_keeps or self._connection.unread()
            return LINGER if pipelined else CLOSE
        wait = self._wait
        wait.kind = "keep-alive"
        wait.deadline = now + self._context.settings.keep_alive
        return wait

    # ---- what is said without an application ----

    def answer_at_once(
        self, head: Head, now: float, status: str, headers: list[tuple[str, str]], body: bytes
    ) -> Action:
        """Answer in the reserved lane: by whoever leads, so that it works while every worker is busy.

        A body of the request is not read; the connection closes then.
        """
        with_body = head.length != 0
        settings = self._context.settings
        made = response_head(
            status,
            headers,
            minor=head.minor,
            head_request=head.method == "HEAD",
            keep_alive=(
                head.keep_alive and not with_body and settings.keep_alive > 0 and not self._connection.server.stopping
            ),
            length=len(body),
            date=self._context.date_line(),
            server=self._context.server_line,
        )
        self._connection.write(made.data + (body if made.framing is Framing.LENGTH else b""))
        self._head = None
        action = self._go_on(made.keep_alive, head.keep_alive or with_body, now)
        # Each one of a pipeline in a turn of its own: this runs on the leader, and the others wait for it.
        return AGAIN if action is self._wait and self._rest else action

    def _refuse(self, error: RemoteError, block: bytes = b"", *, noted: bool = False) -> Action:
        """The last words on this connection: what was wrong with the request.

        :param block: octets that begin with the request line, where the head was not understood.
        :param noted: the error log has it already, in more words than the client gets.
        """
        if not noted:
            self._context.log_warning(
                self._connection, f"{error.status} {error.message}", f"requests refused with {error.status}"
            )
        self._rest = b""
        head = self._head
        line = ""
        if head is not None:
            method = head.method
        else:
            begun, whole, _ = block[:_LOGGED].decode("latin-1").partition("\r\n")
            method = method_of(begun)
            line = begun if whole else ""
        data = refusal(
            error.status,
            error.message,
            date=self._context.date_line(),
            server=self._context.server_line,
            head_request=method == "HEAD",
        )
        octets = body_size(data)
        if head is not None:
            self._record_refusal(head, error.status, octets)
        elif self._context.access_log is not None:
            self._record(line or "-", error.status, octets, *log_fields(block))
        try:
            self._connection.write(data)
        except ClientDisconnected:
            return CLOSE
        return LINGER

    def _record_refusal(self, head: Head, status: int, octets: int) -> None:
        line = f"{head.method} {head.target} HTTP/1.{head.minor}"
        referer, agent = (head.environ.get(key) for key in ("HTTP_REFERER", "HTTP_USER_AGENT"))
        # An application that runs too long may have put anything there.
        referer, agent = (value if isinstance(value, str) else "" for value in (referer, agent))
        self._record(line, status, octets, referer, agent)

    def _record(self, line: str, status: int, octets: int, referer: str, agent: str) -> None:
        """Put a line into the access log, if there is one."""
        log = self._context.access_log
        if log is not None:
            log.put(Record(time.time(), self._base["REMOTE_ADDR"], line, status, octets, referer, agent))
