"""The pictures of histograms. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

__all__ = ["bars"]

_BARS = "\u2582\u2583\u2584\u2585\u2586\u2587\u2588"  # LOWER ONE QUARTER BLOCK to FULL BLOCK
_ASCII_BARS = ".:-=+*#"
_NOTHING = "\u2581", "_"


def bars(values: Iterable[float], *, unicode: bool = True) -> str:
    """One column for each value, as high as its share of the greatest; each that is not zero can be told from zero."""
    row: Sequence[float] = tuple(values)
    levels = _BARS if unicode else _ASCII_BARS
    nothing = _NOTHING[0 if unicode else 1]
    most = max(row, default=0)
    return "".join(
        nothing if value <= 0 else levels[min(int(value / most * len(levels)), len(levels) - 1)] for value in row
    )
