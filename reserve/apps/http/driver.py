"""Drives one HTTP/1 connection to an application: heads and bodies off the workers, one answer after another on them.

The engine calls :meth:`HTTPDriver.step` on whoever owns the connection and :meth:`HTTPDriver.run` on a worker.
``step`` receives a head (:class:`~reserve.apps.http.basedriver.HeadDriver`), and the body behind it, to memory; only
then does it ask for a worker, to write an overlong body to a file or to run the application.
"""

from __future__ import annotations

import contextlib
from enum import IntEnum
from io import BytesIO
from typing import TYPE_CHECKING, BinaryIO

from reserve.apps.http.basedriver import HTTPBaseDriver
from reserve.apps.http.bufferedbody import COMPLETE, ENDED, FULL, BufferedBody
from reserve.apps.http.exchange import HTTPExchange
from reserve.apps.http.spoolerrors import body_trouble, store_response
from reserve.apps.http.streamedbody import StreamedBody
from reserve.engine.connections.closing import reset
from reserve.engine.connections.driver import CLOSE, LINGER, RUN, Action
from reserve.engine.connections.states import RECLAIM
from reserve.engine.polling.poller import READ
from reserve.errors import ClientDisconnected, RemoteError, RequestTimeout
from reserve.protocol.http1.body import ChunkedDecoder, LengthDecoder
from reserve.protocol.http1.response import CONTINUE

if TYPE_CHECKING:
    from reserve.apps.http.context import HTTPContext
    from reserve.engine.connections.connection import Connection
    from reserve.protocol.http1.head import Head

__all__ = ["HTTPDriver"]


class _Phase(IntEnum):
    HEAD = 0
    """Between two requests, or within a head."""
    BODY = 1
    """Receiving a body."""
    SPILL = 2
    """A worker is asked to write a piece of the body to its file."""
    RESPOND = 3
    """The request is complete and a worker is asked to run the application."""
    ANSWERED = 4
    """The application has been called; what it left in the output may still be leaving."""
    REVOKED = 5
    """The application was too slow, and the monitor has taken its connection."""


# An attribute of an enum class costs ten times a name of the module; a request asks for eight of them.
_HEAD, _BODY, _SPILL, _RESPOND, _ANSWERED, _REVOKED = _Phase


