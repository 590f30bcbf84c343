"""Drives one HTTP/1 connection: heads and bodies off the workers, one answer after another on them.

The engine calls :meth:`HTTPDriver.step` on whoever owns the connection and :meth:`HTTPDriver.run` on a worker.
``step`` receives a head, and the body behind it, to memory; only then does it ask for a worker, to write an overlong
body to a file or to run the application.
"""

from __future__ import annotations

import contextlib
import errno
import time
from enum import IntEnum
from io import BytesIO
from typing import TYPE_CHECKING, BinaryIO

from reserve.apps.http.accesslog import Record
from reserve.apps.http.exchange import HTTPExchange
from reserve.apps.http.inputstream import ConnectionInput, InputStream, new_alarm
from reserve.apps.http.receiving import COMPLETE, ENDED, FULL, BodyReceiver
from reserve.engine.connection import RECLAIM
from reserve.engine.driver import AGAIN, CLOSE, LINGER, RUN, Action, Wait
from reserve.engine.poller import READ
from reserve.errors import ClientDisconnected, RemoteError, RequestTimeout
from reserve.protocol.http1.body import ChunkedDecoder, LengthDecoder
from reserve.protocol.http1.head import Head, HeadReader, parse_head
from reserve.protocol.http1.response import CONTINUE, Framing, refusal, response_head

if TYPE_CHECKING:
    from reserve.apps.http.app import HTTPApp
    from reserve.engine.connection import Connection
    from reserve.engine.wakeup import Wakeup

__all__ = ["HTTPDriver"]

_RECEIVE = 65536
_LOGGED = 4096  # octets of a request line that was not understood, as far as the access log has them


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


