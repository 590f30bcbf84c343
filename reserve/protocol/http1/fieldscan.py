"""Looks at a field line as its octets come, and stops at the first one that nothing legal can follow.

For heads and trailers; runs on whichever thread owns the connection. The caller keeps position and state from one call
to the next, so each octet is looked at once however the input is split. The line is a field line (RFC 9112 section 5)
or empty, and nothing but CRLF ends it.
"""

from __future__ import annotations

import re

from reserve.protocol.http1.fields import TOKEN_CLASS, VALUE_CLASS

__all__ = ["ENDED", "START", "WRONG", "scan_field_line"]

WRONG, ENDED, START, NAME, VALUE, LINE_END = range(6)
"""States of a line. WRONG: the octet at the position cannot stand there. ENDED: the position is behind the line."""

FIELD_LINE = re.compile(rf"{TOKEN_CLASS}+:{VALUE_CLASS}*\r\n".encode()).match
TOKEN_RUN = re.compile(TOKEN_CLASS.encode() + rb"*").match
VALUE_RUN = re.compile(VALUE_CLASS.encode() + rb"*").match
LF = 10
CR = 13
COLON = 58


def scan_field_line(data: bytes | bytearray, at: int, state: int) -> tuple[int, int]:
    """Go on at ``at`` in ``state``; return where and how it stopped: WRONG, ENDED, or at the end of ``data``."""
    if state == START:
        whole = FIELD_LINE(data, at)
        if whole is not None:
            return whole.end(), ENDED
    stop = len(data)
    while at < stop:
        if state == VALUE:
            at = VALUE_RUN(data, at).end()  # type: ignore[union-attr]
            if at < stop:
                if data[at] != CR:
                    return at, WRONG
                at += 1
                state = LINE_END
        elif state == LINE_END:
            return (at + 1, ENDED) if data[at] == LF else (at, WRONG)
        else:
            end = TOKEN_RUN(data, at).end()  # type: ignore[union-attr]
            if end > at:
                state = NAME
            at = end
            if at < stop:
                octet = data[at]
                if octet == COLON and state == NAME:
                    state = VALUE
                elif octet == CR and state == START:
                    state = LINE_END
                else:
                    return at, WRONG
                at += 1
    return at, state
