"""The output of a connection that could not be sent at once. The connection's owner sends it when the socket has room.

The thread that leads sends a part of a file only if it is in the page cache; else :attr:`Output.needs_disk` says that
another thread has to send it. The output refers to the data and does not copy it, and counts the memory. An object is
counted once, even if several parts refer to it: forty parts that refer to one block count as one block.
"""

from __future__ import annotations

import errno
import math
import os
import socket
from collections import deque
from collections.abc import Callable

from reserve.engine.connections.spool import SpoolFile

__all__ = ["PIECE", "FilePart", "Output"]

PIECE = 262144
"""The most bytes passed to one call of send. More bytes would be copied for nothing when the kernel's buffer is full,
and with large kernel buffers they would keep the thread busy with one connection.
"""
_SENDFILE_PIECE = 1048576
"""The most bytes passed to one call of sendfile, by a thread that may wait for the disk. It copies nothing, and ends
when the kernel's buffer is full.
"""
_SMALL = 4096  # bytes: smaller neighbours are joined, because each part costs memory and a system call
_NO_SENDFILE = (errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP)
"""Errors of sendfile from a file system that does not have it, such as those of the kernel before Linux 5.13."""
_PART = 64  # bytes of memory that a part takes in addition to its data
_RATE_STEP = 1048576  # bytes in the spool file that add the lowest rate once more
_SHORTER = "the file became shorter while it was sent"
_NOWAIT = getattr(os, "RWF_NOWAIT", 0)  # Linux: read only what is in the page cache
_buffers: deque[memoryview] = deque()  # of PIECE bytes, for pieces of files; as many as threads have sent at once


class FilePart:
    """A range of a file that is sent at explicit offsets; owned by an :class:`Output`.

    It duplicates the descriptor, so the application may close, move or read its file meanwhile. Ranges of one file in
    one output may share the duplicate.

    :param fd: descriptor of a regular file.
    :param offset: of the first byte.
    :param count: bytes.
    :param spool: the file is the output's own spool file, so the next range may be joined to this one.
    :param same: another range of the same file, which is not closed yet, with the duplicate.
    """

    __slots__ = ("_cache_known", "_users", "fd", "left", "offset", "spool")

    def __init__(self, fd: int, offset: int, count: int, *, spool: bool = False, same: FilePart | None = None) -> None:
        if same is None:
            self.fd = os.dup(fd)
            self._users = [1]
        else:
            self.fd, self._users = same.fd, same._users
            self._users[0] += 1
        self.offset = offset
        self.left = count
        self.spool = spool
        self._cache_known = _NOWAIT != 0  # False: the file system does not say what is in the cache

    def send(self, sock: socket.socket, most: float = math.inf) -> int:
        """Send some of it; this waits for the disk if it has to. Raises BlockingIOError when the socket has no room,
        OSError when the file ends too early.

        :param most: bytes, at least 1. Where sendfile does not do it they may be exceeded by less than 64 KiB.
        """
        target = sock.fileno()
        if target >= 0 and hasattr(os, "sendfile"):
            try:
                sent = os.sendfile(target, self.fd, self.offset, int(min(self.left, _SENDFILE_PIECE, most)))
            except OSError as error:
                if error.errno not in _NO_SENDFILE:
                    raise
                sent = self._read_and_send(sock)
        else:  # no such call on this platform, or a socket that is not the system's
            sent = self._read_and_send(sock)
        if sent == 0:
            raise OSError(_SHORTER)
        self.offset += sent
        self.left -= sent
        return sent

    def _read_and_send(self, sock: socket.socket) -> int:
        count = min(self.left, 65536)
        if hasattr(os, "pread"):
            piece = os.pread(self.fd, count, self.offset)
        else:
            os.lseek(self.fd, self.offset, os.SEEK_SET)
            piece = os.read(self.fd, count)
        return sock.send(piece) if piece else 0

    def send_cached(self, sock: socket.socket) -> int:
        """Send some of it if that does not wait for the disk; -1: that is not known. Raises BlockingIOError when the
        socket has no room.
        """
        if not self._cache_known:
            return -1
        count = min(self.left, PIECE)
        try:
            buffer = _buffers.pop()
        except IndexError:
            buffer = memoryview(bytearray(PIECE))
        try:
            try:
                cached = os.preadv(self.fd, (buffer[:count],), self.offset, _NOWAIT)
            except BlockingIOError:
                return -1
            except OSError:
                self._cache_known = False
                return -1
            if not cached:
                raise OSError(_SHORTER)
            if cached < count and sock.fileno() < 0:
                return -1  # what TLS sends again must not be shorter than it was
            sent = sock.send(buffer[:cached])
        finally:
            _buffers.append(buffer)
        self.offset += sent
        self.left -= sent
        return sent

    def probably_cached(self, limit: int) -> bool:
        """Say whether the page cache has the first and the last of the next ``limit`` bytes, and so as a rule all."""
        if not self._cache_known:
            return False
        byte = bytearray(1)
        try:
            for offset in (self.offset, self.offset + min(self.left, limit) - 1):
                os.preadv(self.fd, (byte,), offset, _NOWAIT)
        except OSError:
            return False
        return True

    def close(self) -> None:
        """Close the duplicated descriptor, if no other range uses it. The output calls it once, when the range is sent
        or discarded.
        """
        self._users[0] -= 1
        if not self._users[0]:
            os.close(self.fd)