class HTTPDriver(HTTPBaseDriver):
    """One connection; made by :class:`~reserve.apps.http.app.HTTPApp`."""

    __slots__ = ("_decoder", "_exchange", "_phase", "_spoken", "_stored", "_streamed", "_trouble")

    def __init__(self, context: HTTPContext, connection: Connection) -> None:
        super().__init__(context, connection)
        self._phase = _HEAD
        self._decoder: LengthDecoder | ChunkedDecoder | None = None
        # The body of the request, if it has one, is of either kind.
        self._stored: BufferedBody | None = None
        self._streamed: StreamedBody | None = None
        self._exchange: HTTPExchange | None = None
        self._trouble: RemoteError | None = None
        """What a worker found: the next step refuses the request."""
        self._spoken = False
        """The client has been told already that its request took too long."""

    # ---- the driver, off the workers ----

    def step(self, events: int, now: float) -> Action:
        phase = self._phase
        try:
            if self._trouble is not None:
                return self._refuse(self._trouble, noted=True)
            if phase is _HEAD:
                return self._receive_head(now, reclaim=events & RECLAIM != 0)
            if phase is _ANSWERED:
                return self._next(now)
            if phase is _BODY or phase is _SPILL:
                return self._receive_body()
            if phase is _REVOKED:
                return CLOSE
        except RemoteError as error:
            return self._refuse(error)
        except ClientDisconnected:
            return CLOSE
        return RUN

    def expired(self, kind: str, now: float) -> Action:
        if kind == "body":
            return self._refuse(
                RemoteError(408, "the body of the request came too slowly (--body-timeout, --body-rate)")
            )
        return super().expired(kind, now)

    def expire_run(self) -> bool:
        exchange = self._exchange
        if self._phase is not _ANSWERED or exchange is None or self._connection.lent or not exchange.expire():
            return False
        if self._streamed is not None:
            self._streamed.raw.interrupt()  # it may be blocked in waiting for more of the body
        return True

    def refuse_during_run(self, reason: str) -> bytes | None:
        if self._streamed is not None:
            return None  # its worker may be receiving, or sending a 100 (Continue), at this moment
        words = self.refuse(reason)
        self._spoken = True
        return words

    def refuse(self, reason: str) -> bytes | None:
        return None if self._spoken else super().refuse(reason)

    def revoke(self) -> bool:
        if self._connection.lent:
            return False
        self._phase = _REVOKED
        return True

    def closed(self, reason: str) -> bool:
        if self._streamed is not None and self._phase is not _REVOKED:
            self._streamed.release()  # else a thread that was given up may still wait for it
        if self._stored is not None:
            self._stored.close()
            self._stored = None
        if self._exchange is not None and reason in ("error", "lost"):
            reset(self._connection)  # in the midst of an answer, whose end must not look like one
        return False

    def _begin(self, head: Head, now: float) -> Action:
        settings = self._context.settings
        length = head.length
        if length == 0:
            health_path = settings.health_path
            if health_path and head.environ["PATH_INFO"] == health_path and head.method in ("GET", "HEAD"):
                return self._answer_health(head, now)
            self._phase = _RESPOND
            return RUN
        connection = self._connection
        decoder = self._decoder = ChunkedDecoder(self._limits) if length is None else LengthDecoder(length)
        rest, self._rest = self._rest, b""
        if settings.stream_bodies or (head.expect_continue and settings.expect == "app"):
            self._streamed = StreamedBody(connection, decoder, rest, settings, expect_continue=head.expect_continue)
            self._phase = _RESPOND
            return RUN
        self._stored = BufferedBody(connection, decoder, rest, settings, now, self._head_size)
        self._phase = _BODY
        if head.expect_continue and not rest:
            connection.write(CONTINUE)
        return self._receive_body()

    def _answer_health(self, head: Head, now: float) -> Action:
        healthy = self._connection.server.healthy
        return self.answer_at_once(
            head,
            now,
            "200 OK" if healthy else "503 Service Unavailable",
            [("Content-Type", "text/plain; charset=utf-8"), ("Cache-Control", "no-store")],
            b"ok\n" if healthy else b"unhealthy\n",
        )

    def _receive_body(self) -> Action:
        body = self._stored
        assert body is not None
        progress = body.receive()
        if progress is COMPLETE:
            self._rest = body.unparsed
            self._phase = _RESPOND
            return RUN
        if progress is FULL:
            self._phase = _SPILL
            return RUN
        if progress is ENDED:
            self._context.log_warning(
                self._connection,
                "the client stopped in the body of its request; the application has not seen it",
                "clients that stopped in the body of a request",
            )
            return CLOSE
        wait = self._wait
        wait.kind = "body"
        wait.events = READ
        wait.deadline = body.deadline
        return wait

    def _refuse(self, error: RemoteError, block: bytes = b"", *, noted: bool = False) -> Action:
        action = super()._refuse(error, block, noted=noted)
        # It may linger for a while, and what came of the request is not needed for that.
        self._head = self._decoder = None
        if self._stored is not None:
            self._stored.close()
            self._stored = None
            self._connection.settle()
        return action

    def _next(self, now: float) -> Action:
        """Decide whether another request may follow: the answer has left, to its last octet."""
        exchange, streamed, head = self._exchange, self._streamed, self._head
        assert exchange is not None
        if streamed is not None:
            streamed.release()
        self._exchange = self._streamed = self._head = self._decoder = None
        if exchange.reset:
            reset(self._connection)
            return CLOSE
        if streamed is not None:
            if not streamed.raw.complete:
                return LINGER
            self._rest = streamed.raw.unparsed
        action = self._go_on(exchange.keep_alive, head is not None and head.keep_alive, now)
        if action is self._wait:
            self._phase = _HEAD
            if self._rest or self._connection.server.stopping:
                return self._receive_head(now)
        return action

    # ---- on a worker ----

    def run(self) -> None:
        body = self._stored
        if self._phase is _SPILL:
            assert body is not None
            try:
                body.spill()
            except OSError as error:
                self._trouble = body_trouble(self._context, self._connection, error)
            return
        head = self._head
        assert head is not None
        context = self._context
        connection = self._connection
        environ = head.environ
        content: BinaryIO | None = None
        keep_alive = head.keep_alive and context.settings.keep_alive > 0 and not connection.server.stopping
        streamed = self._streamed
        if head.length == 0:
            environ["wsgi.input"] = BytesIO()
        elif body is not None:
            try:
                environ["wsgi.input"] = content = body.open()
            except OSError as error:
                self._trouble = body_trouble(context, connection, error)
                return
            if head.length is None:
                # The body is whole now: this is what Django and others read (and a TE field would be a lie).
                environ["CONTENT_LENGTH"] = str(body.size)
                del environ["HTTP_TRANSFER_ENCODING"]
        else:
            assert streamed is not None
            environ["wsgi.input"] = streamed.open()
        if head.length is None:
            assert isinstance(self._decoder, ChunkedDecoder)
            environ["wsgi.trailers"] = self._decoder.trailers  # whole for a stored body, filled at a streamed one's end
        exchange = self._exchange = HTTPExchange(
            context, connection, head, keep_alive, None if streamed is None else streamed.raw
        )
        self._phase = _ANSWERED
        # Kept from before the application: what it makes of its environ does not get into our log.
        referer, agent = environ.get("HTTP_REFERER", ""), environ.get("HTTP_USER_AGENT", "")
        try:
            context.gateway.respond(exchange)
        finally:
            if connection.lent:
                with contextlib.suppress(ClientDisconnected):  # the next step finds the connection failed
                    connection.reclaim()
            if streamed is not None and self._phase is _REVOKED:  # nobody interrupts this thread any more
                streamed.release()
            if content is not None:
                content.close()
                assert body is not None
                body.close()
                self._stored = None
                connection.settle()
        if exchange.expired:
            raise RequestTimeout
        output = connection.output
        if output is not None and not store_response(context, connection, output):
            exchange.keep_alive = False
            exchange.reset = True
        if context.access_log is not None and self._phase is not _REVOKED:
            line = f"{head.method} {head.target} HTTP/1.{head.minor}"
            self._record(line, exchange.status, exchange.octets, referer, agent)
