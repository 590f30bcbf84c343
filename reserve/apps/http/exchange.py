"""One request and its answer, on the worker's side: what a gateway writes to.

Made by the HTTP driver for one request and used by the worker that runs it. It frames the answer (RFC 9112 section
6), sends what fits, leaves the rest with the connection, and knows afterwards whether the connection may go on.
"""

from __future__ import annotations

import contextlib
import io
import os
import stat
import tempfile
from collections import deque
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from reserve.apps.http.context import HTTPContext, body_size
from reserve.apps.http.spoolerrors import USED_UP, note_cut, note_trouble
from reserve.engine.connections.backpressure import NO_ROOM_LIMITS, NoRoom, TooSlow, drain, make_room
from reserve.errors import ApplicationError, ClientDisconnected, RemoteError, RequestTimeout, counted
from reserve.protocol.http1.response import (
    CHUNKED,
    LAST_CHUNK,
    LENGTH,
    NONE,
    UNTIL_CLOSE,
    Framing,
    ResponseHead,
    chunk,
    refusal,
    response_head,
)

if TYPE_CHECKING:
    from reserve.apps.http.streamedbody import RawBodyReader
    from reserve.engine.connections.connection import Connection
    from reserve.protocol.http1.head import Head

__all__ = ["HTTPExchange"]

_NOBODY_LEFT = 499
"""In the access log: the client went away before anything was answered (as other servers write it)."""
_JOIN = 65536
"""Octets of a body that are copied behind the head to leave in one system call."""
_BY_REFERENCE = 16384
"""Octets from which a piece that has to wait is not copied into its chunk: see :attr:`Output.held`."""


