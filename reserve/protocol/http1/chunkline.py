"""The scanner of a chunk-size line (RFC 9112 sections 7.1 and 7.1.1).

A pure function with a table of states; the thread that owns the connection calls it with the bytes that have arrived,
and it makes one step for each byte:

    chunk-size [ *( BWS ";" BWS name [ BWS "=" BWS ( token / quoted-string ) ] ) ] CRLF

A size has at most sixteen digits. Whitespace (BWS) is allowed only where the grammar has it before ``;``, ``=``, a name
or a value, so never before the line end.
"""

from __future__ import annotations

import string

__all__ = ["HEX_DIGITS", "LINE_COMPLETE", "LINE_INVALID", "LINE_START", "SIZE_DIGITS", "scan_chunk_line"]

SIZE_DIGITS = 16
"""As many as a 64-bit length can have; leading zeros count."""

# States of the scanner. LINE_INVALID: the byte at the position is not allowed there; LINE_COMPLETE: the position is
# after the line end. From LINE_START on the state counts the digits of the size.
LINE_INVALID, LINE_COMPLETE = 0, 1
(
    BEFORE_LF, AFTER_SPACE, NAME_START, IN_NAME, AFTER_NAME, VALUE_START, IN_VALUE, IN_QUOTES, AFTER_BACKSLASH,
    AFTER_QUOTES, LINE_START,
) = range(2, 13)  # fmt: skip
LAST_DIGIT = LINE_START + SIZE_DIGITS

HEX_DIGITS = string.hexdigits.encode()
SPACES = b" \t"
TCHARS = ("!#$%&'*+-.^_`|~" + string.digits + string.ascii_letters).encode()
QUOTED_TEXT = b"\t " + bytes(range(0x21, 0x7F)) + bytes(range(0x80, 0x100))


def _transitions(*transitions: tuple[bytes, int]) -> bytes:
    """The next state for each byte; a later pair takes precedence over an earlier one."""
    row = bytearray(256)
    for accepted, state in transitions:
        for byte in accepted:
            row[byte] = state
    return bytes(row)


_END_OR_EXTENSION = ((b"\r", BEFORE_LF), (b";", NAME_START))
_TRANSITIONS = {
    BEFORE_LF: _transitions((b"\n", LINE_COMPLETE)),
    AFTER_SPACE: _transitions((SPACES, AFTER_SPACE), (b";", NAME_START)),
    NAME_START: _transitions((SPACES, NAME_START), (TCHARS, IN_NAME)),
    IN_NAME: _transitions((TCHARS, IN_NAME), (SPACES, AFTER_NAME), (b"=", VALUE_START), *_END_OR_EXTENSION),
    AFTER_NAME: _transitions((SPACES, AFTER_NAME), (b"=", VALUE_START), (b";", NAME_START)),
    VALUE_START: _transitions((SPACES, VALUE_START), (TCHARS, IN_VALUE), (b'"', IN_QUOTES)),
    IN_VALUE: _transitions((TCHARS, IN_VALUE), (SPACES, AFTER_SPACE), *_END_OR_EXTENSION),
    IN_QUOTES: _transitions((QUOTED_TEXT, IN_QUOTES), (b'"', AFTER_QUOTES), (b"\\", AFTER_BACKSLASH)),
    AFTER_BACKSLASH: _transitions((QUOTED_TEXT, IN_QUOTES)),
    AFTER_QUOTES: _transitions((SPACES, AFTER_SPACE), *_END_OR_EXTENSION),
    LINE_START: _transitions((HEX_DIGITS, LINE_START + 1)),
    **{
        state: _transitions((HEX_DIGITS, state + 1), (SPACES, AFTER_SPACE), *_END_OR_EXTENSION)
        for state in range(LINE_START + 1, LAST_DIGIT)
    },
    LAST_DIGIT: _transitions((SPACES, AFTER_SPACE), *_END_OR_EXTENSION),
}
TABLE = [_TRANSITIONS.get(state, b"") for state in range(LAST_DIGIT + 1)]


def scan_chunk_line(data: bytes, at: int, stop: int, state: int) -> tuple[int, int]:
    """Check ``data`` from ``at`` up to ``stop``, the end of the line, or the first byte that is not allowed.

    The caller passes the returned position and state to the next call, so each byte is checked once however the input
    is split.

    :param state: :data:`LINE_START` for a new line, then what the last call returned.
    :return: the position and the state there: LINE_INVALID, LINE_COMPLETE, or any state at ``stop``.
    """
    table = TABLE
    while at < stop:
        state = table[state][data[at]]
        if state <= LINE_COMPLETE:
            return at + state, state
        at += 1
    return at, state
