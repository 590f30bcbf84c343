"""Numbers as the status page shows them: bytes, times, counts. Pure functions; any thread may call them."""

from __future__ import annotations

__all__ = ["NONE", "bytes_text", "count_text", "seconds_text", "share_of", "span_text", "visible"]

NONE = "\N{EN DASH}"
"""What stands for a number that is not known."""
_MAX_TEXT = 200
"""Characters of a text of a client that are shown."""
_UNITS = ("KiB", "MiB", "GiB", "TiB")


def visible(text: str, most: int = _MAX_TEXT) -> str:
    """A text of a client, as its path, cut and without what moves the text around it: control characters, and the marks
    that turn the direction of writing.
    """
    shown = "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in text[:most])
    return shown + ("\N{HORIZONTAL ELLIPSIS}" if len(text) > most else "")


def count_text(count: int) -> str:
    """``1 234 567``, with narrow spaces that do not break. A negative number is unknown."""
    return NONE if count < 0 else f"{count:,}".replace(",", "\N{NARROW NO-BREAK SPACE}")


def bytes_text(size: int) -> str:
    """``512 B``, ``1.5 MiB``. A negative size is unknown."""
    if size < 0:
        return NONE
    if size < 1024:
        return f"{size}\N{NO-BREAK SPACE}B"
    value, power = size / 1024, 0
    while value >= 1023.5 and power + 1 < len(_UNITS):
        value, power = value / 1024, power + 1
    return f"{value:.{0 if value >= 99.95 else 1}f}\N{NO-BREAK SPACE}{_UNITS[power]}"


def seconds_text(seconds: float) -> str:
    """A duration of a request: ``0.8 ms``, ``25 ms``, ``1.2 s``, ``2 min 5 s``."""
    if seconds < 0.9995:
        milliseconds = seconds * 1000
        return f"{milliseconds:.{1 if milliseconds < 9.95 else 0}f}\N{NO-BREAK SPACE}ms"
    if seconds < 59.95:
        return f"{seconds:.1f}\N{NO-BREAK SPACE}s"
    return span_text(seconds)


def span_text(seconds: float) -> str:
    """A time since a start, with its two largest units: ``12 s``, ``2 min 5 s``, ``3 d 4 h``."""
    rest = max(int(seconds), 0)
    parts: list[str] = []
    for name, size in (("d", 86400), ("h", 3600), ("min", 60), ("s", 1)):
        if rest >= size or parts or size == 1:
            parts.append(f"{rest // size}\N{NO-BREAK SPACE}{name}")
        rest %= size
    return " ".join(parts[:2])


def share_of(used: float, limit: float) -> float | None:
    """How much of a limit is used, from 0 to 1; None: there is no limit, or the number is unknown."""
    return None if limit <= 0 or used < 0 else min(used / limit, 1.0)
