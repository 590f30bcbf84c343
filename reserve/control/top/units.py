"""Numbers as a person reads them in few columns. Pure; every result is ASCII."""

from __future__ import annotations

import math

__all__ = ["per_second", "short_bytes", "short_count", "short_duration", "short_seconds"]

UNKNOWN = "-"
"""What stands for a number that is not known, as a rate before the second sample."""


def short_count(value: float) -> str:
    """``0`` to ``9999``, then ``12.3k``, ``4.5M``; at most six columns below 10^15."""
    for unit in "", "k", "M", "G", "T":
        if abs(value) < (9999.5 if not unit else 999.95):
            return f"{value:.0f}" if not unit else f"{value:.1f}{unit}"
        value /= 1000
    return f"{value:.1f}P"


def per_second(value: float | None) -> str:
    """A rate: ``0``, ``0.25``, ``3.5``, ``120``, ``12.3k``; ``-`` when there is none."""
    if value is None:
        return UNKNOWN
    if value == 0 or value >= 99.95:
        return short_count(value)
    return f"{value:.1f}" if value >= 0.95 else f"{value:.2f}"


def short_bytes(value: float | None) -> str:
    """Bytes with a binary unit: ``512B``, ``1.5K``, ``120M``, ``2.0G``; at most five columns; ``-`` when unknown."""
    if value is None:
        return UNKNOWN
    for unit in "BKMGT":
        if value < 999.5:
            return f"{value:.0f}{unit}" if unit == "B" or value >= 9.95 else f"{value:.1f}{unit}"
        value /= 1024
    return f"{value:.0f}P"


def short_seconds(value: float | None) -> str:
    """A time that something takes: ``800us``, ``12ms``, ``1.5s``, ``42s``; ``-`` when unknown.

    Infinity, which is beyond the last bucket of a histogram, is ``inf``.
    """
    if value is None:
        return UNKNOWN
    if math.isinf(value):
        return "inf"
    if value < 0.0009995:
        return f"{value * 1e6:.0f}us"
    if value < 0.9995:
        return f"{value * 1e3:.1f}ms" if value < 0.00995 else f"{value * 1e3:.0f}ms"
    return f"{value:.1f}s" if value < 99.95 else short_duration(value)


def short_duration(value: float) -> str:
    """A time that goes on: ``3s``, ``2m05s``, ``3h12m``, ``4d06h``."""
    seconds = max(int(value), 0)
    if seconds < 60:
        return f"{seconds}s"
    if seconds < 3600:
        return f"{seconds // 60}m{seconds % 60:02}s"
    if seconds < 86400:
        return f"{seconds // 3600}h{seconds // 60 % 60:02}m"
    return f"{seconds // 86400}d{seconds // 3600 % 24:02}h"
