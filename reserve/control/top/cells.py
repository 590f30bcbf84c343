"""Text in the cells of a terminal: what may be shown of it, how many columns it takes, and how it is cut and padded.

Pure. A client chooses the path of its request, so its text may contain anything: control characters that move the
cursor, characters that a terminal combines with the one before or writes from right to left, and characters two columns
wide. :func:`printable` escapes all that could move what stands beside it. The text that it returns consists of
characters of one or two columns.
"""

from __future__ import annotations

import unicodedata

__all__ = ["fit", "printable", "width_of"]

_RIGHT_TO_LEFT = {"R", "AL", "AN"}
"""Classes of the Unicode bidirectional algorithm; some terminals reorder a line that contains a character of one."""
_COMBINING = {"Mn", "Mc", "Me"}
_JOINING = (
    (0x1160, 0x11FF),  # vowels and finals of Hangul, which join the consonant before
    (0xD7B0, 0xD7FF),
    (0x1F1E6, 0x1F1FF),  # two of them are one flag
    (0x1F3FB, 0x1F3FF),  # the colours of the emoji before
)
"""Ranges of printable characters that a terminal draws together with the one before."""


def printable(text: str, *, unicode: bool = True, most: int = 512) -> str:
    r"""The text on one line, with escapes as in a string of Python (``\x1b``) for what must not reach a terminal.

    :param unicode: False: escape everything that is not ASCII.
    :param most: characters of ``text`` that are looked at; more are never shown.
    """
    text = text[:most]
    if text.isascii() and text.isprintable():
        return text
    return "".join(c if _is_safe(c, unicode) else _escape(c) for c in text)


def width_of(text: str) -> int:
    """The columns that a text from :func:`printable` takes."""
    if text.isascii():
        return len(text)
    return sum(map(_width, text))


def fit(text: str, width: int, *, right: bool = False, ellipsis: str = "~") -> str:
    """A text from :func:`printable`, cut or padded to exactly ``width`` columns.

    :param right: align it to the right.
    :param ellipsis: one column, the sign of a cut.
    """
    if width <= 0:
        return ""
    used = width_of(text)
    if used > width:
        kept: list[str] = []
        used = 1
        for c in text:
            if used + _width(c) > width:
                break
            kept.append(c)
            used += _width(c)
        text = "".join(kept) + ellipsis
    padding = " " * (width - used)
    return padding + text if right else text + padding


def _width(c: str) -> int:
    return 2 if unicodedata.east_asian_width(c) in "WF" else 1


def _is_safe(c: str, unicode: bool) -> bool:
    if c.isascii():
        return c.isprintable()
    return (
        unicode
        and c.isprintable()
        and unicodedata.category(c) not in _COMBINING
        and unicodedata.bidirectional(c) not in _RIGHT_TO_LEFT
        and not any(first <= ord(c) <= last for first, last in _JOINING)
    )


def _escape(c: str) -> str:
    number = ord(c)
    if number < 0x100:
        return f"\\x{number:02x}"
    return f"\\u{number:04x}" if number < 0x10000 else f"\\U{number:08x}"
