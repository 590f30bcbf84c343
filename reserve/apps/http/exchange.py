"""One request and its response, on the worker's side: what a gateway writes to.

The driver makes an exchange for one request, and the worker that runs it uses it. The exchange frames the response (RFC
9112 section 6), sends what fits, leaves the rest with the connection, and knows afterwards whether the connection may
be kept.
"""

from __future__ import annotations

import contextlib
import io
import os
import stat
import tempfile
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from reserve.apps._accesslog.collect import note_response
from reserve.apps._accesslog.record import CLIENT_CLOSED_REQUEST
from reserve.apps._debug import KEY, may_see_errors
from reserve.apps.http.context import HTTPContext
from reserve.apps.http.spoolerrors import BUDGETS_USED_UP, log_cut_response, log_spool_error
from reserve.engine.connections.backpressure import (
    NO_ROOM_LIMITS,
    NoRoom,
    TooSlow,
    drain,
    make_room,
    send_cached_file,
)
from reserve.engine.polling.token import new_token, take
from reserve.errors import ApplicationError, ClientDisconnected, RemoteError, RequestTimeout, counted
from reserve.gateways.debugpage import HEADERS as DEBUG_HEADERS
from reserve.gateways.debugpage import debug_page
from reserve.protocol.codec import LENGTH, NONE, UNTIL_CLOSE, ErrorsOutput, Framing, Head, ResponseHead
from reserve.wait import peer_closed

if TYPE_CHECKING:
    from reserve.apps._accesslog.record import Details
    from reserve.apps.http.streamedbody import RawBodyReader
    from reserve.engine.connections.connection import Connection

__all__ = ["HTTPExchange"]

_MAX_JOINED = 65536
"""Bytes of a body that are copied after the head, to leave in one system call."""
_CHECK_INTERVAL = 1.0
"""Seconds. How often the server looks for the end of a client while the application produces nothing. The first look
comes after this time, too, because a client may shut down its side after its request and still read the response.
"""
_NOWAIT = getattr(os, "RWF_NOWAIT", 0)  # Linux: read only what is in the page cache
_MOST_HINTS = 16
"""The most 103 (Early Hints) responses of one request; clients need not accept any number of them."""
_BY_REFERENCE = 16384
"""Bytes. A waiting piece of at least this size is not copied into its chunk: see :attr:`Output.held`."""