class HTTPExchange:
    """See :class:`reserve.gateways.exchange.Exchange`, which says what each method promises."""

    __slots__ = (
        "_connection",
        "_context",
        "_framing",
        "_head",
        "_head_data",
        "_left",
        "_may_go_on",
        "_spool_failed",
        "_stream",
        "_token",
        "_unsized",
        "_whole",
        "environ",
        "keep_alive",
        "octets",
        "reset",
        "started",
        "status",
    )

    def __init__(
        self, context: HTTPContext, connection: Connection, head: Head, keep_alive: bool, stream: RawBodyReader | None
    ) -> None:
        self._context = context
        self._connection = connection
        self._head = head
        self._stream = stream
        self._head_data: bytes | None = None
        self._framing: Framing = NONE
        self._left: int | None = None
        self._unsized: tuple[str, list[tuple[str, str]]] | None = None
        self.environ: dict[str, Any] = head.environ
        self._may_go_on = keep_alive
        # Who pops it answers: the application with its head, or the monitor when that did not come in time.
        self._token = deque((True,)) if connection.server.settings.request_timeout > 0 else None
        self._spool_failed = False
        self._whole = False
        self.keep_alive = keep_alive
        """May another request follow? Settled by the head of the answer, and lost when the answer fails."""
        self.octets = 0
        """Of the body, as far as they were handed to the connection."""
        self.status = _NOBODY_LEFT
        self.started = False
        self.reset = False
        """The answer would look complete although it is not; only a reset tells the client."""

    def begin(self, status: str, headers: list[tuple[str, str]], length: int | None) -> None:
        head = self._head
        if self._connection.server.stopping:
            self._may_go_on = False
        if self._stream is not None and not self._stream.begin_response():
            self._may_go_on = False  # what is left of the body must not be taken for the next request
        made: ResponseHead = response_head(
            status,
            headers,
            minor=head.minor,
            head_request=head.method == "HEAD",
            keep_alive=self._may_go_on,
            # An application that makes no body for HEAD does not thereby say that GET has none.
            length=length if length or head.method != "HEAD" else None,
            date=self._context.date_line(),
            server=self._context.server_line,
        )
        self._head_data = made.data
        self._framing = made.framing
        self._left = made.length
        self._unsized = (status, headers) if length is None else None
        self.keep_alive = made.keep_alive
        self.status = int(status[:3])

    def send(self, data: bytes) -> None:
        count = len(data)
        if not count:
            return
        more: Sequence[bytes] = ()
        framing = self._framing
        if framing is LENGTH:
            left = self._left
            assert left is not None
            if count > left:
                self._send_wire(data[:left])
                self.octets += left
                self._left = 0
                self.keep_alive = False
                much = counted(count - left, "octet")
                raise ApplicationError(f"the answer is longer than its Content-Length: {much} too many")
            self._left = left - count
        elif framing is CHUNKED:
            if count >= _BY_REFERENCE and self._connection.output is not None:
                data, *more = chunk(data)
            else:
                data = b"".join(chunk(data))
        elif framing is NONE:
            return
        self.octets += count
        self._send_wire(data, *more)
        if self._connection.output is not None and self._left != 0 and not self._whole:
            self._connection.lend()

    def send_all(self, pieces: Iterable[bytes]) -> None:
        self._whole = True
        for piece in pieces:
            self.send(piece)

    def send_file(self, file: Any, block_size: int) -> bool:
        fd, offset, count = _stretch(file)
        if count <= 0:
            return False
        if self._unsized is not None and not self.started and self._framing is not LENGTH:
            self.begin(*self._unsized, count)  # the size of a file is known after all
        framing = self._framing
        if framing is CHUNKED:
            return False
        if framing is NONE:
            return True
        if framing is LENGTH:
            assert self._left is not None
            count = min(count, self._left)
            self._left -= count
        self._send_wire(b"")
        self._connection.write_file(fd, offset, count)
        self.octets += count
        return True

    def finish(self) -> None:
        if self._framing is LENGTH and self._left:
            missing = f"{counted(self._left, 'octet')} {'is' if self._left == 1 else 'are'} missing"
            raise ApplicationError(f"the answer is shorter than its Content-Length: {missing}")
        if self._framing is CHUNKED:
            self._send_wire(LAST_CHUNK)
        elif not self.started:
            self._send_wire(b"")

    def expire(self) -> bool:
        """By the monitor: claim the answer, if nothing of it has left. What the application sends then raises."""
        return self._token is not None and self._claim()

    @property
    def expired(self) -> bool:
        """The monitor has claimed the answer: whatever the application made of it, its client is to be refused."""
        return self._token is not None and not self._token and not self.started

    def _claim(self) -> bool:
        assert self._token is not None
        try:
            return self._token.pop()
        except IndexError:
            return False

    def abort(self) -> None:
        self.keep_alive = False
        if not self.started:
            self._refuse()
        elif self._framing is UNTIL_CLOSE:
            self.reset = True

    def _refuse(self) -> None:
        """The application was stopped by what it read. The client learns what was wrong with it, if it still can."""
        self.status = _NOBODY_LEFT
        failure = self._stream.failure if self._stream is not None else None
        if isinstance(failure, RemoteError):
            status = failure.status
            self._context.log_warning(
                self._connection, f"{status} {failure.message}", f"requests refused with {status}"
            )
            self._say(failure.status, failure.message)

    def fail(self) -> None:
        if self.started:
            self.abort()
            return
        self.keep_alive = False
        self._say(500, "The application failed. The server's error log says how.")

    def _say(self, status: int, message: str) -> None:
        """Answer for the application, which has sent nothing."""
        if self._token is not None and not self._claim():
            return  # the monitor's refusal is on its way
        self.status = status
        self.started = True
        self._head_data = None
        data = refusal(
            status,
            message,
            date=self._context.date_line(),
            server=self._context.server_line,
            head_request=self._head.method == "HEAD",
        )
        connection = self._connection
        with contextlib.suppress(ClientDisconnected):  # nobody is left to tell
            if connection.lent:
                connection.reclaim()
            connection.write(data)
            self.octets = body_size(data)

    def _send_wire(self, data: bytes, *more: bytes) -> None:
        """Send octets of the framed answer, the head first."""
        head = self._head_data
        connection = self._connection
        if connection.lent:
            connection.reclaim()
        if head is not None and self._token is not None and not self._claim():
            raise RequestTimeout
        if connection.output is not None and not self._whole:
            self._make_room(connection, len(data) + sum(map(len, more)))
        if head is not None:
            self._head_data = None
            self.started = True
            if len(data) <= _JOIN:
                data = head + data
            else:
                connection.write(head)
        if data:
            connection.write(data)
        for piece in more:
            connection.write(piece)

    def _make_room(self, connection: Connection, count: int) -> None:
        """The client is slower than the application: to the file with it, and past the file's limit this worker
        waits.
        """
        engine = connection.server.settings
        try:
            if not self._store(connection, count):
                drain(connection, self._context.settings.response_memory, engine.write_timeout, engine.write_rate)
        except NoRoom:
            patience, rate = NO_ROOM_LIMITS
            try:
                drain(connection, 0, min(patience, engine.write_timeout), max(rate, engine.write_rate))
            except TooSlow:
                note_cut(self._context, connection, USED_UP)
                self.reset = True
                raise ClientDisconnected(USED_UP) from None
            except ClientDisconnected:
                self.reset = True
                raise

    def _store(self, connection: Connection, count: int) -> bool:
        settings = self._context.settings
        disk = -1 if self._spool_failed else settings.max_response_spool - count
        try:
            return make_room(connection, settings.response_memory, disk, settings.spool_dir)
        except ClientDisconnected:
            # Gone: what waits is not worth the room any more.
            connection.drop_output()
            self.reset = True
            raise
        except OSError as error:
            note_trouble(
                self._context,
                connection,
                error,
                "the application waits for its client, because the answer cannot be stored",
                "answers that cannot be stored",
            )
            self._spool_failed = True
            return False


def _stretch(file: Any) -> tuple[int, int, int]:
    """(descriptor, offset, octets) of what is left of a regular file; no octets for anything else."""
    if type(file) is tempfile._TemporaryFileWrapper:
        file = file.file
    try:
        # Exactly these: what a file of another class reads need not be what its descriptor has (gzip, text).
        raw = file.raw if type(file) in (io.BufferedReader, io.BufferedRandom) else file
        if type(raw) is not io.FileIO:
            return -1, 0, 0
        fd = file.fileno()
        offset = file.tell()
        info = os.fstat(fd)
    except (AttributeError, OSError, ValueError):
        return -1, 0, 0
    return fd, offset, info.st_size - offset if stat.S_ISREG(info.st_mode) else 0
