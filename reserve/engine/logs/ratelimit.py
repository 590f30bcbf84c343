"""A limit for log lines of the same kind: the first for each reason is written, the others of its second are counted.

A flood of bad clients must not fill a disk, and must not hide that it happens. The callers choose the kinds, which are
few. The lines of one kind ("requests refused with 400") have different reasons, which an operator has to see; a client
chooses a part of them, so their number is limited. The log grows by at most :data:`MAX_REASONS` lines and one count a
second for each kind, however many clients there are.

Used by the log's thread alone.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

__all__ = ["MAX_REASONS", "RateLimiter", "reason_of"]

MAX_REASONS = 8
"""How many different reasons of one kind are written in one second."""

_CLIENTS_PART = re.compile(r"'[^']*'|\"[^\"]*\"|0x[0-9a-f]+|[0-9]+")
_LOOKED_AT = 500
"""Characters of a line that are searched for its reason; more would cost the log's thread too much in a flood."""


def reason_of(text: str) -> str:
    """What distinguishes a line from others of its kind: without the address that it begins with, what is quoted in it,
    and numbers.
    """
    text = text[:_LOOKED_AT]
    return _CLIENTS_PART.sub("?", text.partition(": ")[2] or text)


@dataclass(slots=True)
class _Window:
    level: int
    since: float
    reasons: set[str] = field(default_factory=set)
    """The reasons that were written."""
    count: int = 0
    others: int = 0
    """Those of ``count`` whose reason was not written."""


class RateLimiter:
    """The lines of the last second, by kind; owned by one error log."""

    SPAN = 1.0
    """Seconds on the engine's clock for which a line represents those of its kind."""

    def __init__(self) -> None:
        self._windows: dict[str, _Window] = {}

    def admit(self, kind: str, level: int, now: float, reason: str = "") -> bool:
        """Say whether a line of this kind is to be written; otherwise it is counted. Call :meth:`take` first.

        :param reason: the result of :func:`reason_of`.
        """
        window = self._windows.get(kind)
        if window is None:
            window = self._windows[kind] = _Window(level, now)
        if reason not in window.reasons:
            if len(window.reasons) < MAX_REASONS:
                window.reasons.add(reason)
                return True
            window.others += 1
        window.count += 1
        return False

    @property
    def due(self) -> float | None:
        """When :meth:`take` will return something; None: nothing is counted now."""
        return min((window.since + self.SPAN for window in self._windows.values() if window.count), default=None)

    def take(self, now: float, *, all_of_them: bool = False) -> list[tuple[int, str]]:
        """The counts whose second is over (or all), as (level, line); the next line of their kind is written."""
        lines = []
        for kind, window in list(self._windows.items()):
            if all_of_them or now >= window.since + self.SPAN:
                del self._windows[kind]
                if window.count:
                    span = max(now - window.since, 0.1)  # at the stop it may be shorter than what is shown
                    others = f" ({window.others} of them for other reasons)" if window.others else ""
                    text = f"and {window.count} more like it in the last {span:.1f} s: {kind}{others}"
                    lines.append((window.level, text))
        return lines
