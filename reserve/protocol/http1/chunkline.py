"""Looks at a chunk-size line as its octets come, and stops at the first one that nothing legal can follow.

Runs on whichever thread owns the connection. A table of states, one octet a step (RFC 9112 section 7.1 and 7.1.1):

    chunk-size [ *( BWS ";" BWS name [ BWS "=" BWS ( token / quoted-string ) ] ) ] CRLF

A size has sixteen digits at most, and a blank must be followed by what the grammar has behind it: there is none in
front of the line end.
"""

from __future__ import annotations

import string

__all__ = ["ENDED", "SIZE_DIGITS", "START", "WRONG", "scan_chunk_line"]

SIZE_DIGITS = 16
"""As many as a length of 64 bits can have; zeros in front count too."""

WRONG, ENDED = 0, 1
"""The octet at the position cannot stand there; the position is behind the line."""
(LINE_END, GAP, NAME_START, NAME, NAME_GAP, VALUE_START, VALUE, QUOTED, ESCAPED, QUOTE_END, START) = range(2, 13)
LAST_SIZE = START + SIZE_DIGITS

HEX = string.hexdigits.encode()
BLANK = b" \t"
TCHAR = ("!#$%&'*+-.^_`|~" + string.digits + string.ascii_letters).encode()
TEXT = b"\t " + bytes(range(0x21, 0x7F)) + bytes(range(0x80, 0x100))


def _moves(*moves: tuple[bytes, int]) -> bytes:
    """The next state for each octet; a later pair wins over an earlier one."""
    row = bytearray(256)
    for octets, state in moves:
        for octet in octets:
            row[octet] = state
    return bytes(row)


_BEHIND = ((b"\r", LINE_END), (b";", NAME_START))
_TABLE = {
    LINE_END: _moves((b"\n", ENDED)),
    GAP: _moves((BLANK, GAP), (b";", NAME_START)),
    NAME_START: _moves((BLANK, NAME_START), (TCHAR, NAME)),
    NAME: _moves((TCHAR, NAME), (BLANK, NAME_GAP), (b"=", VALUE_START), *_BEHIND),
    NAME_GAP: _moves((BLANK, NAME_GAP), (b"=", VALUE_START), (b";", NAME_START)),
    VALUE_START: _moves((BLANK, VALUE_START), (TCHAR, VALUE), (b'"', QUOTED)),
    VALUE: _moves((TCHAR, VALUE), (BLANK, GAP), *_BEHIND),
    QUOTED: _moves((TEXT, QUOTED), (b'"', QUOTE_END), (b"\\", ESCAPED)),
    ESCAPED: _moves((TEXT, QUOTED)),
    QUOTE_END: _moves((BLANK, GAP), *_BEHIND),
    START: _moves((HEX, START + 1)),
    **{state: _moves((HEX, state + 1), (BLANK, GAP), *_BEHIND) for state in range(START + 1, LAST_SIZE)},
    LAST_SIZE: _moves((BLANK, GAP), *_BEHIND),
}
TABLE = [_TABLE.get(state, b"") for state in range(LAST_SIZE + 1)]


def scan_chunk_line(data: bytes, at: int, stop: int, state: int) -> tuple[int, int]:
    """Go on at ``at`` in ``state``; return where and how it stopped: WRONG, ENDED, or at ``stop``."""
    table = TABLE
    while at < stop:
        state = table[state][data[at]]
        if state <= ENDED:
            return at + state, state
        at += 1
    return at, state
