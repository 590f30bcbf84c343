"""From styled lines to what a terminal is sent. Pure.

The sequences are those of ECMA-48 and the few of xterm that every terminal emulator has; no terminfo is read.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

from reserve.control.top.table import Line, Style

__all__ = ["ENTER", "LEAVE", "frame", "has_colours", "has_unicode"]

ENTER = "\x1b[?1049h\x1b[?25l\x1b[?7l\x1b[0m\x1b[2J"
"""To the alternate screen, without a cursor. Lines do not wrap: a character that the terminal takes to be wider than we
do can then move no line but its own."""
LEAVE = "\x1b[0m\x1b[?7h\x1b[?25h\x1b[?1049l"
_CLEAR = "\x1b[0m\x1b[2J"
_COLOURED = {
    Style.BOLD: "1", Style.DIM: "2", Style.GOOD: "32", Style.WARNING: "33", Style.BAD: "1;31", Style.HEADING: "30;46",
    Style.SELECTED: "7", Style.SELECTED_WARNING: "7;33", Style.SELECTED_BAD: "1;7;31",
}  # fmt: skip
_WITHOUT_COLOURS = {
    **_COLOURED,
    Style.GOOD: "0",
    Style.WARNING: "1",
    Style.BAD: "1",
    Style.HEADING: "1;4",
    Style.SELECTED_WARNING: "1;7",
    Style.SELECTED_BAD: "1;7",
}


def frame(lines: Sequence[Line], before: Sequence[Line] | None, *, colours: bool = True) -> str:
    """What changes the screen ``before`` into ``lines``.

    :param before: None: nothing is known of the screen.
    """
    known: Sequence[Line | None] = before if before is not None and len(before) == len(lines) else [None] * len(lines)
    pieces = [] if known is before else [_CLEAR]
    for number, (line, old) in enumerate(zip(lines, known, strict=True), 1):
        if line != old:
            pieces.append(f"\x1b[{number};1H\x1b[0m\x1b[2K{_painted(line, colours)}")
    return "".join(pieces)


def has_colours(environ: Mapping[str, str] = os.environ) -> bool:
    """Whether colours are wanted: not with ``NO_COLOR`` (no-color.org), if it is not empty."""
    return not environ.get("NO_COLOR")


def has_unicode(environ: Mapping[str, str] = os.environ) -> bool:
    """Whether the locale says UTF-8, and the font has block elements; that of the Linux console has few.

    Read from the variables, because the encoding of Python's streams is UTF-8 also in the locale C (PEP 540).
    """
    locale = next((value for name in ("LC_ALL", "LC_CTYPE", "LANG") if (value := environ.get(name))), "")
    return "utf8" in locale.lower().replace("-", "") and environ.get("TERM") != "linux"


def _painted(line: Line, colours: bool) -> str:
    codes = _COLOURED if colours else _WITHOUT_COLOURS
    pieces = []
    for text, style in line:
        code = codes.get(style)
        pieces.append(f"\x1b[{code}m{text}\x1b[0m" if code and text else text)
    return "".join(pieces)
