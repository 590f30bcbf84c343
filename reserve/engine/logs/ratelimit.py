"""A limit for log lines of the same kind: the first is written, the others of the same second are counted.

A flood of bad clients must not fill a disk, and must not hide that it happens. The callers choose the kinds, which are
few; so the log grows by at most two lines a second for each of them, however many clients there are.

Used by the log's thread alone.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["RateLimiter"]


@dataclass(slots=True)
class _Window:
    level: int
    since: float
    count: int = 0


class RateLimiter:
    """The lines of the last second, by kind; owned by one error log."""

    SPAN = 1.0
    """Seconds on the engine's clock for which a line represents those of its kind."""

    def __init__(self) -> None:
        self._windows: dict[str, _Window] = {}

    def admit(self, kind: str, level: int, now: float) -> bool:
        """Say whether a line of this kind is to be written; otherwise it is counted. Call :meth:`take` first."""
        window = self._windows.get(kind)
        if window is None:
            self._windows[kind] = _Window(level, now)
            return True
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
                    span = max(now - window.since, 0.0)
                    lines.append((window.level, f"and {window.count} more like it in the last {span:.1f} s: {kind}"))
        return lines
