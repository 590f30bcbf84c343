"""``wsgi.input`` that reads from the connection while the application runs (``--stream-bodies``, ``--expect app``).

Used by one worker, the one that runs the application; it may block there, under the deadline and rate of a body.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import TYPE_CHECKING

from reserve.engine.connection import wait_for
from reserve.errors import ClientDisconnected, RemoteError

if TYPE_CHECKING:
    from reserve.engine.connection import Connection
    from reserve.protocol.http1.body import ChunkedDecoder, LengthDecoder

__all__ = ["ConnectionInput", "InputStream"]


class ConnectionInput(io.RawIOBase):
    """The raw half: decoded octets of one body, straight from the socket. :class:`InputStream` is made on top of it.

    :param rest: what was received behind the head.
    :param before_first_read: sends the 100 (Continue) that the client waits for.
    :param deadline: when the body has to have come so far as the given number of octets, on ``now``'s clock.

    Reading raises RemoteError when the body is malformed, or too large, or too slow, and ClientDisconnected when it
    ends too early: an upload that was cut short never looks complete.
    """

    def __init__(
        self,
        connection: Connection,
        decoder: LengthDecoder | ChunkedDecoder,
        rest: bytes,
        before_first_read: Callable[[], None] | None,
        deadline: Callable[[int], float],
        now: Callable[[], float],
    ) -> None:
        super().__init__()
        self._connection = connection
        self._decoder = decoder
        self._rest = rest
        self._before_first_read = before_first_read
        self._deadline = deadline
        self._now = now
        self._decoded = b""
        self._failure: Exception | None = None

    @property
    def complete(self) -> bool:
        """The end of the body has been received."""
        return self._decoder.complete and self._failure is None

    @property
    def untouched(self) -> bool:
        """The client still waits for its 100, so it may send no body at all."""
        return self._before_first_read is not None

    def rest(self) -> bytes:
        """What was received behind the body."""
        return self._decoder.rest

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        if self._failure is not None:
            raise self._failure
        try:
            while not self._decoded and not self._decoder.complete:
                self._decoded = self._decoder.feed(self._receive())
        except (RemoteError, ClientDisconnected) as error:
            self._failure = error
            raise
        count = min(len(buffer), len(self._decoded))
        buffer[:count] = self._decoded[:count]
        self._decoded = self._decoded[count:]
        return count

    def skip_arrived(self) -> bool:
        """Decode and drop what has arrived without waiting for more; True when that was the end of the body."""
        try:
            while not self.complete and self._failure is None:
                data = self._rest or self._connection.recv(65536)
                self._rest = b""
                if not data:
                    return False
                self._decoder.feed(data)
        except (BlockingIOError, InterruptedError):
            return False
        except (OSError, RemoteError):
            return False
        return self.complete

    def _receive(self) -> bytes:
        if self._rest:
            data, self._rest = self._rest, b""
            return data
        if self._before_first_read is not None:
            before, self._before_first_read = self._before_first_read, None
            before()
        while True:
            try:
                data = self._connection.recv(65536)
            except (BlockingIOError, InterruptedError):
                left = self._deadline(self._decoder.received) - self._now()
                if left <= 0 or not wait_for(self._connection.fd, left):
                    raise RemoteError(
                        408, f"the body came too slowly: {self._decoder.received} octets (--body-timeout, --body-rate)"
                    ) from None
                continue
            except OSError as error:
                raise ClientDisconnected(f"the client went away in its body: {error.strerror or error}") from None
            if not data:
                raise ClientDisconnected(f"the client stopped in its body, after {self._decoder.received} octets")
            return data


class InputStream(io.BufferedReader):
    """``wsgi.input`` for a streamed body: read, readline, readlines and iteration, as PEP 3333 wants."""

    raw: ConnectionInput
