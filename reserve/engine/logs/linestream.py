"""Whole lines to a stream, written to its descriptor: past Python's buffers and their locks.

A thread that is stuck in a buffered stream holds the stream's lock, and then the interpreter never ends, because the
last thing it does is to flush its standard streams. A thread that is stuck in ``write(2)`` holds nothing.

Used by one thread at a time, which may have to wait for a disk or a terminal.
"""

from __future__ import annotations

import errno
import io
import os
import select
import stat
import time
from collections.abc import Callable, Sequence
from typing import TextIO

from reserve.wait import wait_for

__all__ = ["LineStream", "LossCounter"]

_PIPE_BUF: int = getattr(select, "PIPE_BUF", 512)
_FILE_PIECE = 1 << 20
"""Bytes that are written to a file at once: a write at its end is not mixed with those of other processes."""


class LineStream:
    """Writes to the descriptor of ``stream``; to the stream itself when it has none. Owned by one log."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._identity = _identity_of_socket(self._descriptor())
        """What the descriptor was at first, if a socket (that of a log service); None: something else."""
        self._mid_line = False
        """The last byte that was written is not the end of a line."""
        self.error: Exception | None = None
        """Why the last lines were not written; None: they were."""

    def write(self, lines: Sequence[str]) -> int:
        """Write lines, given without their ends, and return how many of them, from the first, were written whole.

        Never raises for a stream that is full, closed or without a reader: see :attr:`error`.
        """
        return self.send("\n".join((*lines, "")).encode("utf-8", "backslashreplace") if lines else b"", len(lines))

    def send(self, data: bytes, count: int) -> int:
        """:meth:`write` for lines that are encoded.

        :param data: the lines in UTF-8, each with its end.
        :param count: of the lines.
        """
        self.error = None
        if not data:
            return 0
        fd = self._descriptor()
        if fd < 0:
            return self._write_text(data.decode(), count)
        before = b"\n" if self._mid_line else b""
        data = before + data
        done = self._send(fd, data)
        if done:
            self._mid_line = data[done - 1] != 10
        return count if done == len(data) else data.count(b"\n", len(before), max(done, len(before)))

    @property
    def socket(self) -> tuple[int, int] | None:
        """Device and inode of what the descriptor is now, if that is a socket; None: it is not."""
        return _identity_of_socket(self._descriptor())

    def _descriptor(self) -> int:
        try:
            return self._stream.fileno()
        except (OSError, ValueError, AttributeError):  # in memory, or closed
            return -1

    def _write_text(self, text: str, count: int) -> int:
        try:
            self._stream.write(text)
            self._stream.flush()
        except (OSError, ValueError) as error:
            self.error = error
            return 0
        return count

    def _send(self, fd: int, data: bytes) -> int:
        done = 0
        most, identity = _look_at(fd)
        if identity not in (None, self._identity):
            # The application has closed the descriptor, and a connection has its number now: that of a client.
            self.error = OSError(errno.EBADF, "its descriptor was closed, and its number belongs to a socket now")
            return 0
        while done < len(data):
            try:
                # Another process may write to it as well, between two pieces: each is whole lines.
                end = data.rfind(b"\n", done, done + most) + 1 or data.find(b"\n", done) + 1
                done += os.write(fd, data[done:end])
            except BlockingIOError:  # another process that shares the terminal or pipe has made it so
                wait_for(fd, None, write=True)
            except OSError as error:
                self.error = error
                break
        return done


def _look_at(fd: int) -> tuple[int, tuple[int, int] | None]:
    """How many bytes are written to a descriptor at once, unless a line is longer, and its :func:`_identity_of_socket`.

    To a pipe they are what it takes as a whole (POSIX, PIPE_BUF).
    """
    try:
        os.lseek(fd, 0, os.SEEK_CUR)  # costs a fifth of fstat()
    except OSError:  # it is closed, or has no position: a pipe, a socket, a terminal
        pass
    else:
        return _FILE_PIECE, None
    try:
        status = os.fstat(fd)
    except OSError:
        return io.DEFAULT_BUFFER_SIZE, None
    piece = _PIPE_BUF if stat.S_ISFIFO(status.st_mode) else io.DEFAULT_BUFFER_SIZE
    return piece, _socket_identity(status)


def _identity_of_socket(fd: int) -> tuple[int, int] | None:
    """What tells a socket from every other one; None: it is none, or closed."""
    try:
        return _socket_identity(os.fstat(fd))
    except OSError:
        return None


def _socket_identity(status: os.stat_result) -> tuple[int, int] | None:
    return (status.st_dev, status.st_ino) if stat.S_ISSOCK(status.st_mode) else None


class LossCounter:
    """Decides when it is reported that log lines are lost: when that begins, and with their number when it is over.

    One for each log; used by the log's thread alone.

    :param on_first: called with the reason when the first line is lost.
    :param on_over: called with their number when a line could be written again, or at the last.
    :param now: seconds on a monotonic clock.
    """

    SPAN = 1.0
    """Seconds between two reports of the number: a disk that is full one moment and not the next is full for long."""

    def __init__(
        self,
        on_first: Callable[[Exception | None], object],
        on_over: Callable[[int], object],
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._on_first = on_first
        self._on_over = on_over
        self._now = now
        self._not_before = float("-inf")
        self.lost = 0
        """Lines lost that are not reported."""

    def count(self, lost: int, error: Exception | None) -> None:
        """After each attempt to write.

        :param lost: how many of its lines are lost.
        :param error: why.
        """
        if lost:
            if not self.lost:
                self._on_first(error)
            self.lost += lost
        elif self.lost and self._now() >= self._not_before:
            self.close()
            self._not_before = self._now() + self.SPAN

    def close(self) -> None:
        """Report what is not reported yet."""
        if self.lost:
            lost, self.lost = self.lost, 0
            self._on_over(lost)
