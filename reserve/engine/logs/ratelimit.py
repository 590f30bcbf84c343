"""Lines of the same kind in a row: the first is written, the others of the same second are counted.

A flood of bad clients must not fill a disk, and must not hide that it happens. Kinds are the caller's and few; so the
log grows by two lines a second for each of them at most, however many clients there are.

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
    """What was written lately, by kind."""

    SPAN = 1.0
    """Seconds on the engine's clock for which a line stands for those like it."""

    def __init__(self) -> None:
        self._windows: dict[str, _Window] = {}

    def admit(self, kind: str, level: int, now: float) -> bool:
        """Say whether a line of this kind is to be written; otherwise it has been counted. Behind ``take(now)``."""
        window = self._windows.get(kind)
        if window is None:
            self._windows[kind] = _Window(level, now)
            return True
        window.count += 1
        return False

    @property
    def due(self) -> float | None:
        """When :meth:`take` has something to say; None: never, as far as is known now."""
        return min((one.since + self.SPAN for one in self._windows.values() if one.count), default=None)

    def take(self, now: float, *, all_of_them: bool = False) -> list[tuple[int, str]]:
        """The counts whose second is over (or every count), as (level, line); their next line is written again."""
        found = []
        for kind, window in list(self._windows.items()):
            if all_of_them or now >= window.since + self.SPAN:
                del self._windows[kind]
                if window.count:
                    span = max(now - window.since, 0.0)
                    found.append((window.level, f"and {window.count} more like it in the last {span:.1f} s: {kind}"))
        return found
