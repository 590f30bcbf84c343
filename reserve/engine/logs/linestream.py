"""Whole lines to a stream, past Python's buffers and their locks.

A thread that is stuck in a buffered stream holds the stream's lock, and then the interpreter never ends: the last thing
it does is to flush its standard streams. A thread that is stuck in ``write(2)`` holds nothing.

Used by one thread at a time, which may have to wait for a disk or a terminal.
"""

from __future__ import annotations

import io
import os
from collections.abc import Sequence
from itertools import accumulate
from typing import TextIO

from reserve.wait import wait_for

__all__ = ["LineStream"]


class LineStream:
    """Writes to the descriptor of ``stream``; to the stream itself when it has none."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._mid_line = False
        """The last octet that went out was not the end of a line."""
        self.error: Exception | None = None
        """Why the last lines did not go out; None: they did."""

    def write(self, lines: Sequence[str]) -> int:
        """Write the lines, which come without their ends, and return how many of them went out whole, the first ones.

        Never raises for a stream that is full, closed or without a reader: see :attr:`error`.
        """
        self.error = None
        if not lines:
            return 0
        fd = self._descriptor()
        pieces = [f"{line}\n".encode("utf-8", "backslashreplace") for line in lines]
        if fd < 0:
            return self._hand_on(b"".join(pieces).decode(), len(pieces))
        before = b"\n" if self._mid_line else b""
        data = before + b"".join(pieces)
        done = self._send(fd, data)
        if done:
            self._mid_line = data[done - 1] != 10
        return sum(end <= done - len(before) for end in accumulate(map(len, pieces)))

    def _descriptor(self) -> int:
        try:
            return self._stream.fileno()
        except (OSError, ValueError, AttributeError):  # in memory, or closed
            return -1

    def _hand_on(self, text: str, count: int) -> int:
        try:
            self._stream.write(text)
            self._stream.flush()
        except (OSError, ValueError) as error:
            self.error = error
            return 0
        return count

    def _send(self, fd: int, data: bytes) -> int:
        done = 0
        while done < len(data):
            try:
                done += os.write(fd, data[done : done + io.DEFAULT_BUFFER_SIZE])
            except BlockingIOError:  # whoever shares the terminal or pipe with us has made it so
                wait_for(fd, None, write=True)
            except OSError as error:
                self.error = error
                break
        return done
