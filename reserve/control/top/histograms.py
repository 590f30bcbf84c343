"""Histograms of the document: their differences, their quantiles, and their pictures. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

__all__ = ["Histogram", "bars"]

_BARS = "\u2582\u2583\u2584\u2585\u2586\u2587\u2588"  # LOWER ONE QUARTER BLOCK to FULL BLOCK
_ASCII_BARS = ".:-=+*#"
_NOTHING = "\u2581", "_"


@dataclass(frozen=True, slots=True)
class Histogram:
    """How many durations were in each bucket."""

    bounds: tuple[float, ...] = ()
    """The upper bound of each bucket but the last, in seconds, ascending."""
    counts: tuple[int, ...] = ()
    """One more than ``bounds``: the last bucket has no upper bound."""

    @property
    def count(self) -> int:
        """How many durations there are."""
        return sum(self.counts)

    def since(self, earlier: Histogram) -> Histogram:
        """What has come since an earlier state. If the server was restarted meanwhile, everything."""
        if self.bounds != earlier.bounds:
            return self
        counts = tuple(a - b for a, b in zip(self.counts, earlier.counts, strict=True))
        return self if any(count < 0 for count in counts) else Histogram(self.bounds, counts)

    def quantile(self, share: float) -> float | None:
        """The duration that ``share`` of all do not exceed, in seconds; None: there are none.

        Within a bucket the durations are taken to be spread evenly, as Prometheus does (``histogram_quantile``). In the
        last bucket it is infinity: the durations there are longer than every bound.
        """
        rank, below = share * self.count, 0
        if not rank:
            return None
        lower = 0.0
        for bound, count in zip((*self.bounds, math.inf), self.counts, strict=True):
            if count and below + count >= rank:
                return bound if math.isinf(bound) else lower + (bound - lower) * (rank - below) / count
            below += count
            lower = bound
        return math.inf


def bars(values: Iterable[float], *, unicode: bool = True) -> str:
    """One column for each value, as high as its share of the greatest; each that is not zero can be told from zero."""
    row: Sequence[float] = tuple(values)
    levels = _BARS if unicode else _ASCII_BARS
    nothing = _NOTHING[0 if unicode else 1]
    most = max(row, default=0)
    return "".join(
        nothing if value <= 0 else levels[min(int(value / most * len(levels)), len(levels) - 1)] for value in row
    )
