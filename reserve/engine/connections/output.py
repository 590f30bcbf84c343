"""What could not be sent at once: kept by reference, counted, and sent by the connection's owner when there is room.

Each object counts once, however often it waits: a list of forty references to one block holds one block.
"""

from __future__ import annotations

import math
import os
import socket
from collections import deque

from reserve.engine.connections.spool import SpoolFile

__all__ = ["PIECE", "FilePart", "Output"]

PIECE = 262144
"""Bytes offered to one send: more is copied into the kernel in vain when the buffer is full, and a kernel with large
buffers must not keep one connection's owner from the others.
"""
_SMALL = 4096  # bytes up to which neighbours are joined: a part of its own costs memory and a system call
_PART = 64  # bytes that a part takes beside its data


class FilePart:
    """A range of a file that is sent from the page cache, at explicit offsets; owned by an :class:`Output`.

    It has a descriptor of its own (a duplicate): the application's file may be closed, moved or read further meanwhile.

    :param fd: descriptor of a regular file.
    :param offset: of the first byte.
    :param count: bytes.
    :param spool: a range of the output's own spool file, which the next range may be joined to.
    """

    __slots__ = ("fd", "left", "offset", "spool")

    def __init__(self, fd: int, offset: int, count: int, *, spool: bool = False) -> None:
        self.fd = os.dup(fd)
        self.offset = offset
        self.left = count
        self.spool = spool

    def send(self, sock: socket.socket) -> int:
        """Send some of it. Raises BlockingIOError when there is no room, OSError when the file ends too early."""
        target = sock.fileno()
        if target >= 0 and hasattr(os, "sendfile"):
            sent = os.sendfile(target, self.fd, self.offset, min(self.left, PIECE))
        else:  # no such call on this platform, or a socket that is not the system's
            count = min(self.left, 65536)
            if hasattr(os, "pread"):
                piece = os.pread(self.fd, count, self.offset)
            else:
                os.lseek(self.fd, self.offset, os.SEEK_SET)
                piece = os.read(self.fd, count)
            sent = sock.send(piece) if piece else 0
        if sent == 0:
            raise OSError("the file became shorter while it was sent")
        self.offset += sent
        self.left -= sent
        return sent

    def close(self) -> None:
        os.close(self.fd)


class Output:
    """A queue of bytes and ranges of files; owned by a connection, and used by the connection's owner only."""

    __slots__ = (
        "_objects",
        "_parts",
        "_spool",
        "held",
        "progress_at",
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
        """The memory that they take, which is less when parts refer to the same object."""
        self.spooled = 0
        """Bytes that were moved to the spool file so far."""
        self.sent = 0
        """Bytes that have left since there was no room for all."""
        self.since: float | None = None
        """When there was no room for the first time, in seconds on the engine's clock."""
        self.progress_at = 0.0
        """When bytes last left, or ``since``."""

    def append(self, data: bytes | memoryview) -> None:
        part = data if type(data) is bytes else memoryview(data)
        parts = self._parts
        last = parts[-1] if len(parts) > 1 else None  # never the first, of which a send may have been tried already
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
        self._parts.append(part)

    def spill(self, folder: str | None) -> None:
        """Move what waits in memory to a file without a name. Blocks on the disk, so a worker calls it.

        :param folder: where the file is made; None: the system's directory for temporary files.

        Raises OSError when the disk is full; what has not been moved then still waits in memory.
        """
        if self._spool is None:
            self._spool = SpoolFile(folder, "reserve-response-")
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
        """Write one part to the end of the file; None when the range before it now covers it, too."""
        count, offset = len(part), spool.size
        spool.append(part)
        new = None
        if isinstance(last, FilePart) and last.spool and last.offset + last.left == offset:
            last.left += count
        else:
            new = FilePart(spool.file.fileno(), offset, count, spool=True)
        self.spooled += count
        self.size -= count
        self._release(part)
        return new

    def _hold(self, part: bytes | memoryview) -> None:
        whole = part.obj if type(part) is memoryview else part
        self.held += _PART
        if len(whole) < _SMALL:  # type: ignore[arg-type]  # of what has a length a view is made
            self.held += len(whole)  # type: ignore[arg-type]
            return
        entry = self._objects.get(id(whole))  # the object lives, and keeps its number, as long as its parts
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

    def flush(self, sock: socket.socket, limit: float = math.inf) -> tuple[bool, int]:
        """Send until nothing waits (True), or there is no room or ``limit`` bytes have left (False).

        Returns that and the number of bytes that have left. Raises OSError when the connection, or a file, fails.
        """
        parts = self._parts
        total = 0
        try:
            while parts:
                if total >= limit:
                    return False, total
                part = parts[0]
                if isinstance(part, FilePart):
                    total += part.send(sock)
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
        """Discard what waits."""
        while self._parts:
            part = self._parts.popleft()
            if isinstance(part, FilePart):
                part.close()
        self._objects.clear()
        self.size = self.held = 0
        self.close_spool()

    def close_spool(self) -> None:
        """Give the spool file back; ranges of it that wait have descriptors of their own."""
        if self._spool is not None:
            self._spool.close()
            self._spool = None

    def deadline(self, now: float, sent: int, timeout: float, rate: int) -> float:
        """When the next bytes have to leave: soon after the last ones, and at a minimum rate on the whole.

        :param now: seconds on the engine's clock.
        :param sent: bytes that have just left.
        :param timeout: seconds without progress that are allowed, and the time before ``rate`` counts.
        :param rate: bytes a second; 0: no such rule.
        """
        if self.since is None:
            self.since = self.progress_at = now
        elif sent:
            self.progress_at = now
        deadline = self.progress_at + timeout
        return min(deadline, self.since + timeout + self.sent / rate) if rate else deadline
