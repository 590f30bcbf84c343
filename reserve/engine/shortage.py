"""What the log says of a time in which newcomers have to wait: one line when it begins, one when it is over.

By the accept thread alone. It is over when nobody has had to wait for a while; so clients who come and go in a loop,
and fill the server again and again, make two lines for all of it and not two for each time.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from reserve.engine.polling.timers import NEVER

if TYPE_CHECKING:
    from reserve.engine.logs.errorlog import ErrorLog

__all__ = ["PauseLog"]


class PauseLog:
    """That of one server.

    :param now: the engine's clock.
    :param count: how many connections are open.
    """

    CALM = 2.0
    """Seconds on the engine's clock without a pause after which it is over: so it is a line a second at most."""

    def __init__(self, log: ErrorLog, now: Callable[[], float], count: Callable[[], int]) -> None:
        self._log = log
        self._now = now
        self._count = count
        self._since = self._until = 0.0
        self._said: set[str] = set()
        self.due = NEVER
        """When :meth:`look` has something to say, as far as is known now."""

    def begins(self, why: str) -> None:
        """Newcomers have to wait from now on. Each reason is said once in the whole time."""
        now = self._now()
        if not self._said:
            self._since = now
        self._until = now
        self.due = now + self.CALM
        if why not in self._said:
            self._said.add(why)
            self._log.warning(f"no new connections for now: {why}; {self._count()} are open")

    def goes_on(self) -> None:
        """They still have to, or had to until now."""
        self._until = self._now()
        self.due = self._until + self.CALM

    def look(self) -> None:
        """Say that it is over, when it is."""
        if self._now() >= self.due:
            lasted = self._until - self._since
            self._log.warning(
                f"new connections are accepted as they come again; they had to wait, at times, for {lasted:.1f} s; "
                f"{self._count()} are open"
            )
            self._said.clear()
            self.due = NEVER
