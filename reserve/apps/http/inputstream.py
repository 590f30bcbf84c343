"""``wsgi.input`` that reads from the connection while the application runs (``--stream-bodies``, ``--expect app``).

Used by one worker, the one that runs the application; it may block there, under the deadline and rate of a body. Only
the time that is spent waiting for the client counts: an application that is slow itself makes no client late. The
monitor interrupts a wait (:meth:`ConnectionInput.interrupt`) without touching the socket: shutting it down for reading
would turn what the client is still sending into a reset, which overtakes the refusal.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import TYPE_CHECKING

from reserve.engine.polling.wakeup import Wakeup
from reserve.errors import ClientDisconnected, RemoteError, RequestTimeout, counted

if TYPE_CHECKING:
    from reserve.engine.connections.connection import Connection
    from reserve.protocol.http1.body import ChunkedDecoder, LengthDecoder

__all__ = ["BodyRefused", "ConnectionInput", "InputStream", "new_alarm"]

_RECEIVE = 65536


class BodyRefused(RemoteError, ClientDisconnected):
    """The body is malformed, too large or too slow: nothing more of it can be read.

    Raised inside the application. It is an OSError, as frameworks expect of an upload that fails, and the client's
    fault: an application that lets it pass gets no traceback, and the client the answer of the status.
    """


class ConnectionInput(io.RawIOBase):
    """The raw half: decoded octets of one body, straight from the socket. :class:`InputStream` is made on top of it.

    :param rest: what was received behind the head.
    :param before_first_read: sends the 100 (Continue) that the client waits for.
    :param allowance: how many seconds the application may have waited when the given number of octets has come.
    :param alarm: what :meth:`interrupt` ends a wait with; None: a wait ends with the body's deadline. Made and closed
        by others, outside of the time in which this thread may be interrupted: it would lose a descriptor then.

    Reading raises BodyRefused when the body is malformed, or too large, or too slow, and ClientDisconnected when it
    ends too early: an upload that was cut short never looks complete.
    """

    def __init__(
        self,
        connection: Connection,
        decoder: LengthDecoder | ChunkedDecoder,
        rest: bytes,
        before_first_read: Callable[[], None] | None,
        allowance: Callable[[int], float],
        now: Callable[[], float],
        alarm: Wakeup | None = None,
    ) -> None:
        super().__init__()
        self._connection = connection
        self._decoder = decoder
        self._rest = rest
        self._before_first_read = before_first_read
        self._allowance = allowance
        self._now = now
        self._waited = 0.0
        self._interrupted = False
        self._alarm = alarm
        self._decoded = b""
        self.failure: BodyRefused | ClientDisconnected | None = None
        """Why nothing more can be read."""

    @property
    def complete(self) -> bool:
        """The end of the body has been received."""
        return self._decoder.complete and self.failure is None

    def rest(self) -> bytes:
        """What was received behind the body."""
        return self._decoder.rest

    def interrupt(self) -> None:
        """By the monitor: this read, and every later one, raises RequestTimeout."""
        self._interrupted = True
        if self._alarm is not None:
            self._alarm.signal()

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        if not self._decoded and self.failure is not None:
            raise self.failure
        while not self._decoded and not self._decoder.complete:
            self._decode(self._receive)
            if self.failure is not None:
                raise self.failure
        count = min(len(buffer), len(self._decoded))
        buffer[:count] = self._decoded[:count]
        self._decoded = self._decoded[count:]
        return count

    def answer_begins(self) -> bool:
        """Say whether the end of the body has been received, so that another request may follow this one's answer.

        What has arrived is decoded, up to a limit and without waiting for more; it is still there to be read. From now
        on no 100 (Continue) is sent: it would stand in the midst of the answer.
        """
        self._before_first_read = None
        while len(self._decoded) < _RECEIVE and not self._decoder.complete and self.failure is None:
            try:
                self._decode(self._receive_arrived)
            except (BlockingIOError, InterruptedError):
                break
        return self.complete

    def _decode(self, receive: Callable[[], bytes]) -> None:
        try:
            self._decoded += self._decoder.feed(receive())
        except ClientDisconnected as error:
            self.failure = error
        except RemoteError as error:
            self.failure = BodyRefused(error.status, error.message)

    def _receive_arrived(self) -> bytes:
        """Raises BlockingIOError when nothing has arrived."""
        if self._rest:
            data, self._rest = self._rest, b""
            return data
        connection = self._connection
        if connection.lent:
            connection.reclaim()
        try:
            data = connection.recv(_RECEIVE)
        except (BlockingIOError, InterruptedError):
            raise
        except OSError as error:
            raise ClientDisconnected(f"the client went away in its body: {error.strerror or error}") from None
        finally:
            if connection.output is not None:
                # The client may read before it goes on sending.
                connection.lend()
        if not data:
            received = counted(self._decoder.received, "octet")
            raise ClientDisconnected(f"the client stopped in its body, after {received}")
        return data

    def _receive(self) -> bytes:
        if self._before_first_read is not None and not self._rest:
            before, self._before_first_read = self._before_first_read, None
            before()
        while True:
            if self._interrupted:
                raise RequestTimeout
            try:
                return self._receive_arrived()
            except (BlockingIOError, InterruptedError):
                self._wait()

    def _wait(self) -> None:
        received = self._decoder.received
        left = self._allowance(received) - self._waited
        wake = -1 if self._alarm is None else self._alarm.fd
        since = self._now()
        if left <= 0 or not self._connection.wait(left, wake=wake):
            much = counted(received, "octet")
            raise RemoteError(408, f"the body came too slowly: {much} (--body-timeout, --body-rate)")
        self._waited += self._now() - since


def new_alarm() -> Wakeup | None:
    """For one body that is streamed; None when no descriptor is left."""
    try:
        return Wakeup()
    except OSError:
        return None


class InputStream(io.BufferedReader):
    """``wsgi.input`` for a streamed body: read, readline, readlines and iteration, as PEP 3333 wants."""

    raw: ConnectionInput