class HTTPDriver:
    """One connection; made by :class:`~reserve.apps.http.app.HTTPApp`."""

    __slots__ = (
        "_alarm",
        "_app",
        "_base",
        "_body",
        "_connection",
        "_decoder",
        "_exchange",
        "_head",
        "_head_deadline",
        "_input",
        "_limits",
        "_now",
        "_phase",
        "_reader",
        "_rest",
        "_trouble",
        "_wait",
    )

    def __init__(self, app: HTTPApp, connection: Connection) -> None:
        self._app = app
        self._connection = connection
        self._limits = app.settings.limits
        self._now = connection.server.clock.now
        self._base = app.base_environ(connection)
        self._reader = HeadReader(self._limits)
        self._rest = b""
        self._phase = _HEAD
        self._head: Head | None = None
        self._decoder: LengthDecoder | ChunkedDecoder | None = None
        self._body: BodyReceiver | None = None
        self._input: ConnectionInput | None = None
        self._alarm: Wakeup | None = None
        """Ends the wait for a streamed body when its application is interrupted; only where it may be."""
        self._exchange: HTTPExchange | None = None
        self._trouble: RemoteError | None = None
        # A connection that never says a word is cut as one whose first head is too slow.
        self._head_deadline = self._now() + app.settings.head_timeout
        self._wait = Wait("head", READ, self._head_deadline)

    # ---- the driver, off the workers ----

    def step(self, events: int, now: float) -> Action:
        phase = self._phase
        try:
            if self._trouble is not None:
                raise self._trouble
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
        if kind == "keep-alive" or (kind == "head" and not self._reader.started):
            return CLOSE
        option = "--head-timeout" if kind == "head" else "--body-timeout, --body-rate"
        begun = self._reader.begun if kind == "head" else b""
        return self._refuse(RemoteError(408, f"the {kind} of the request came too slowly ({option})"), begun)

    def expire_run(self) -> bool:
        exchange = self._exchange
        if self._phase is not _ANSWERED or exchange is None or self._connection.lent or not exchange.expire():
            return False
        if self._input is not None:
            self._input.interrupt()  # it may be blocked in waiting for more of the body
        return True

    def revoke(self) -> bool:
        if self._connection.lent:
            return False
        self._phase = _REVOKED
        return True

    def refuse(self, reason: str) -> bytes | None:
        head = self._head
        data = refusal(
            503,
            "The application did not answer in time."
            if reason == "timeout"
            else "The server is overloaded; try again in a moment.",
            date=self._app.date_line(),
            server=self._app.server_line,
            head_request=head is not None and head.method == "HEAD",
            extra=[("Retry-After", "1")],
        )
        if head is not None:
            octets = len(data) - data.index(b"\r\n\r\n") - 4
            self._record(f"{head.method} {head.target} HTTP/1.{head.minor}", 503, octets, "", "")
        return data

    def closed(self, reason: str) -> bool:
        if self._phase is not _REVOKED:  # else a thread that was given up may still wait for it
            self._release_alarm()
        if self._body is not None:
            self._body.close()
            self._body = None
        if self._exchange is not None and reason in ("error", "lost"):
            self._connection.reset()  # in the midst of an answer, whose end must not look like one
        return False

    def _release_alarm(self) -> None:
        alarm, self._alarm = self._alarm, None
        if alarm is not None:
            alarm.close()

    def _receive_head(self, now: float, *, reclaim: bool = False) -> Action:
        reader = self._reader
        receive = self._connection.recv
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
                return self._refuse(error, reader.refused)
            if block is not None:
                return self._begin(block, now)
            if fresh and reader.started and self._wait.kind == "keep-alive":
                self._head_deadline = now + self._app.settings.head_timeout
            if emptied:
                break  # a short receive has emptied the socket; the poller says when there is more
        wait = self._wait
        if reader.started:
            wait.kind = "head"
            wait.deadline = self._head_deadline
        elif self._connection.server.stopping or (reclaim and wait.kind == "keep-alive"):
            return CLOSE
        wait.events = READ
        return wait

    def _begin(self, block: bytes, now: float) -> Action:
        """Decide what follows a head that has come."""
        try:
            head = self._head = parse_head(
                block, self._base, self._limits, refuse_underscores=self._app.settings.underscores == "refuse"
            )
        except RemoteError as error:
            return self._refuse(error, block)
        self._rest = self._reader.rest
        if head.length == 0:
            health_path = self._app.settings.health_path
            if health_path and head.environ["PATH_INFO"] == health_path and head.method in ("GET", "HEAD"):
                return self._answer_health(head, now)
            self._phase = _RESPOND
            return RUN
        settings = self._app.settings
        length = head.length
        decoder = self._decoder = ChunkedDecoder(self._limits) if length is None else LengthDecoder(length)
        if settings.stream_bodies or (head.expect_continue and settings.expect == "app"):
            if self._connection.server.settings.request_timeout > 0:
                self._alarm = new_alarm()
            self._phase = _RESPOND
            return RUN
        rest, self._rest = self._rest, b""
        self._body = BodyReceiver(self._connection, decoder, rest, settings, now)
        self._phase = _BODY
        if head.expect_continue and not rest:
            self._connection.write(CONTINUE)
        return self._receive_body()

    def _receive_body(self) -> Action:
        body = self._body
        assert body is not None
        progress = body.receive()
        if progress is COMPLETE:
            self._rest = body.rest
            self._phase = _RESPOND
            return RUN
        if progress is FULL:
            self._phase = _SPILL
            return RUN
        if progress is ENDED:
            self._app.note(
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

    def _next(self, now: float) -> Action:
        """Decide whether another request may follow: the answer has left, to its last octet."""
        exchange, stream, head = self._exchange, self._input, self._head
        assert exchange is not None
        self._release_alarm()
        self._exchange = self._input = self._head = self._decoder = None
        if exchange.reset:
            self._connection.reset()
            return CLOSE
        if stream is not None:
            if not stream.complete:
                return LINGER
            self._rest = stream.rest()
        action = self._go_on(exchange.keep_alive, head is not None and head.keep_alive, now)
        if action is self._wait and (self._rest or self._connection.server.stopping):
            return self._receive_head(now)
        return action

    def _go_on(self, keep_alive: bool, client_keeps: bool, now: float) -> Action:
        if not keep_alive:
            # Whoever sent more than we read would lose our answer to a reset. A client that wants to close sends
            # nothing; one that does not know yet that we do may be sending now.
            pipelined = self._rest or client_keeps or self._connection.unread()
            return LINGER if pipelined else CLOSE
        self._phase = _HEAD
        wait = self._wait
        wait.kind = "keep-alive"
        wait.deadline = now + self._app.settings.keep_alive
        return wait

    def _answer_health(self, head: Head, now: float) -> Action:
        healthy = self._connection.server.healthy
        return self.answer_at_once(
            head,
            now,
            "200 OK" if healthy else "503 Service Unavailable",
            [("Content-Type", "text/plain; charset=utf-8"), ("Cache-Control", "no-store")],
            b"ok\n" if healthy else b"unhealthy\n",
        )

    def answer_at_once(
        self, head: Head, now: float, status: str, headers: list[tuple[str, str]], body: bytes
    ) -> Action:
        """Answer in the reserved lane: by whoever leads, so that it works while every worker is busy.

        A body of the request is not read; the connection closes then.
        """
        with_body = head.length != 0
        settings = self._app.settings
        made = response_head(
            status,
            headers,
            minor=head.minor,
            head_request=head.method == "HEAD",
            keep_alive=(
                head.keep_alive and not with_body and settings.keep_alive > 0 and not self._connection.server.stopping
            ),
            length=len(body),
            date=self._app.date_line(),
            server=self._app.server_line,
        )
        self._connection.write(made.data + (body if made.framing is Framing.LENGTH else b""))
        self._head = None
        action = self._go_on(made.keep_alive, head.keep_alive or with_body, now)
        # Each one of a pipeline in a turn of its own: this runs on the leader, and the others wait for it.
        return AGAIN if action is self._wait and self._rest else action

    def _refuse(self, error: RemoteError, block: bytes = b"") -> Action:
        """The last words on this connection: what was wrong with the request.

        :param block: octets that begin with the request line, where the head was not understood.
        """
        if error is not self._trouble:  # that has been said already, in more words than the client gets
            self._app.note(self._connection, f"{error.status} {error.message}", f"requests refused with {error.status}")
        self._rest = b""
        head = self._head
        method, line = "", ""
        if head is not None:
            method, line = head.method, f"{head.method} {head.target} HTTP/1.{head.minor}"
        else:
            begun, whole, _ = block[:_LOGGED].partition(b"\r\n")
            method = begun.decode("latin-1").partition(" ")[0]
            line = begun.decode("latin-1") if whole else ""
        data = refusal(
            error.status,
            error.message,
            date=self._app.date_line(),
            server=self._app.server_line,
            head_request=method == "HEAD",
        )
        self._record(line or "-", error.status, len(data) - data.index(b"\r\n\r\n") - 4, "", "")
        try:
            self._connection.write(data)
        except ClientDisconnected:
            return CLOSE
        return LINGER

    def _record(self, line: str, status: int, octets: int, referer: str, agent: str) -> None:
        log = self._app.access_log
        if log is not None:
            log.put(Record(time.time(), self._base["REMOTE_ADDR"], line, status, octets, referer, agent))

    # ---- on a worker ----

    def run(self) -> None:
        if self._phase is _SPILL:
            assert self._body is not None
            try:
                self._body.spill()
            except OSError as error:
                self._cannot_store(error)
            return
        head = self._head
        assert head is not None
        app = self._app
        connection = self._connection
        environ = head.environ
        stored: BinaryIO | None = None
        keep_alive = head.keep_alive and app.settings.keep_alive > 0 and not connection.server.stopping
        body = self._body
        if head.length == 0:
            environ["wsgi.input"] = BytesIO()
        elif body is not None:
            try:
                environ["wsgi.input"] = stored = body.open()
            except OSError as error:
                self._cannot_store(error)
                return
            if head.length is None:
                # The body is whole now: this is what Django and others read (and a TE field would be a lie).
                environ["CONTENT_LENGTH"] = str(body.size)
                del environ["HTTP_TRANSFER_ENCODING"]
        else:
            environ["wsgi.input"] = self._open_stream()
        if head.length is None:
            assert isinstance(self._decoder, ChunkedDecoder)
            environ["wsgi.trailers"] = self._decoder.trailers  # whole for a stored body, filled at a streamed one's end
        stream = self._input
        exchange = self._exchange = HTTPExchange(app, connection, head, keep_alive, stream)
        self._phase = _ANSWERED
        # Kept from before the application: what it makes of its environ does not get into our log.
        referer, agent = environ.get("HTTP_REFERER", ""), environ.get("HTTP_USER_AGENT", "")
        try:
            app.gateway.respond(exchange)
        finally:
            if connection.lent:
                with contextlib.suppress(ClientDisconnected):  # the next step finds the connection failed
                    connection.reclaim()
            if self._phase is _REVOKED:  # nobody interrupts this thread any more
                self._release_alarm()
            if stored is not None:
                stored.close()
                assert body is not None
                body.close()
                self._body = None
                connection.settle()
        if exchange.expired:
            raise RequestTimeout
        self._spill_answer(exchange)
        if app.access_log is not None and self._phase is not _REVOKED:
            line = f"{head.method} {head.target} HTTP/1.{head.minor}"
            self._record(line, exchange.status, exchange.octets, referer, agent)

    def _spill_answer(self, exchange: HTTPExchange) -> None:
        """The application is done: what its client has not taken stays in memory as long as the budget allows."""
        connection = self._connection
        output = connection.output
        if output is None or connection.server.budget.memory_for(output.held):
            return
        settings = self._app.settings
        try:
            disk = connection.server.settings.spool_disk
            if not connection.make_room(settings.response_memory, disk, settings.spool_dir):
                raise ClientDisconnected("--buffer-memory is used up, and it is more than --spool-disk allows")
        except (ClientDisconnected, OSError) as error:
            self._app.note(connection, f"the answer is cut: {error}", "answers that were cut")
            connection.drop_output()
            exchange.keep_alive = False
            exchange.reset = True

    def _cannot_store(self, error: OSError) -> None:
        """On a worker: the disk took no more of the body. The next step refuses the request."""
        folder = self._app.settings.spool_dir or "the system's directory for temporary files"
        self._connection.server.logs.error(
            f"a request body cannot be stored in {folder} (--spool-dir): {error.strerror or error}"
        )
        full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
        self._trouble = RemoteError(
            507 if full else 500, "the server has no room for the body of this request (--spool-dir)"
        )

    def _open_stream(self) -> InputStream:
        decoder = self._decoder
        head = self._head
        assert decoder is not None
        assert head is not None
        rest, self._rest = self._rest, b""
        connection = self._connection

        def send_continue() -> None:
            connection.write(CONTINUE)

        self._input = ConnectionInput(
            connection,
            decoder,
            rest,
            send_continue if head.expect_continue and not rest else None,
            self._app.settings.body_allowance,
            self._now,
            self._alarm,
        )
        return InputStream(self._input, _RECEIVE)
