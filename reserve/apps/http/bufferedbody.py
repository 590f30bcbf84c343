"""Receives the body of a request before its application runs: to memory, and with the help of a worker to a file.

:meth:`BufferedBody.receive` is called by whoever steps the connection, and never blocks; :meth:`BufferedBody.spill` and
:meth:`BufferedBody.open` touch the disk, so a worker calls them. What it holds is in the server's budget whenever it
waits.
"""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING, BinaryIO

from reserve.apps.http.body import BodyStore
from reserve.errors import RemoteError

if TYPE_CHECKING:
    from reserve.apps.http.settings import HTTPSettings
    from reserve.engine.connections.connection import Connection
    from reserve.protocol.http1.body import ChunkedDecoder, LengthDecoder

__all__ = ["COMPLETE", "ENDED", "FULL", "LARGE_HEAD", "WAITING", "BufferedBody", "Progress", "no_room_for_head"]

LARGE_HEAD = 4096
"""Octets up to which a head is never refused for want of memory, nor counted while its body is received."""

_RECEIVE = 65536
_GATHER = 262144  # octets of a body that are gathered before a worker writes them to its file


class Progress(IntEnum):
    """What :meth:`BufferedBody.receive` has come to."""

    WAITING = 0
    """The client has to send more."""
    FULL = 1
    """A worker has to write what has come."""
    COMPLETE = 2
    """The end of the body is here."""
    ENDED = 3
    """The client has stopped before that end."""


WAITING, FULL, COMPLETE, ENDED = Progress


class BufferedBody:
    """One body.

    :param decoder: knows where it ends.
    :param rest: what was received behind the head.
    :param now: when the head was complete, on the engine's clock.
    :param head: octets of that head, which is kept meanwhile.
    """

    __slots__ = ("_connection", "_decoder", "_head", "_rest", "_settings", "_started", "_store")

    def __init__(
        self,
        connection: Connection,
        decoder: LengthDecoder | ChunkedDecoder,
        rest: bytes,
        settings: HTTPSettings,
        now: float,
        head: int = 0,
    ) -> None:
        self._connection = connection
        self._decoder = decoder
        self._rest = rest
        self._head = head if head > LARGE_HEAD else 0
        self._settings = settings
        self._started = now
        self._store = BodyStore(settings.body_memory, settings.spool_dir)

    @property
    def rest(self) -> bytes:
        """What was received behind the body."""
        return self._decoder.rest

    @property
    def size(self) -> int:
        """Octets of content so far."""
        return self._store.size

    @property
    def deadline(self) -> float:
        """When the next octets have to be here."""
        return self._started + self._settings.body_allowance(self._decoder.received)

    def receive(self) -> Progress:
        """Take what has come.

        :raises RemoteError: 400, 413 or 431 from the decoder; 507 when the server's budgets are used up; 503 when the
            memory is, for a request with a large head.
        """
        decoder, store = self._decoder, self._store
        connection = self._connection
        receive, budget = connection.recv, connection.server.budget
        while not decoder.complete:
            if store.waiting >= _GATHER or (store.waiting and not budget.memory_for(0)):
                if not budget.disk_for(store.waiting):
                    raise RemoteError(507, "no room for request bodies for now (--buffer-memory, --spool-disk)")
                return FULL
            data = self._rest
            if data:
                self._rest = b""
            else:
                try:
                    data = receive(_RECEIVE)
                except (BlockingIOError, InterruptedError):
                    if store.too_large and budget.disk_for(store.waiting):
                        return FULL  # without room there it waits in memory, up to _GATHER of it
                    if self._head and not budget.memory_for(self._head + store.waiting - connection.counted[0]):
                        raise no_room_for_head() from None
                    self.settle()
                    return WAITING
                if not data:
                    return ENDED
            payload = decoder.feed(data)
            if payload:
                store.add(payload)
        self._count()
        return COMPLETE

    def _count(self) -> None:
        store, connection = self._store, self._connection
        connection.body_memory, connection.body_disk = store.waiting + self._head, store.size - store.waiting

    def settle(self) -> None:
        """Count the body, as far as it has come, into the server's budget."""
        self._count()
        self._connection.settle()

    def spill(self) -> None:
        """Write what is in memory to the file. Raises OSError when the disk takes no more."""
        try:
            self._store.spill()
        finally:
            self.settle()

    def open(self) -> BinaryIO:
        """The whole body as a file at its start. Raises OSError as :meth:`spill` does."""
        return self._store.open()

    def close(self) -> None:
        """Give memory and disk back; who calls it settles the connection, or ends it."""
        self._store.close()
        self._connection.body_memory = self._connection.body_disk = 0


def no_room_for_head() -> RemoteError:
    """Why a request with a large head is refused while the server's memory is used up."""
    return RemoteError(503, "no room for large heads of requests for now (--buffer-memory)")