class HTTPExchange:
    """One request and its response. See :class:`reserve.gateways.exchange.Exchange`, which says what each method does.

    The worker that runs the request calls every method but :meth:`expire`, which the monitor calls.

    :param context: the application that the connection belongs to.
    :param head: of the request; its environ goes to the gateway.
    :param body: what the application reads the body from, if that is streamed.
    """

    __slots__ = (
        "_abort",
        "_body",
        "_body_in_memory",
        "_check_at",
        "_checked_bytes",
        "_chunk",
        "_connection",
        "_context",
        "_ended",
        "_framing",
        "_head",
        "_hints",
        "_last_chunk",
        "_may_keep_alive",
        "_response_head",
        "_shows_errors",
        "_spool_failed",
        "_token",
        "_unsized_head",
        "aborts",
        "bodiless",
        "bytes_sent",
        "details",
        "environ",
        "errors",
        "keep_alive",
        "must_reset",
        "remaining",
        "started",
        "status",
        "upgraded",
    )

    def __init__(self, context: HTTPContext, connection: Connection, head: Head, body: RawBodyReader | None) -> None:
        server = connection.server
        self._context = context
        self._connection = connection
        self._head = head
        self._body = body
        self._response_head: bytes | None = None
        """The encoded head, until it is sent."""
        self._framing: Framing = NONE
        self._chunk: Callable[[bytes], tuple[bytes, ...]] | None = None
        self._last_chunk = b""
        self._abort = b""
        self._ended = False
        """The next write is the last one, or was it."""
        self._unsized_head: tuple[str, list[tuple[str, str]]] | None = None
        """What :meth:`begin` was given without a length."""
        self.environ: dict[str, Any] = head.environ
        self._may_keep_alive = head.keep_alive and context.settings.keep_alive > 0 and not server.retiring
        # The thread that takes it responds: the worker with the application's head, or the monitor with a refusal when
        # that head did not come in time.
        self._token = new_token(present=True) if server.settings.request_timeout > 0 else None
        self.details: Details | None = None
        """What is collected of the request; None: nothing. Set by the driver before the application runs."""
        self._hints = 0
        """How many 103 (Early Hints) were sent."""
        self._spool_failed = False
        self._body_in_memory = False
        """The application has the whole body in memory, so moving the output to a file would free none."""
        self._check_at = 0.0
        """When :meth:`check_connected` looks again, in seconds on the engine's clock."""
        self._checked_bytes = -1
        """:attr:`bytes_sent` when it was called last."""
        self.errors: ErrorsOutput | None = None
        """``wsgi.errors``, if its text is sent with the response. Set by the driver before the application runs."""
        self.aborts: Callable[[], bool] | None = None
        """Whether a message of the client aborts the request, if the protocol has one. Set like :attr:`errors`."""
        self._shows_errors = context.settings.debug and may_see_errors(connection, head)
        if self._shows_errors:
            self.environ[KEY] = True
        self.bodiless = False
        self.keep_alive = self._may_keep_alive
        """Another request may follow on the connection. Set by :meth:`begin`; False after a response that failed."""
        self.bytes_sent = 0
        """Bytes of the body that the connection has taken over."""
        self.status = CLIENT_CLOSED_REQUEST
        self.started = False
        self.remaining: int | None = None
        self.upgraded = False
        """The application has taken the connection over, or was refused that: the exchange sends nothing more."""
        self.must_reset = False
        """The response would look complete although it is not; only a reset tells the client."""

    def is_sent(self, status: int, count: int) -> None:
        """The connection has taken over a complete response, which this exchange has not made.

        :param count: bytes of its body.
        """
        self.started = True
        self.status = status
        self.bytes_sent = count
        self.remaining = 0
        self._response_head = None

    def forget_request(self, head: Head) -> None:
        """By the worker, after the gateway: free the request, because the client may take long to read the response.

        :param head: takes the place of the request's head.
        """
        self._head, self.environ = head, head.environ
        self._body = self._unsized_head = None

    # ---- by the gateway ----

    def begin(self, status: str, headers: list[tuple[str, str]], length: int | None) -> None:
        head = self._head
        if self.upgraded:
            return
        if self._connection.server.retiring:
            self._may_keep_alive = False
        if self._body is not None and not self._body.begin_response():
            self._may_keep_alive = False  # the rest of the body must not be taken for the next request
        details = self.details
        sent = headers
        if details is not None and self._context.adds_fields:
            now = self._connection.server.clock.now()
            sent = [*headers, *self._context.own_fields(details.request_id, details, now)]
        response: ResponseHead = self._context.codec.response_head(
            status,
            sent,
            request=head,
            minor=head.minor,
            head_request=head.method == "HEAD",
            keep_alive=self._may_keep_alive,
            # An application may make no body for HEAD, although GET has one: a length of 0 says nothing about GET.
            length=length if length or head.method != "HEAD" else None,
            date=self._context.date_line(),
            server=self._context.server_line,
        )
        for name in response.dropped:
            self._context.gateway.warn_once(
                self.environ,
                name,
                f"the application's response header {name!r} is not sent: only the server sends hop-by-hop fields "
                "(PEP 3333); 'Connection: close' is obeyed",
            )
        if details is not None:
            note_response(details, self._context.log_needs, sent, len(response.data))
        self._response_head = response.data
        self._framing = response.framing
        self._chunk = response.chunk
        self._last_chunk = response.last_chunk
        self._abort = response.abort
        self.bodiless = response.framing is NONE
        self.remaining = response.length
        self._unsized_head = (status, headers) if length is None else None
        self.keep_alive = response.keep_alive
        self.status = int(status[:3])

    def send(self, data: bytes, last: bool = False) -> None:
        count = len(data)
        if not count:
            return
        framing = self._framing
        chunk = self._chunk
        if framing is LENGTH:
            remaining = self.remaining
            assert remaining is not None
            if count != remaining and (last or count > remaining):
                self._check_length(count)
            if count > remaining:
                if remaining:
                    self._write(data[:remaining] if chunk is None else b"".join(chunk(data[:remaining])))
                self.bytes_sent += remaining
                self.remaining = 0
                self.keep_alive = False
                raise _too_long(count - remaining)
            self.remaining = remaining - count
        elif framing is NONE:
            if not self.started:
                self._write(b"")
            else:
                self.check_connected()  # an application may call write() for ever
            return
        if self.aborts is not None and self.started:
            self._check_aborted(self.aborts)
        self.bytes_sent += count
        if chunk is None:
            self._write(data)
        elif self.remaining == 0 and self._last_chunk:
            # The web server may use the connection again, or needs another one, as soon as it has this part.
            self._ended = True
            last_chunk, self._last_chunk = self._last_chunk, b""
            self._write(b"".join((*chunk(data), last_chunk)))
        elif count >= _BY_REFERENCE and self._connection.output is not None:
            self._write(*chunk(data))
        else:
            self._write(b"".join(chunk(data)))
        if self._connection.output is not None and self.remaining != 0 and not self._body_in_memory:
            self._connection.lend()

    def check_connected(self) -> None:
        connection = self._connection
        now = connection.server.clock.now()
        if self._checked_bytes != self.bytes_sent:
            self._checked_bytes = self.bytes_sent
            self._check_at = now + _CHECK_INTERVAL
        if now < self._check_at:
            return
        self._check_at = now + _CHECK_INTERVAL
        if self.aborts is not None and self.aborts():
            raise ClientDisconnected("the client aborted its request")
        if connection.lent:
            if connection.output is not None and not connection.failed:
                return  # the leader, which sends it, notices the end of the connection
            connection.reclaim()
        if self.disconnected():
            raise ClientDisconnected("the client went away while the application produced nothing")

    def disconnected(self) -> bool:
        """Whether the client has closed its side, or has aborted the request, as far as is known. By any thread."""
        connection = self._connection
        # After the whole request, bytes that are not read (of the next one) do not matter.
        if (self._body is None and peer_closed(connection.fd)) or connection.peer_closed():
            return True
        return self.aborts is not None and self.aborts()

    def _check_aborted(self, aborts: Callable[[], bool]) -> None:
        """Once a second: end the response to a request that is aborted. Its connection takes every response."""
        now = self._connection.server.clock.now()
        if now >= self._check_at:
            self._check_at = now + _CHECK_INTERVAL
            if aborts():
                raise ClientDisconnected("the client aborted its request")

    @property
    def body_complete(self) -> bool:
        return self._framing is NONE or self.remaining == 0

    def send_all(self, pieces: Iterable[bytes], length: int) -> None:
        self._check_length(length)
        self._body_in_memory = True
        for piece in pieces:
            self.send(piece)

    def send_file(self, file: Any, block_size: int) -> bool:
        fd, offset, size = _file_range(file)
        if fd < 0:
            return False
        if not self.started and self._unsized_head is not None:
            self._begin_file(*self._unsized_head, fd, offset, size)
        remaining = self.remaining
        framing = self._framing
        if size <= 0 or (self._chunk is not None and framing is not NONE):
            return False
        if framing is NONE:
            return True
        if framing is LENGTH:
            assert remaining is not None
            if size < remaining and not _has_byte(fd, offset + remaining - 1):
                self._check_length(size)
            else:
                size = remaining
        if size and not _has_byte(fd, offset + size - 1):
            return False
        self._write(b"")
        if size:
            self._connection.write_file(fd, offset, size)
            send_cached_file(self._connection)
        if remaining is not None:
            self.remaining = remaining - size
        self.bytes_sent += size
        return True

    def _begin_file(self, status: str, headers: list[tuple[str, str]], fd: int, offset: int, size: int) -> None:
        """Set the head of a file: with the size of the file, if the application stated no length and the size is true.

        If the application took its Content-Length from a size that is not true, the head gets none.
        """
        stated = [value for name, value in headers if name.lower() == "content-length"]
        if not stated:
            if size > 0 and _has_byte(fd, offset + size - 1):
                self.begin(status, headers, size)
        elif int(stated[0]) == size and _has_byte(fd, offset + max(0, size - 1)) != (size > 0):
            self._context.gateway.warn_once(
                self.environ,
                "the size of a file",
                f"the application's Content-Length, {size}, is not sent: it is the size that a file states, and not "
                "the size of its content (/proc, /sys)",
            )
            self.begin(status, [item for item in headers if item[0].lower() != "content-length"], None)

    def finish(self) -> None:
        if self._framing is LENGTH and self.remaining:
            raise _too_short(self.remaining)
        if self._last_chunk:
            self._ended = True
            self._write(self._last_chunk)
        elif not self.started:
            self._write(b"")

    def abort(self) -> None:
        self.keep_alive = False
        if self.upgraded:
            return
        if not self.started:
            self._respond_to_failed_read()
            return
        if self._framing is UNTIL_CLOSE or self._context.codec.reset_when_short:
            self.must_reset = True
        if self._abort and not self._ended:
            with contextlib.suppress(ClientDisconnected):
                self._write(self._abort)

    def fail(self, error: BaseException | None = None) -> None:
        if self.started:
            self.abort()
            return
        if self._shows_errors and error is not None and self._send_debug_page(error):
            return
        # A body that the application reads itself may not have come to its end.
        self.keep_alive = self._may_keep_alive and self._body is None and self._context.codec.keeps_after_failure
        self._send_refusal(500, "The application failed. The server's error log says how.")

    def _send_debug_page(self, error: BaseException) -> bool:
        """Respond with the page of an exception; False: it cannot be made, and nothing was sent."""
        try:
            html = "text/html" in str(self.environ.get("HTTP_ACCEPT", ""))
            page = debug_page(error, self.environ, html=html)
            kind = "text/html; charset=utf-8" if html else "text/plain; charset=utf-8"
            self.begin("500 Internal Server Error", [("Content-Type", kind), *DEBUG_HEADERS], len(page))
            self.send(page, True)
            self.finish()
        except BaseException:  # code of the application that describes it, the client, or the time of the request
            if not self.started:
                self._response_head = None
                return False
            self.abort()
        return True

    # ---- by the application ----

    def send_early_hints(self, headers: Iterable[tuple[str, str]]) -> None:
        """Send a 103 (Early Hints) at once; see :attr:`reserve.protocol.codec.Codec.early_hints`. By the worker.

        Nothing is sent to a client of HTTP/1.0, or by a protocol without them, once the response has begun, and after
        :data:`_MOST_HINTS` of them. If the client has not read what it was sent before, they leave with the response
        at the latest.

        Raises ApplicationError for a field that is not valid, ClientDisconnected when the client has disconnected,
        RequestTimeout when the time of the request is over.
        """
        encode = self._context.codec.early_hints
        data = b"" if encode is None else encode(headers)
        if not data or not self._head.minor or self.started or self._hints >= _MOST_HINTS:
            return
        token = self._token
        if token is not None and not take(token):
            raise RequestTimeout
        try:
            self._hints += 1
            self._connection.write(data)
        finally:
            if token is not None:
                token.append(True)

    def upgrade(self) -> None:
        """The application takes the connection over: it sends the response itself, and has no time limit any more. By
        any thread, during the run.

        Raises ApplicationError when a response has begun, ClientDisconnected when too many connections are taken over
        (the client gets a 503), RequestTimeout when the time of the request is over.
        """
        if self.started:
            raise ApplicationError("reserve.socket was used after the response had begun")
        if self._token is not None and not take(self._token):
            raise RequestTimeout
        self.upgraded = self.started = True
        self.keep_alive = False
        connection = self._connection
        if connection.server.upgrade(connection):
            self.status = 101
            return
        message = "As many connections are upgraded as the server allows; try again in a moment."
        self._context.log_warning(
            connection,
            "503 for an upgrade: as many connections are taken over as --max-upgraded allows",
            "upgrades refused because of --max-upgraded",
        )
        self._write_refusal(503, message, [("Retry-After", "1")])
        raise ClientDisconnected("as many connections are taken over as --max-upgraded allows; the client got a 503")

    # ---- the time limit of the request ----

    def expire(self) -> bool:
        """By the monitor: claim the response, if none of it was sent. Then the application's next send raises."""
        return self._token is not None and take(self._token)

    @property
    def expired(self) -> bool:
        """The monitor has claimed the response: its client gets a refusal, even if the application sends a response."""
        return self._token is not None and not self._token and not self.started

    # ---- responses of the server ----

    def _respond_to_failed_read(self) -> None:
        """Refuse the request: reading its body failed, and that stopped the application."""
        self.status = CLIENT_CLOSED_REQUEST
        failure = self._body.failure if self._body is not None else None
        if isinstance(failure, RemoteError):
            status, message = failure.status, self._context.text_of(failure)
            self._context.log_warning(self._connection, f"{status} {message}", f"requests refused with {status}")
            self._send_refusal(status, message)

    def _send_refusal(self, status: int, message: str) -> None:
        """Respond for the application, which has sent nothing."""
        if self._token is not None and not take(self._token):
            return  # the monitor sends its refusal
        self._write_refusal(status, message)

    def _write_refusal(self, status: int, message: str, extra: Iterable[tuple[str, str]] = ()) -> None:
        self.status = status
        self.started = True
        self._response_head = None
        details = self.details
        if details is not None:
            details.first_byte = self._connection.server.clock.now()
            if self._context.adds_fields:
                extra = (*extra, *self._context.own_fields(details.request_id, details, details.first_byte))
        data, body_size = self._context.codec.refusal(
            status,
            message,
            request=self._head,
            block=b"",
            head_request=self._head.method == "HEAD",
            date=self._context.date_line(),
            server=self._context.server_line,
            extra=extra,
        )
        if details is not None:
            note_response(details, self._context.log_needs, (), len(data) - body_size)
        connection = self._connection
        with contextlib.suppress(ClientDisconnected):  # the client has disconnected
            if connection.lent:
                connection.reclaim()
            connection.write(data)
            self.bytes_sent = body_size

    def _check_length(self, count: int) -> None:
        """Before the head is sent: refuse a body whose rest, ``count`` bytes, does not make its Content-Length. Then
        the client gets a 500.
        """
        remaining = self.remaining
        if remaining is None or count == remaining or self.started:
            return
        raise _too_long(count - remaining) if count > remaining else _too_short(remaining - count)

    # ---- to the connection ----

    def _write(self, data: bytes, *more: bytes) -> None:
        """Send bytes of the framed response, and the head first if it has not been sent."""
        head = self._response_head
        connection = self._connection
        if self.upgraded:
            raise ClientDisconnected("the application has taken the connection over")
        if connection.lent:
            connection.reclaim()
        if head is not None and self._token is not None and not take(self._token):
            raise RequestTimeout
        if connection.output is not None and not self._body_in_memory:
            self._make_room(connection, len(data) + sum(map(len, more)))
        if self.errors is not None:
            errors = self.errors.finish() if self._ended else self.errors.take()
            if errors:
                if head is None:
                    connection.write(errors)
                else:
                    head = errors + head
        if head is not None:
            self._response_head = None
            self.started = True
            if self.details is not None:
                self.details.first_byte = connection.server.clock.now()
            if len(data) <= _MAX_JOINED:
                data = head + data
            else:
                connection.write(head)
        if data:
            connection.write(data)
        for piece in more:
            connection.write(piece)

    def _make_room(self, connection: Connection, count: int) -> None:
        """The client reads more slowly than the application writes: move the output to a file. When that has reached
        its limit, wait for the client.

        :param count: bytes that are about to be written.
        """
        engine = connection.server.settings
        try:
            if not self._spill_output(connection, count):
                drain(connection, self._context.settings.response_memory, engine.write_timeout, engine.write_rate)
        except NoRoom:
            timeout, rate = NO_ROOM_LIMITS
            try:
                drain(connection, 0, min(timeout, engine.write_timeout), max(rate, engine.write_rate))
            except TooSlow:
                log_cut_response(self._context, connection, BUDGETS_USED_UP)
                self.must_reset = True
                raise ClientDisconnected(BUDGETS_USED_UP) from None
            except ClientDisconnected:
                self.must_reset = True
                raise

    def _spill_output(self, connection: Connection, count: int) -> bool:
        """False when the file has reached its limit, or failed."""
        settings = self._context.settings
        disk = -1 if self._spool_failed else settings.max_response_spool - count
        try:
            return make_room(connection, settings.response_memory, disk, settings.spool_dir)
        except ClientDisconnected:
            connection.drop_output()  # no client will read it
            self.must_reset = True
            raise
        except OSError as error:
            log_spool_error(
                self._context,
                connection,
                error,
                "the application waits for its client, because the response cannot be stored",
                "responses that cannot be stored",
            )
            self._spool_failed = True
            return False


