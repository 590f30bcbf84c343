"""Drives one HTTP connection with an application: receives requests off the workers, responds to them on workers.

The engine calls :meth:`HTTPDriver.step` on the thread that owns the connection, and :meth:`HTTPDriver.run` on a worker.
``step`` receives a head (:class:`~reserve.apps.http.basedriver.HTTPBaseDriver`), and the body after it to memory. Then
it asks for a worker, to write a body that is too large for the memory to a file, or to run the application.
:mod:`reserve.apps.http.phases` has the phases of that and their order.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterable
from contextvars import Context
from functools import partial
from io import BytesIO
from threading import get_ident
from typing import TYPE_CHECKING, BinaryIO

from reserve.apps._accesslog.collect import note_application
from reserve.apps._static.exchange import StaticExchange
from reserve.apps.http.basedriver import HTTPBaseDriver
from reserve.apps.http.bufferedbody import (
    COMPLETE,
    DISCONNECTED,
    FULL,
    LARGE_HEAD,
    MORE,
    BufferedBody,
    close_content,
)
from reserve.apps.http.context import path_of
from reserve.apps.http.exchange import HTTPExchange
from reserve.apps.http.phases import BODY, HEAD, QUEUED, RESPONDING, REVOKED, SPILL, STATIC
from reserve.apps.http.spoolerrors import body_error, store_response
from reserve.apps.http.streamedbody import StreamedBody
from reserve.engine.clients.places import HELD, WAITS
from reserve.engine.connections.closing import reset
from reserve.engine.connections.driver import AGAIN, CLOSE, LINGER, RUN, STORE, Action, Driver
from reserve.engine.connections.registry import admit_client
from reserve.engine.connections.states import CLOSE_IDLE
from reserve.engine.hooks import RequestEnd
from reserve.engine.metrics.requests import METHODS, MOST_PENDING, OTHER
from reserve.engine.polling.poller import READ
from reserve.errors import ClientDisconnected, RemoteError, RequestTimeout
from reserve.gateways.staticsite import ALREADY_MISSING
from reserve.gateways.upgradedsocket import SOCKET_KEYS, UpgradedSocket
from reserve.protocol.http1.framing import asks_for_upgrade
from reserve.wait import connection_reset

if TYPE_CHECKING:
    from reserve.apps.http.context import HTTPContext, Upgrades
    from reserve.engine.clients.places import ClientLimit, Place
    from reserve.engine.connections.connection import Connection
    from reserve.protocol.codec import Aborts, Decoder, Head

__all__ = ["HTTPDriver"]

_FEW_FIELDS = 32
"""The environ of a head with more fields is not kept while the client sends its body, but made again from the head:
128 short fields take 4 KiB as they were sent, and 23 KiB in the environ.
"""
_SHOWN_TARGET = 200
"""Characters of a target that are kept for log lines while a response is sent."""
_RETRY_AFTER = (("Retry-After", "1"),)
_PEEK_SIZE = 4096
"""Bytes that the kernel holds in which a message is searched that aborts the request."""


class HTTPDriver(HTTPBaseDriver):
    """Drives one connection: receives its requests, and runs the WSGI application for each.

    :class:`~reserve.apps.http.app.HTTPApp` makes it, and the connection owns it.

    The owner of the connection calls every method, except: the monitor calls :meth:`expire_run`,
    :meth:`refuse_during_run` and :meth:`revoke` while a worker is inside :meth:`run`, and any thread
    :meth:`describe`.
    """

    __slots__ = (
        "_begun",
        "_buffered_body",
        "_decoder",
        "_exchange",
        "_phase",
        "_place",
        "_place_deadline",
        "_received",
        "_refused_during_run",
        "_running",
        "_static",
        "_streamed_body",
        "_worker_error",
    )

    def __init__(self, context: HTTPContext, connection: Connection) -> None:
        super().__init__(context, connection)
        self._phase = HEAD
        self._begun = 0.0
        """When the last call of the application began, on the engine's clock."""
        self._received = 0.0
        """When the request was complete, likewise; for a body that the application reads, its head."""
        self._decoder: Decoder | None = None
        # A request that has a body has one of these two, unless the straight line has received it.
        self._buffered_body: BufferedBody | None = None
        self._streamed_body: StreamedBody | None = None
        self._exchange: HTTPExchange | None = None
        self._worker_error: RemoteError | None = None
        """Set by a worker: the next step refuses the request with it."""
        self._running = connection.server.clients.running
        """``--max-running-per-client``; None: there is no such limit."""
        self._place: Place | None = None
        """The place of the current request in it; None: it has none yet, or needs none."""
        self._place_deadline = 0.0
        """When a request that waits for its place is refused."""
        self._static: StaticExchange | None = None
        """The request for a file, in the phase STATIC."""
        self._refused_during_run = False
        """The client has its refusal already, because the request took too long."""

    # ---- the driver, off the workers ----

    def step(self, events: int, now: float) -> Action:
        phase = self._phase
        try:
            if self._worker_error is not None:
                return self._refuse(self._worker_error, logged=True)
            if phase is HEAD:
                return self._receive_head(now, close_idle=events & CLOSE_IDLE != 0)
            if phase is RESPONDING:
                return self._finish_request(now)
            if phase is BODY or phase is SPILL:
                return self._receive_body()
            if phase is STATIC:
                return self._finish_static(now)
            if phase is REVOKED:
                return CLOSE
        except RemoteError as error:
            return self._refuse(error)
        except ClientDisconnected:
            return CLOSE
        return RUN if self._running is None else self._take_place(self._running, now, events)

    def running_since(self) -> float:
        return self._begun if self._phase is RESPONDING else 0.0

    def expired(self, kind: str, now: float) -> Action:
        if kind == "body":
            return self._refuse(
                RemoteError(408, "the body of the request came too slowly (--body-timeout, --body-rate)")
            )
        if kind == "place":
            assert self._running is not None
            return self._take_place(self._running, now)
        return super().expired(kind, now)

    def expire_run(self) -> bool:
        exchange = self._exchange
        if self._phase is not RESPONDING or exchange is None or self._connection.lent or not exchange.expire():
            return False
        if self._streamed_body is not None:
            self._streamed_body.raw.interrupt()  # the worker may wait for more of the body
        return True

    def refuse_during_run(self, reason: str) -> bytes | None:
        if self._streamed_body is not None:
            return None  # its worker may be receiving, or sending a 100 (Continue), at this moment
        response = self.refuse(reason)
        self._refused_during_run = True
        return response

    def refuse(self, reason: str) -> bytes | None:
        if self._phase is QUEUED and self._place is not None:  # no worker runs it
            self._place.leave()
        return None if self._refused_during_run else super().refuse(reason)

    def revoke(self) -> bool:
        if self._connection.lent:
            return False
        self._phase = REVOKED
        return True

    def count_run(self) -> None:
        if self._buffered_body is None and self._head_size > LARGE_HEAD:
            self._connection.body_memory = self._head_size

    def on_close(self, reason: str) -> bool:
        if self._place is not None:  # also that of a run that was given up: its client would be kept out for ever
            self._place.leave()
        if self._streamed_body is not None and self._phase is not REVOKED:
            self._streamed_body.release()  # a worker that was given up may still wait for it, and releases it itself
        if self._buffered_body is not None:
            self._buffered_body.close()
            self._buffered_body = None
        if self._unwritten is not None:
            self._put_unwritten()
        if (self._exchange is not None or self._static is not None) and reason in ("error", "lost"):
            reset(self._connection)  # within a response: the client must not take what it has for all of it
        return False

    # ---- the parts of a step ----

    def _begin_request(self, head: Head, now: float) -> Action:
        settings = self._context.settings
        length = head.length
        self._received = now
        if self._context.upgrades is not None and "HTTP_UPGRADE" in head.environ:
            action = self._upgrade(self._context.upgrades, head, now)
            if action is not None:
                return action
        if length == 0:
            if self._context.checks is not None:
                check = self._check_at(head)
                if check:
                    return self._respond_to_check(check, head, now)
            pages, static = self._context.pages, self._context.static
            if pages is not None and self._codec.sends_files:
                page = pages.get(path_of(head.environ))
                if page is not None:
                    self._static = StaticExchange(page, is_page=True)
                    self._phase = STATIC
                    return STORE
            if static is not None and self._codec.sends_files:
                site = static.find(head.environ)
                if site is not None:
                    self._static = StaticExchange(site)
                    self._phase = STATIC
                    return STORE
            self._phase = QUEUED
            return RUN if self._running is None else self._take_place(self._running, now)
        connection = self._connection
        decoder = self._decoder = self._codec.make_decoder(head, self.limits, self._reply)
        unparsed, self.unparsed = self.unparsed, b""
        interim = self._codec.continue_response if head.expect_continue else b""
        if settings.stream_bodies or (interim and settings.expect == "app"):
            connection.server.disarm(connection)  # the worker reads from it, and not the leader
            self._streamed_body = StreamedBody(connection, decoder, unparsed, settings, interim=interim)
            self._phase = QUEUED
            return RUN if self._running is None else self._take_place(self._running, now)
        self._buffered_body = BufferedBody(connection, decoder, unparsed, settings, now, self._head_size)
        if interim and not unparsed:
            connection.write(interim)
        return self._receive_body()

    def _take_place(self, limit: ClientLimit, now: float, events: int = 0) -> Action:
        """The request is complete: have it run, if its client may have one more that runs or waits for a worker.

        Otherwise it waits until one of them has ended, without a worker. As many may wait as may run: a client has a
        response before the run that has sent it is over, so one that keeps to the limit exceeds it by its next request
        for a moment. The others are refused.
        """
        connection, head, place = self._connection, self._head, self._place
        assert head is not None
        if place is None:
            server = connection.server
            client = head.remote_addr or self.base_environ["REMOTE_ADDR"]
            place = limit.place(client, partial(server.notify, connection))
            if place is None:
                return RUN
            self._place_deadline = now + server.settings.queue_timeout
            self._place = place
        state = place.enter(limit.most)
        if state is HELD:
            return RUN
        if state is WAITS and now < self._place_deadline:
            if events and connection_reset(connection.fd):
                self.refuse("lost")
                return CLOSE
            self.count_run()
            connection.settle()
            wait = self._wait
            wait.kind = "place"
            wait.events = 0  # what follows the request is received after it
            wait.deadline = self._place_deadline
            return wait
        limit.count_refused()
        return self._refuse(
            RemoteError(
                429,
                "no earlier request of this client has ended within --queue-timeout (--max-running-per-client)"
                if state is WAITS
                else "as many requests of this client run and wait as --max-running-per-client allows",
            ),
            extra=_RETRY_AFTER,
        )

    def _upgrade(self, upgrades: Upgrades, head: Head, now: float) -> Action | None:
        """Let another protocol go on with the connection, if it likes. None: it is a request for the application."""
        connection = self._connection
        fields = [head.environ.get(key, "") for key in ("HTTP_REFERER", "HTTP_USER_AGENT")]

        if self._context.request_ids is not None:
            head.environ["reserve.request_id"] = self._id_of(head)
        if self._context.log_needs.details:
            self._collect(head)

        def log(bytes_sent: int) -> None:
            self._log_response(head, 101, bytes_sent, *fields)

        named = head.remote_addr if connection.place is None else ""  # a frontend's connection becomes its client's
        if named and not admit_client(connection, named):
            return self._refuse(
                RemoteError(429, "this client has as many connections open as --max-connections-per-client allows"),
                logged=True,
                extra=_RETRY_AFTER,
            )
        connection.server.disarm(connection)  # what goes on with it may receive on a worker
        outcome = upgrades.begin(self._context, connection, head, self.unparsed, log)
        if named and connection.place is not None and not isinstance(outcome, Driver):
            connection.place.leave()
            connection.place = None
        if outcome is None:
            return None
        if isinstance(outcome, Driver):
            self.unparsed = b""
            connection.driver = outcome
            return outcome.step(0, now)
        body = outcome.message.encode() + b"\n"
        self._log_response(head, int(outcome.status[:3]), 0 if head.method == "HEAD" else len(body), *fields)
        headers = [("Content-Type", "text/plain; charset=utf-8"), *outcome.fields]
        return self._respond_immediately(head, now, outcome.status, headers, body)

    def _receive_body(self) -> Action:
        self._phase = BODY
        body, connection = self._buffered_body, self._connection
        assert body is not None
        progress = body.receive()
        if progress is COMPLETE:
            assert self._head is not None
            if self._head.environ:
                self._block = b""
            self.unparsed = body.unparsed
            self._phase = QUEUED
            now = self._received = connection.server.clock.now()
            return RUN if self._running is None else self._take_place(self._running, now)
        if progress is FULL:
            self._phase = SPILL
            return STORE
        if progress is MORE:
            return AGAIN
        if progress is DISCONNECTED:
            self._context.log_warning(
                self._connection,
                "the client stopped in the body of its request; the application has not seen it",
                "clients that stopped in the body of a request",
            )
            return CLOSE
        if self._block:
            assert self._head is not None
            if len(self._head.environ) > len(self.base_environ) + _FEW_FIELDS:
                self._head.environ = {}  # run() makes it again
            elif self._head.environ:
                self._block = b""
        wait = self._wait
        wait.kind = "body"
        wait.events = READ
        wait.deadline = body.deadline
        return wait

    def _refuse(
        self, error: RemoteError, block: bytes = b"", *, logged: bool = False, extra: Iterable[tuple[str, str]] = ()
    ) -> Action:
        if self._place is not None:
            self._place.leave()
        action = super()._refuse(error, block, logged=logged, extra=extra)
        # The connection may linger for a while, which needs nothing of the request.
        self._head = self._decoder = None
        self._block = b""
        if self._buffered_body is not None:
            self._buffered_body.close()
            self._buffered_body = None
            self._connection.settle()
        return action

    def _finish_request(self, now: float) -> Action:
        """The last byte of the response has left: decide whether another request may follow."""
        exchange, streamed_body, head = self._exchange, self._streamed_body, self._head
        assert exchange is not None
        if streamed_body is not None:
            streamed_body.release()
        self._exchange = self._streamed_body = self._head = self._decoder = None
        if self._unwritten is not None:
            self._put_unwritten()
        if exchange.must_reset:
            reset(self._connection)
            return CLOSE
        if streamed_body is not None:
            if not streamed_body.raw.complete:
                return LINGER
            self.unparsed = streamed_body.raw.unparsed
        action = self._after_response(exchange.keep_alive, head is not None and head.keep_alive, now)
        if action is self._wait:
            self._phase = HEAD
            if self.unparsed or self._connection.server.stopping:
                return self._receive_head(now)
        return action

    def _finish_static(self, now: float) -> Action:
        """The last byte of a file has left: as :meth:`_finish_request`."""
        exchange, head = self._static, self._head
        assert exchange is not None
        assert head is not None
        self._static = self._head = None
        if self._unwritten is not None:
            self._put_unwritten()
        if exchange.must_reset:
            reset(self._connection)
            return CLOSE
        action = self._after_response(exchange.keep_alive, head.keep_alive, now)
        if action is self._wait:
            self._phase = HEAD
            if self.unparsed or self._connection.server.stopping:
                return self._receive_head(now)
        return action

    # ---- on a file thread, or on a worker if there is none ----

    def store(self) -> None:
        """Write what has been received of the body to its file, or respond with a file."""
        if self._static is not None:
            return self._respond_with_file(self._static)
        body = self._buffered_body
        assert body is not None
        try:
            body.store()
        except OSError as error:  # the disk takes no more of the body
            self._worker_error = body_error(self._context, self._connection, error)

    def _respond_with_file(self, exchange: StaticExchange) -> None:
        """Respond with a file, or pass the request on to the application."""
        head, connection = self._head, self._connection
        assert head is not None
        fields = [head.environ.get(key, "") for key in ("HTTP_REFERER", "HTTP_USER_AGENT")]
        if self._context.is_observed and not exchange.is_page:
            exchange.fields = self._own_fields(head)
            exchange.details = self._collect(head)
        if not exchange.respond(self._context, connection, head):
            self._details = None
            head.environ[ALREADY_MISSING] = True
            self._static = None
            self._phase = QUEUED
            return
        if not exchange.is_page:
            self._log_response(head, exchange.status, exchange.bytes_sent, *fields)
        self._head = head.without_environ(_SHOWN_TARGET)

    # ---- on a worker ----

    def run(self) -> None:
        """Write what has been received of the body to its file, or run the application for the request."""
        head, body, connection = self._head, self._buffered_body, self._connection
        assert head is not None
        try:
            if self._phase is SPILL or self._phase is STATIC:
                return self.store()
            content = BytesIO() if head.length == 0 else self._open_body(head)
        except OSError as error:  # the disk takes no more of the body
            self._worker_error = body_error(self._context, connection, error)
            return
        environ = head.environ
        environ["wsgi.input"] = content
        streamed_body = self._streamed_body
        exchange = self._exchange = HTTPExchange(
            self._context, connection, head, None if streamed_body is None else streamed_body.raw
        )
        codec = self._codec
        if codec.errors is not None:
            environ["wsgi.errors"] = exchange.errors = codec.errors(head, environ["wsgi.errors"])
        if codec.aborts is not None:
            exchange.aborts = partial(self._aborts, codec.aborts, head)
            environ["reserve.client_disconnected"] = exchange.disconnected
        self._phase = RESPONDING
        # Read before the application may change its environ: what it writes there does not get into the access log.
        referer, user_agent = environ.get("HTTP_REFERER", ""), environ.get("HTTP_USER_AGENT", "")
        upgraded_socket = None
        if "HTTP_UPGRADE" in environ and self._codec.has_upgrades:
            upgraded_socket = self._offer_upgrade(head, exchange)
        begun = self._begun = connection.server.clock.now()
        if self._context.is_observed:
            self._observe(head, exchange, begun)
        try:
            # Threads are reused: what one request sets in context variables (PEP 567) must not be there for the next.
            Context().run(self._context.gateway.respond, exchange)
        finally:
            if upgraded_socket is not None:
                upgraded_socket.end()
                if exchange.status == 101:
                    exchange.bytes_sent = upgraded_socket.bytes_sent
            if exchange.errors is not None:
                exchange.errors.end()
            if connection.lent or head.length != 0 or connection.body_memory:
                self._clean_up(body, content)
            place = self._place
            if place is not None:
                connection.server.leave_after_run(place)
                self._place = None
        if exchange.expired:
            raise RequestTimeout
        self._finish_run(head, exchange, referer, user_agent)

    def _finish_run(self, head: Head, exchange: HTTPExchange, referer: str, user_agent: str) -> None:
        """After the application: count and log its response, and keep what is needed while that leaves."""
        connection, decoder, begun = self._connection, self._decoder, self._begun
        seconds = connection.server.clock.now() - begun
        details = exchange.details
        if details is not None:
            note_application(details, self._context.log_needs, exchange.environ, seconds)
            details.duration = begun + seconds - self._received_at
            details.received = self._head_size if decoder is None else self._head_size + decoder.received
        if connection.output is not None:
            if not store_response(self._context, connection, connection.output):
                exchange.keep_alive, exchange.must_reset = False, True
            if self._phase is not REVOKED:
                self._forget_request(head, exchange)
        if self._phase is REVOKED:
            return
        received = self._head_size if decoder is None else self._head_size + decoder.received
        metrics = connection.server.request_metrics
        pending = metrics.pending[get_ident()]
        method = head.method if head.method in METHODS else OTHER
        pending.append((method, exchange.status, received, exchange.bytes_sent, begun - self._received, seconds))
        if len(pending) > MOST_PENDING:
            metrics.fold()
        if self._context.access_log is not None:
            self.put_record(head, exchange.status, exchange.bytes_sent, referer, user_agent)
        on_end = self._context.on_request_end
        if on_end is not None:
            self._report_end(on_end, head, exchange, seconds, referer, user_agent)

    def _observe(self, head: Head, exchange: HTTPExchange, begun: float) -> None:
        """Before the application: give the request its ID, and begin to collect what is to be shown of it.

        :param begun: now, on the engine's clock.
        """
        context = self._context
        if context.request_ids is not None:
            head.environ["reserve.request_id"] = self._id_of(head)
        if not (context.log_needs.details or context.adds_fields):
            return
        details = exchange.details = self._collect(head)
        details.called = begun
        details.queue = begun - self._received

    def _report_end(
        self,
        hook: Callable[[RequestEnd], None],
        head: Head,
        exchange: HTTPExchange,
        seconds: float,
        referer: str,
        user_agent: str,
    ) -> None:
        """Have the hook called after the run, on this thread, while others go on with the connection."""
        server = self._connection.server
        end = RequestEnd(
            timestamp=time.time(),
            client=head.remote_addr or self.base_environ["REMOTE_ADDR"],
            method=head.method,
            target=head.target,
            version=head.version,
            status=exchange.status,
            bytes_sent=exchange.bytes_sent,
            seconds=seconds,
            referer=referer,
            user_agent=user_agent,
        )

        def call() -> None:
            try:
                hook(end)
            except BaseException as error:
                server.log.failure("the hook on_request_end failed", error, "failures of the hook on_request_end")

        server.call_after_run(call)

    def _offer_upgrade(self, head: Head, exchange: HTTPExchange) -> UpgradedSocket | None:
        """Let the application take the connection over, if it likes, and if the client asks for that."""
        connection = self._connection
        if not connection.server.settings.max_upgraded or self._streamed_body is not None:
            return None
        if not asks_for_upgrade(head.environ, head.minor):
            return None

        def take_over() -> bytes:
            exchange.upgrade()
            early, self.unparsed = self.unparsed, b""
            return early

        connection.server.disarm(connection)
        sock = UpgradedSocket(connection.sock, take_over)
        for key in SOCKET_KEYS:
            head.environ[key] = sock
        return sock

    def send_early_hints(self, headers: Iterable[tuple[str, str]]) -> None:
        """By the application, on its worker: see :meth:`HTTPExchange.send_early_hints`."""
        if self._exchange is not None and self._phase is RESPONDING:
            self._exchange.send_early_hints(headers)

    def _open_body(self, head: Head) -> BinaryIO:
        """Make ``wsgi.input`` of a request that has a body, and complete its environ. Raises OSError from the disk."""
        body = self._buffered_body
        content: BinaryIO
        if not head.environ:
            refuse_underscores = self._context.settings.underscores == "refuse"
            head.environ = self.parse_head(
                self._block,
                self.base_environ,
                self.limits,
                refuse_underscores=refuse_underscores,
                unix_socket=self.unix_socket,
            ).environ
        environ = head.environ
        self._block = b""
        if body is not None:
            content = body.open()
            if head.length is None:
                # Django and others read this field only; the body is not chunked any more.
                environ["CONTENT_LENGTH"] = str(body.size)
                if "HTTP_TRANSFER_ENCODING" in environ:
                    del environ["HTTP_TRANSFER_ENCODING"]
        else:
            assert self._streamed_body is not None
            content = self._streamed_body.open()
        assert self._decoder is not None
        trailers = self._decoder.trailers
        if trailers is not None:
            # Complete after a buffered body; the end of a streamed body fills it.
            environ["wsgi.trailers"] = trailers
        return content

    def _aborts(self, aborts: Aborts, head: Head) -> bool:
        """Whether the client has sent a message that aborts this request. By any thread, and of no effect."""
        streamed_body = self._streamed_body
        if self._head is not head:
            return False  # the application has kept the function longer than the request
        unread = self.unparsed if streamed_body is None else streamed_body.raw.unread
        return aborts(head, self._decoder, unread + self._connection.peek(_PEEK_SIZE))

    def _clean_up(self, body: BufferedBody | None, content: BinaryIO | None) -> None:
        """After the application: take the connection back, and free what the request's body holds.

        :param body: the body of the request, if it is buffered; the driver may have given it up meanwhile.
        """
        connection = self._connection
        if connection.lent:
            with contextlib.suppress(ClientDisconnected):  # the next step finds the connection failed
                connection.reclaim()
        if self._streamed_body is not None and self._phase is REVOKED:  # no thread interrupts this worker any more
            self._streamed_body.release()
        if body is not None and content is not None:
            close_content(content)
            body.close()
            self._buffered_body = None
        connection.body_memory = 0
        connection.settle()

    def _forget_request(self, head: Head, exchange: HTTPExchange) -> None:
        """After the application: keep little of the request while its client reads the response."""
        self._head = head.without_environ(_SHOWN_TARGET)
        self._decoder = None
        exchange.forget_request(self._head)
        unparsed = len(self.unparsed)
        if self._streamed_body is not None:
            self._streamed_body.raw.forget()
            unparsed += len(self._streamed_body.raw.unparsed)
        self._connection.body_memory = unparsed
