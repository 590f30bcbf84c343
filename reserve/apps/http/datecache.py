"""The Date line of answers, made once a second.

Any thread. Two threads may make the same line at the same time; both are right. A wall clock that was set back or
forth is followed with the next answer.
"""

from __future__ import annotations

import time

from reserve.protocol.http1.response import http_date

__all__ = ["DateCache"]


class DateCache:
    """:meth:`line` gives ``Date: …`` with its line end (RFC 9110 section 6.6.1)."""

    __slots__ = ("_cached",)

    def __init__(self) -> None:
        self._cached = (0, b"")

    def line(self) -> bytes:
        second = int(time.time())
        cached = self._cached
        if cached[0] != second:
            cached = self._cached = second, f"Date: {http_date(second)}\r\n".encode("ascii")
        return cached[1]