def _too_long(count: int) -> ApplicationError:
    return ApplicationError(f"the response is longer than its Content-Length: {counted(count, 'byte')} too many")


def _too_short(count: int) -> ApplicationError:
    missing = f"{counted(count, 'byte')} {'is' if count == 1 else 'are'} missing"
    return ApplicationError(f"the response is shorter than its Content-Length: {missing}")


def _file_range(file: Any) -> tuple[int, int, int]:
    """(descriptor, offset, bytes) of the rest of a regular file, as its size says; descriptor -1 for anything else."""
    if type(file) is tempfile._TemporaryFileWrapper:
        file = file.file
    try:
        # Exactly these classes: a file of another class may read something else than its descriptor has (gzip, text).
        raw = file.raw if type(file) in (io.BufferedReader, io.BufferedRandom) else file
        if type(raw) is not io.FileIO:
            return -1, 0, 0
        fd = file.fileno()
        offset = file.tell()
        info = os.fstat(fd)
    except (AttributeError, OSError, ValueError):
        return -1, 0, 0
    return (fd, offset, info.st_size - offset) if stat.S_ISREG(info.st_mode) else (-1, 0, 0)


def _has_byte(fd: int, offset: int) -> bool:
    """Whether a file has this byte: the size that a file of the kernel states says little (``/proc``: 0, ``/sys``: one
    page, a file system in user space: anything).
    """
    try:
        try:
            if _NOWAIT:
                return os.preadv(fd, (bytearray(1),), offset, _NOWAIT) > 0
        except BlockingIOError:  # it is on a disk, and not in the page cache: the size of such a file is true
            return True
        except OSError:  # the file system does not say what is in the cache
            pass
        return os.pread(fd, 1, offset) != b""
    except OSError:  # such as a file that is open for writing only
        return False
    except AttributeError:  # no such call on this platform, which has no such files either
        return True