class Output:
    """A queue of bytes and ranges of files; owned by a connection, and used by the connection's owner only."""

    __slots__ = (
        "_objects",
        "_parts",
        "_spool",
        "disk_since",
        "held",
        "needs_disk",
        "progress_at",
        "quick",
        "sent",
        "since",
        "size",
        "spooled",
    )

    def __init__(self) -> None:
        self._parts: deque[bytes | memoryview | FilePart] = deque()
        self._spool: SpoolFile | None = None
        self._objects: dict[int, list[int]] = {}  # by id: how many parts refer to the object, and its bytes
        self.size = 0
        """Bytes that wait in memory."""
        self.held = 0
        """Bytes of memory that they occupy: an object that several parts refer to is counted once."""
        self.spooled = 0
        """Bytes that were moved to the spool file so far. It holds them all until everything is sent."""
        self.sent = 0
        """Bytes sent since the output was made."""
        self.since: float | None = None
        """When the socket first had no room, in seconds on the engine's clock."""
        self.progress_at = 0.0
        """When bytes were last sent, or ``since``, on the engine's clock."""
        self.needs_disk = False
        """The last :meth:`flush` ended because it would have had to wait for the disk."""
        self.quick = False
        """The last :meth:`flush` ended at its limit: the socket has taken everything so far."""
        self.disk_since = 0.0
        """When it was passed to a thread that waits for the disk, on the engine's clock."""

    def append(self, data: bytes | memoryview) -> None:
        """Append data by reference; small parts are joined. The caller must not change the data afterwards."""
        part = data if type(data) is bytes else memoryview(data)
        parts = self._parts
        # The first part is never changed, because a send of it may have been tried already.
        last = parts[-1] if len(parts) > 1 else None
        if last is not None and not isinstance(last, FilePart) and len(last) < _SMALL and len(part) < _SMALL:
            joined = b"".join((last, part))
            self._hold(joined)
            parts[-1] = joined
            self._release(last)
        else:
            self._hold(part)
            parts.append(part)
        self.size += len(part)

    def append_file(self, part: FilePart) -> None:
        """Append a range of a file. From now on the output closes the part."""
        self._parts.append(part)

    def file_left(self) -> int:
        """Bytes of the file that are sent next; 0: something else comes first."""
        part = self._parts[0]
        return part.left if isinstance(part, FilePart) else 0

    def file_probably_cached(self, limit: int) -> bool:
        """Say whether the next ``limit`` bytes are of a file and, as a rule, in the page cache."""
        part = self._parts[0]
        return isinstance(part, FilePart) and part.probably_cached(limit)

    def spill(self, folder: str | None, close_file: Callable[[Callable[[], None], int], None] | None = None) -> None:
        """Move the parts that wait in memory to a file without a name. Only on a worker, because it blocks on the disk.

        :param folder: where the file is made; None: the system's directory for temporary files.
        :param close_file: see :class:`~reserve.engine.connections.spool.SpoolFile`.

        Raises OSError when the disk is full. The parts that were not moved then stay in memory.
        """
        if self._spool is None:
            self._spool = SpoolFile(folder, "reserve-response-", close_file)
        parts = self._parts
        kept: deque[bytes | memoryview | FilePart] = deque()
        try:
            while parts:
                part = parts[0]
                last = kept[-1] if kept else None
                moved = part if isinstance(part, FilePart) else self._spill_part(self._spool, part, last)
                if moved is not None:
                    kept.append(moved)
                parts.popleft()
        finally:
            kept.extend(parts)
            self._parts = kept

    def _spill_part(
        self, spool: SpoolFile, part: bytes | memoryview, last: bytes | memoryview | FilePart | None
    ) -> FilePart | None:
        """Write one part to the end of the file and return its range; None: the previous range was extended."""
        count, offset = len(part), spool.size
        new = None
        if isinstance(last, FilePart) and last.spool and last.offset + last.left == offset:
            spool.append(part)
            last.left += count
        else:
            new = FilePart(spool.file.fileno(), offset, count, spool=True)
            try:
                spool.append(part)
            except BaseException:
                new.close()
                raise
        self.spooled += count
        self.size -= count
        self._release(part)
        return new

    def _hold(self, part: bytes | memoryview) -> None:
        whole = part.obj if type(part) is memoryview else part
        self.held += _PART
        if len(whole) < _SMALL:  # type: ignore[arg-type]  # every object with a view has a length
            self.held += len(whole)  # type: ignore[arg-type]
            return
        entry = self._objects.get(id(whole))  # the parts keep the object alive, so its id() stays valid
        if entry is None:
            self._objects[id(whole)] = [1, len(part)]
            self.held += len(part)
            return
        entry[0] += 1
        if len(part) > entry[1]:
            self.held += len(part) - entry[1]
            entry[1] = len(part)

    def _release(self, part: bytes | memoryview) -> None:
        whole = part.obj if type(part) is memoryview else part
        self.held -= _PART
        if len(whole) < _SMALL:  # type: ignore[arg-type]
            self.held -= len(whole)  # type: ignore[arg-type]
            return
        entry = self._objects[id(whole)]
        entry[0] -= 1
        if not entry[0]:
            self.held -= entry[1]
            del self._objects[id(whole)]

    def flush(self, sock: socket.socket, limit: float = math.inf, *, disk: bool = True) -> tuple[bool, int]:
        """Send until everything is sent (True), or the socket has no room or ``limit`` bytes are sent (False).

        :param disk: the caller may wait for the disk. False: end before that, and set :attr:`needs_disk`.

        Returns this result and the number of bytes sent. Raises OSError when the connection or a file fails.
        """
        parts = self._parts
        total = 0
        self.needs_disk = self.quick = False
        try:
            while parts:
                if total >= limit:
                    self.quick = True
                    return False, total
                part = parts[0]
                if isinstance(part, FilePart):
                    count = part.send(sock, limit - total) if disk else part.send_cached(sock)
                    if count < 0:
                        self.needs_disk = True
                        return False, total
                    total += count
                    if not part.left:
                        part.close()
                        parts.popleft()
                    continue
                sent = sock.send(part if len(part) <= PIECE else memoryview(part)[:PIECE])
                total += sent
                self.size -= sent
                if sent == len(part):
                    parts.popleft()
                    self._release(part)
                else:
                    parts[0] = memoryview(part)[sent:]
        except (BlockingIOError, InterruptedError):
            return False, total
        finally:
            self.sent += total
        self.close_spool()
        return True, total

    def close(self) -> None:
        """Discard everything that is not sent."""
        while self._parts:
            part = self._parts.popleft()
            if isinstance(part, FilePart):
                part.close()
        self._objects.clear()
        self.size = self.held = 0
        self.close_spool()

    def close_spool(self) -> None:
        """Close the spool file; the ranges of it that still wait have their own descriptors."""
        if self._spool is not None:
            self._spool.close()
            self._spool = None

    def extend_deadline(self, now: float) -> None:
        """Give the peer the time back that passed since :attr:`disk_since`: the disk was slow, not the peer."""
        if self.since is not None:
            self.since += now - self.disk_since
            self.progress_at += now - self.disk_since

    def lowest_rate(self, rate: int) -> float:
        """The average rate at which the peer has to read, in bytes a second: ``rate`` for a response that is in no
        file, and as much again for each MiB that its file holds. So no file is held for longer than a MiB takes at
        ``rate``.

        :param rate: bytes a second (``--write-rate``); 0: no such rule.
        """
        return rate * (1 + self.spooled / _RATE_STEP)

    def deadline(self, now: float, sent: int, timeout: float, rate: int) -> float:
        """When the next bytes have to be sent: within ``timeout`` of the last ones, and early enough for ``rate``.

        :param now: seconds on the engine's clock.
        :param sent: bytes that were just sent.
        :param timeout: seconds that may pass without progress, and seconds before ``rate`` applies.
        :param rate: see :meth:`lowest_rate`.
        """
        if self.since is None:
            self.since = self.progress_at = now
        elif sent:
            self.progress_at = now
        deadline = self.progress_at + timeout
        return min(deadline, self.since + timeout + self.sent / self.lowest_rate(rate)) if rate else deadline
