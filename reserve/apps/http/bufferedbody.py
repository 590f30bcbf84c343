"""A body that is received before its application runs: to memory, and past a limit to a file without a name.

The thread that steps the connection calls :meth:`BufferedBody.receive`, which never blocks. A file thread calls
:meth:`BufferedBody.store`, and a worker :meth:`BufferedBody.open`, because they touch the disk. Whenever the body waits
for its client or for another thread, what it holds is counted into the server's budget.

The other kind of body is read by the application itself: :mod:`reserve.apps.http.streamedbody`.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable
from enum import IntEnum
from typing import TYPE_CHECKING, BinaryIO, cast

from reserve.engine.connections.spool import SpoolFile
from reserve.errors import RemoteError

if TYPE_CHECKING:
    from reserve.apps.http.settings import HTTPSettings
    from reserve.engine.connections.connection import Connection
    from reserve.protocol.codec import Decoder

__all__ = [
    "BEYOND",
    "COMPLETE",
    "DISCONNECTED",
    "FULL",
    "LARGE_HEAD",
    "MORE",
    "WAITING",
    "BodyStore",
    "BufferedBody",
    "Progress",
    "close_content",
    "large_head_error",
]

LARGE_HEAD = 4096
"""A head of more bytes is refused when the server's memory budget is used up, and counted into that budget while its
body is received. A smaller head is neither.
"""

BEYOND = 4096
"""Bytes that are received at once beyond what belongs to the body for certain. What follows a body is kept while its
request is responded to, so little of it is received.
"""
_RECEIVE_SIZE = 65536
_LARGE_RECEIVE = 262144
"""Bytes that are received at once of a body of which at least as much is missing: a quarter of the system calls, and
blocks that the file takes with less work for each byte.
"""
_TURN_SIZE = 262144
"""Bytes on the wire that are received in one turn of a connection, whatever their content."""
_TURN_TIME = 0.002
"""Seconds after which a turn ends all the same: what a client sends may cost more to decode than it looks like."""
_SPILL_SIZE = 262144
"""Bytes of a body that are gathered in memory, at least, before they are written to its file."""
_STORE_SIZE = 4194304
"""Bytes of one body after which a file thread takes the next connection: others wait for that thread."""
_STORE_TIME = 0.01
"""Seconds after which it does so all the same, between two blocks: the disk may be slow."""
_SMALL = 4096
"""A piece of fewer bytes is joined with the one before it: each piece is an object, whose size nothing counts."""


class Progress(IntEnum):
    """The result of :meth:`BufferedBody.receive`."""

    WAITING = 0
    """The client has to send more."""
    FULL = 1
    """A file thread has to write what has been received to the file; after the end of the body, too."""
    COMPLETE = 2
    """The end of the body has been received."""
    MORE = 3
    """More has arrived; the other connections have their turn first."""
    DISCONNECTED = 4
    """The client has closed its side before the end of the body."""


WAITING, FULL, COMPLETE, MORE, DISCONNECTED = Progress


class BodyStore:
    """The bytes of one body in order, in memory and in a file. Owned and called by a :class:`BufferedBody`.

    :param memory: bytes that may stay in memory (``--body-memory``); a worker writes more than that to the file.
    :param folder: where the file is made (``--spool-dir``); None: the system's directory for temporary files.
    :param close_file: see :class:`~reserve.engine.connections.spool.SpoolFile`.
    """

    __slots__ = ("_close_file", "_file", "_folder", "_memory", "_pieces", "in_memory", "size")

    def __init__(
        self, memory: int, folder: str | None, close_file: Callable[[Callable[[], None], int], None] | None = None
    ) -> None:
        self._memory = memory
        self._folder = folder
        self._close_file = close_file
        self._pieces: list[bytes] = []
        self._file: SpoolFile | None = None
        self.size = 0
        """Bytes so far."""
        self.in_memory = 0
        """Those of them that are in memory."""

    def add(self, data: bytes) -> None:
        """Append to what is in memory."""
        pieces = self._pieces
        if len(data) < _SMALL and pieces and len(pieces[-1]) < _SMALL:
            pieces[-1] += data
        else:
            pieces.append(data)
        self.size += len(data)
        self.in_memory += len(data)

    @property
    def too_large(self) -> bool:
        """More is in memory than ``--body-memory`` allows: call :meth:`spill`."""
        return self.in_memory > self._memory

    @property
    def full(self) -> bool:
        """Call :meth:`spill` before more is added, even if more is there to be received.

        A body that does not stay in memory is written in blocks of at least 256 KiB if its client is quick.
        """
        return self.room <= 0

    @property
    def room(self) -> int:
        """Bytes after which it is :attr:`full`."""
        most = _SPILL_SIZE if self._file is not None else max(_SPILL_SIZE, self._memory + 1)
        return most - self.in_memory

    @property
    def incomplete(self) -> bool:
        """The file has the beginning, and not all."""
        return self._file is not None and self.in_memory > 0

    def spill(self) -> None:
        """Write what is in memory to the file. Raises OSError when the disk is full."""
        if self._file is None:
            self._file = SpoolFile(self._folder, "reserve-body-", self._close_file)
        for piece in self._pieces:
            self._file.append(piece)
        self._pieces.clear()
        self.in_memory = 0

    def open(self) -> BinaryIO:
        """The complete body as a binary file at its start: read, readline, readlines and iteration (PEP 3333)."""
        if self._file is None:
            if len(self._pieces) > 1:
                self._pieces = [b"".join(self._pieces)]  # the pieces are freed
            return io.BytesIO(self._pieces[0] if self._pieces else b"")  # shares the bytes
        if self._pieces:
            self.spill()
        file = cast("io.RawIOBase", self._file.file)
        file.seek(0)
        return io.BufferedReader(file)

    def close(self) -> None:
        """Free the memory and the file."""
        self._pieces.clear()
        self.in_memory = 0
        if self._file is not None and not self._file.file.closed:  # the application may have closed what it read
            self._file.close()


class BufferedBody:
    """One body that is buffered. Its driver owns it.

    :param decoder: knows where the body ends.
    :param unparsed: the bytes that were received after the head.
    :param now: when the head was complete, in seconds on the engine's clock.
    :param head_size: bytes of that head, which is kept in memory while the body is received.
    """

    __slots__ = ("_connection", "_decoder", "_failure", "_head_size", "_settings", "_started", "_store", "_unparsed")

    def __init__(
        self,
        connection: Connection,
        decoder: Decoder,
        unparsed: bytes,
        settings: HTTPSettings,
        now: float,
        head_size: int = 0,
    ) -> None:
        self._connection = connection
        self._decoder = decoder
        self._unparsed = unparsed
        self._head_size = head_size if head_size > LARGE_HEAD else 0
        self._settings = settings
        self._started = now
        self._store = BodyStore(settings.body_memory, settings.spool_dir, connection.server.close_file)
        self._failure: RemoteError | OSError | None = None
        """What a file thread has met while it received: the next :meth:`receive` raises it."""

    @property
    def unparsed(self) -> bytes:
        """What was received after the body."""
        return self._decoder.rest + self._unparsed

    @property
    def size(self) -> int:
        """Bytes of content so far."""
        return self._store.size

    @property
    def deadline(self) -> float:
        """When the client must have sent more, in seconds on the engine's clock."""
        return self._started + self._settings.body_allowance(self._decoder.received)

    def receive(self) -> Progress:
        """Receive what has arrived, for one turn: bounded in bytes and in time, because other connections wait.

        :raises RemoteError: 400, 413 or 431 from the decoder; 507 when memory and disk of the server's budget are used
            up; 503 when its memory is used up and the head of the request is large.
        """
        if self._failure is not None:
            try:
                raise self._failure
            finally:
                self._failure = None  # its traceback refers to this body
        decoder, store = self._decoder, self._store
        connection = self._connection
        receive, budget, now = connection.recv, connection.server.budget, connection.server.clock.now
        end, left = now() + _TURN_TIME, _TURN_SIZE
        while not decoder.complete:
            if store.full or (store.in_memory and not budget.memory_for(0)):
                if not budget.disk_for_body(store.in_memory):
                    raise RemoteError(507, "no room for request bodies for now (--buffer-memory, --spool-disk)")
                self.settle()
                return FULL
            if left <= 0 or now() >= end:
                self.settle()
                return MORE
            data = self._unparsed
            if data:
                self._unparsed = b""
            else:
                missing = decoder.missing
                large = missing >= _LARGE_RECEIVE  # all of which is content
                size = min(_LARGE_RECEIVE, store.room) if large else min(_RECEIVE_SIZE, missing + BEYOND)
                try:
                    data = receive(size)
                except (BlockingIOError, InterruptedError):
                    if store.too_large and budget.disk_for_body(store.in_memory):
                        self.settle()
                        return FULL  # without room on the disk, it stays in memory until it is full
                    fixed = self._head_size + decoder.held
                    if fixed > LARGE_HEAD and not budget.memory_for(fixed + store.in_memory - connection.counted[0]):
                        raise large_head_error() from None
                    self.settle()
                    return WAITING
                if not data:
                    return DISCONNECTED
            if len(data) > decoder.FEED_SIZE:
                data, self._unparsed = data[: decoder.FEED_SIZE], data[decoder.FEED_SIZE :]
            left -= len(data)
            payload = decoder.feed(data)
            if payload:
                store.add(payload)
        self._count()
        return FULL if store.incomplete else COMPLETE

    def _count(self) -> None:
        store, connection, decoder = self._store, self._connection, self._decoder
        unparsed = len(self._unparsed) + len(decoder.rest)
        connection.body_memory = store.in_memory + self._head_size + decoder.held + unparsed
        connection.body_disk = store.size - store.in_memory

    def settle(self) -> None:
        """Count what has been received so far into the server's budget."""
        self._count()
        self._connection.settle()

    def store(self) -> None:
        """By a file thread, after :data:`FULL`: write what is in memory to the file. While the client sends as fast as
        the file takes it, receive and write on: else two threads would be woken for each block.

        That is bounded in bytes and in time, and in memory as :meth:`receive` is. It ends when the client has to send
        more. Raises OSError when the disk takes no more.
        """
        decoder, store, now = self._decoder, self._store, self._connection.server.clock.now
        enough, end = store.size - store.in_memory + _STORE_SIZE, now() + _STORE_TIME
        progress = FULL
        while progress is FULL or progress is MORE:
            if progress is FULL:
                self._spill()
            if decoder.complete or store.size >= enough or now() >= end:
                return
            try:
                progress = self.receive()
            except (RemoteError, OSError) as error:
                self._failure = error
                return

    def _spill(self) -> None:
        try:
            self._store.spill()
        finally:
            self.settle()

    def open(self) -> BinaryIO:
        """The complete body as a file at its start. Raises OSError as :meth:`store` does."""
        return self._store.open()

    def close(self) -> None:
        """Free the memory and the file. The caller settles or disposes of the connection afterwards."""
        self._failure = None
        self._store.close()
        self._connection.body_memory = self._connection.body_disk = 0


def close_content(content: BinaryIO) -> None:
    """After the application: close what it has read a buffered body from.

    It stays open while the application keeps a view of its memory (:meth:`io.BytesIO.getbuffer`): only the last view
    can free that.
    """
    with contextlib.suppress(BufferError):
        content.close()


def large_head_error() -> RemoteError:
    """The refusal of a request with a large head, for when the server's memory budget is used up."""
    return RemoteError(503, "no room for large heads of requests for now (--buffer-memory)")
