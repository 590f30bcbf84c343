"""Looks at a request line as its octets come, and stops at the first one that nothing legal can follow.

Runs on whichever thread owns the connection. The caller keeps position and state from one call to the next, so each
octet is looked at once however the input is split. The grammar is ``method SP target SP version CRLF`` (RFC 9112
section 3), or an empty line; what the three words mean is for ``requestline.py``.
"""

from __future__ import annotations

import re

from reserve.protocol.http1.fields import TOKEN_CLASS
from reserve.protocol.http1.requestline import TARGET_CLASS

__all__ = ["EMPTY", "ENDED", "START", "VERSION_END", "VERSION_READ", "WRONG", "scan_request_line"]

WRONG, ENDED, EMPTY, VERSION_READ, START, EMPTY_END, METHOD, TARGET_START, TARGET, VERSION_END, LINE_END = range(11)
"""States of a line. WRONG: the octet at the position cannot stand there. ENDED, EMPTY: the position is behind a line.
VERSION_READ: the three words are here; go on with VERSION_END. VERSION and above: within a version.
"""
VERSION = 11
VERSION_OCTETS = (b"H", b"T", b"T", b"P", b"/", b"0123456789", b".", b"0123456789")
TOKEN_RUN = re.compile(TOKEN_CLASS.encode() + b"*").match
TARGET_RUN = re.compile(TARGET_CLASS.encode() + b"*").match
LF = 10
CR = 13
SPACE = 32


def scan_request_line(data: bytes | bytearray, at: int, state: int) -> tuple[int, int]:
    """Go on at ``at`` in ``state``; return where and how it stopped: in one of the first four states, or at the end."""
    stop = len(data)
    while at < stop:
        octet = data[at]
        if state >= VERSION:
            if octet not in VERSION_OCTETS[state - VERSION]:
                return at, WRONG
            at += 1
            state += 1
            if state == VERSION + len(VERSION_OCTETS):
                return at, VERSION_READ
        elif state in (METHOD, TARGET):
            at = (TOKEN_RUN if state == METHOD else TARGET_RUN)(data, at).end()  # type: ignore[union-attr]
            if at < stop:
                if data[at] != SPACE:
                    return at, WRONG
                at += 1
                state = TARGET_START if state == METHOD else VERSION
        elif state == TARGET_START:
            state = TARGET
            if octet == SPACE:
                return at, WRONG
        elif state == START and octet != CR:
            state = METHOD
            if octet == SPACE:
                return at, WRONG
        elif state in (LINE_END, EMPTY_END):
            if octet != LF:
                return at, WRONG
            return at + 1, ENDED if state == LINE_END else EMPTY
        elif octet != CR:
            return at, WRONG
        else:
            at += 1
            state = EMPTY_END if state == START else LINE_END
    return at, state
