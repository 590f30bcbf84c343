"""What could not be sent at once: kept by reference, counted, and sent by whoever owns the connection when there is
room.

Each object counts once, however often it waits: a list of forty references to one block holds one block.
"""

from __future__ import annotations

import math
import os
import socket
import tempfile
from collections import deque
from typing import BinaryIO

__all__ = ["PIECE", "FilePart", "Output"]

PIECE = 262144
"""Octets offered to one send: more is copied into the kernel in vain when the buffer is full, and a kernel with large
buffers must not keep one connection's owner from the others.
"""
_SMALL = 4096  # octets up to which neighbours are joined: a part of its own costs memory and a system call
_PART = 64  # octets that a part takes beside its data


class FilePart:
    """A stretch of a file that is sent from the page cache, at explicit offsets.

    Owns its descriptor (a duplicate): the application's file may be closed, moved or read further meanwhile.
    """

    __slots__ = ("fd", "left", "offset", "spool")

    def __init__(self, fd: int, offset: int, count: int, *, spool: bool = False) -> None:
        self.fd = os.dup(fd)
        self.offset = offset
        self.left = count
        self.spool = spool
        """A stretch of the output's own spool file: the next stretch may be joined to it."""

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
    """A queue of octets and stretches of files. Used by the connection's owner only."""

    __slots__ = (
        "_objects",
        "_parts",
        "_spool",
        "_spool_end",
        "gone",
        "held",
        "progress_at",
        "since",
        "size",
        "spooled",
    )

    def __init__(self) -> None:
        self._parts: deque[bytes | memoryview | FilePart] = deque()
        self._spool: BinaryIO | None = None
        self._spool_end = 0
        self._objects: dict[int, list[int]] = {}  # of each object that waits: how many parts are of it, and its octets
        self.size = 0
        """Octets that wait here and are not in files."""
        self.held = 0
        """The memory that they take, which is less when parts are of the same object."""
        self.spooled = 0
        """Octets that were moved to the spool file so far."""
        self.gone = 0
        """Octets that have left since there was no room for all."""
        self.since: float | None = None
        """When it was first found that there was no room."""
        self.progress_at = 0.0
        """When octets last left, or ``since``."""

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

        Raises OSError when the disk is full; what has not been moved then still waits in memory.
        """
        if self._spool is None:
            self._spool = tempfile.TemporaryFile(dir=folder, prefix="reserve-answer-", buffering=0)  # noqa: SIM115
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
        self, spool: BinaryIO, part: bytes | memoryview, last: bytes | memoryview | FilePart | None
    ) -> FilePart | None:
        """Write one part to the end of the file; None when the stretch before it now covers it, too."""
        count = len(part)
        spool.seek(self._spool_end)
        rest = memoryview(part)
        while rest:
            rest = rest[spool.write(rest) :]
        stretch = None
        if isinstance(last, FilePart) and last.spool and last.offset + last.left == self._spool_end:
            last.left += count
        else:
            stretch = FilePart(spool.fileno(), self._spool_end, count, spool=True)
        self._spool_end += count
        self.spooled += count
        self.size -= count
        self._release(part)
        return stretch

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
        """Send until all is gone (True), or there is no room or ``limit`` octets have left (False); with their number.

        Raises OSError when the connection, or a file, fails.
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
            self.gone += total
        self.close_spool()
        return True, total

    def close(self) -> None:
        """Throw away what is left."""
        while self._parts:
            part = self._parts.popleft()
            if isinstance(part, FilePart):
                part.close()
        self._objects.clear()
        self.size = self.held = 0
        self.close_spool()

    def close_spool(self) -> None:
        """Give the spool file back; stretches of it that wait have descriptors of their own."""
        if self._spool is not None:
            self._spool.close()
            self._spool = None

    def deadline(self, now: float, sent: int, timeout: float, rate: int) -> float:
        """When the next octets have to leave: soon after the last ones, and at a minimum rate on the whole.

        :param sent: octets that have just left.
        :param timeout: seconds without progress that are allowed, and the time before ``rate`` counts.
        :param rate: octets a second; 0: no such rule.
        """
        if self.since is None:
            self.since = self.progress_at = now
        elif sent:
            self.progress_at = now
        deadline = self.progress_at + timeout
        return min(deadline, self.since + timeout + self.gone / rate) if rate else deadline
