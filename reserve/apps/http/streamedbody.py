"""A body that the application reads from the connection while it arrives (``--stream-bodies``, ``--expect app``).

The other kind of body is received before the application runs: :mod:`reserve.apps.http.bufferedbody`.

The worker that runs the application reads, and may block there, under the deadline and rate of a body. Only the time
that it spends waiting for the client counts: a slow application makes no client late. The monitor interrupts a wait
(:meth:`RawBodyReader.interrupt`) without touching the socket. If it shut the socket down for reading, the kernel would
respond to what the client is still sending with a reset, and the client would not see its refusal.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from reserve.apps.http.bufferedbody import BEYOND
from reserve.engine.polling.wakeup import Wakeup
from reserve.errors import ClientDisconnected, RemoteError, RequestTimeout, counted

if TYPE_CHECKING:
    from reserve.apps.http.settings import HTTPSettings
    from reserve.engine.connections.connection import Connection
    from reserve.protocol.codec import Decoder

__all__ = ["BodyRefused", "InputStream", "RawBodyReader", "StreamedBody"]

_RECEIVE_SIZE = 65536
_BUFFER_SIZE = 65536


class BodyRefused(RemoteError, ClientDisconnected):
    """The body is malformed, too large or too slow: nothing more of it can be read.

    Raised inside the application. It is an OSError, as frameworks expect of an upload that fails. If the application
    does not catch it, the client gets a response with its status. The error log gets no traceback then, because the
    application did nothing wrong.
    """


class RawBodyReader(io.RawIOBase):
    """The decoded bytes of one body, straight from the socket; :class:`InputStream` buffers them.

    Owned by a :class:`StreamedBody`. Only the worker that runs the application calls it, except :meth:`interrupt`.

    :param unparsed: the bytes that were received after the head.
    :param before_first_read: sends the 100 (Continue) that the client waits for; None: it waits for none.
    :param allowance: returns how many seconds in total the worker may wait for the client, for a number of bytes
        received so far.
    :param now: the engine's clock, in seconds.
    :param wakeup: ends a wait when :meth:`interrupt` signals it; None: a wait ends with the body's deadline.

    Reading raises BodyRefused when the body is malformed, too large or too slow, and ClientDisconnected when it ends
    too early: an upload that was cut short never looks complete.
    """

    def __init__(
        self,
        connection: Connection,
        decoder: Decoder,
        unparsed: bytes,
        before_first_read: Callable[[], None] | None,
        allowance: Callable[[int], float],
        now: Callable[[], float],
        wakeup: Wakeup | None = None,
    ) -> None:
        super().__init__()
        self._connection = connection
        self._decoder = decoder
        self._unparsed = unparsed
        self._before_first_read = before_first_read
        self._allowance = allowance
        self._now = now
        self._waited = 0.0
        self._interrupted = False
        self._wakeup = wakeup
        self._decoded = b""
        self.failure: BodyRefused | ClientDisconnected | None = None
        """Why nothing more can be read."""

    @property
    def complete(self) -> bool:
        """The end of the body has been received."""
        return self._decoder.complete and self.failure is None

    @property
    def unparsed(self) -> bytes:
        """What was received after the body."""
        return self._decoder.rest

    @property
    def unread(self) -> bytes:
        """What was received after the input that the decoder has taken, or after the body."""
        return self._decoder.rest + self._unparsed

    def interrupt(self) -> None:
        """By the monitor: the current read, and every later one, raises RequestTimeout."""
        self._interrupted = True
        if self._wakeup is not None:
            self._wakeup.signal()

    def forget(self) -> None:
        """After the application: free what it has not read."""
        self._decoded = self._unparsed = b""

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

    def begin_response(self) -> bool:
        """Note that the response begins. Say whether the end of the body has been received: only then can another
        request follow on this connection.

        What has arrived is decoded, up to a limit and without waiting for more; it can still be read. From now on no
        100 (Continue) is sent, because it would stand in the middle of the response.
        """
        self._before_first_read = None
        while len(self._decoded) < _RECEIVE_SIZE and not self._decoder.complete and self.failure is None:
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
        if self._unparsed:
            data, self._unparsed = self._unparsed, b""
            return data
        connection = self._connection
        if connection.lent:
            connection.reclaim()
        try:
            data = connection.recv(min(_RECEIVE_SIZE, self._decoder.missing + BEYOND))
        except (BlockingIOError, InterruptedError):
            raise
        except OSError as error:
            raise ClientDisconnected(f"the client went away in its body: {error.strerror or error}") from None
        finally:
            if connection.output is not None:
                # The client may have to read the response before it sends more of the body.
                connection.lend()
        if not data:
            received = counted(self._decoder.received, "byte")
            raise ClientDisconnected(f"the client stopped in its body, after {received}")
        return data

    def _receive(self) -> bytes:
        """Receive more of the body; wait for it."""
        if self._before_first_read is not None and not self._unparsed:
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
        timeout = self._allowance(received) - self._waited
        wake = -1 if self._wakeup is None else self._wakeup.fd
        since = self._now()
        if timeout <= 0 or not self._connection.wait(timeout, wake=wake):
            amount = counted(received, "byte")
            raise RemoteError(408, f"the body came too slowly: {amount} (--body-timeout, --body-rate)")
        self._waited += self._now() - since


class InputStream(io.BufferedReader):
    """``wsgi.input`` of a streamed body: read, readline, readlines and iteration, as PEP 3333 wants."""

    raw: RawBodyReader


class StreamedBody:
    """One body that is streamed. Its driver owns it.

    It holds a descriptor. The driver makes and releases it at moments when ``--request-timeout`` cannot interrupt the
    thread, because an exception between the two steps of opening and storing the descriptor would leave it open.

    :param decoder: knows where the body ends.
    :param unparsed: the bytes that were received after the head.
    :param interim: the 100 (Continue) that the client waits for before it sends the body; empty: it waits for none.
    """

    __slots__ = ("_wakeup", "raw")

    def __init__(
        self,
        connection: Connection,
        decoder: Decoder,
        unparsed: bytes,
        settings: HTTPSettings,
        *,
        interim: bytes,
    ) -> None:
        server = connection.server
        self._wakeup = _new_wakeup() if server.settings.request_timeout > 0 else None
        """Ends a wait of the worker when the application is interrupted; needed only where it may be."""
        self.raw = RawBodyReader(
            connection,
            decoder,
            unparsed,
            partial(connection.write, interim) if interim and not unparsed else None,
            settings.body_allowance,
            server.clock.now,
            self._wakeup,
        )
        """The reader that receives and decodes the body; the worker and the monitor use it."""

    def open(self) -> InputStream:
        """By the worker: ``wsgi.input``."""
        return InputStream(self.raw, _BUFFER_SIZE)

    def release(self) -> None:
        """Close the descriptor: no thread waits for more of the body. May be called again."""
        wakeup, self._wakeup = self._wakeup, None
        if wakeup is not None:
            wakeup.close()


def _new_wakeup() -> Wakeup | None:
    """None when the process has no descriptor left: then a wait ends with the body's deadline."""
    try:
        return Wakeup()
    except OSError:
        return None
