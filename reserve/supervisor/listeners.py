"""The listeners of the generations of workers. Used by the one thread of the supervisor."""

from __future__ import annotations

from collections.abc import Iterable

from reserve.cli.binds import Listeners, open_changed, united
from reserve.cli.processes.state import PassedListener, adopt_listeners
from reserve.options.sources import Values
from reserve.sockets.listeners import release

__all__ = ["GenerationListeners"]


class GenerationListeners:
    """The supervisor's copies of all listeners. It makes one of these.

    :param passed: those that were passed to this process; the present generation has them.
    """

    def __init__(self, passed: Iterable[PassedListener]) -> None:
        self.present = adopt_listeners(passed)
        """Those of the present generation."""
        self._serving = self.present
        """Those of the generation that serves."""
        self.open = self.present
        """All that are open: also those that a reload has made superfluous, until it is complete."""

    def change(self, values: Values) -> None:
        """Open what a new generation needs.

        :param values: its options.
        :raises OSError: no descriptor is free, say; nothing has changed.
        :raises ~reserve.errors.ReserveError: an address cannot be opened; nothing has changed.
        """
        self.present = open_changed(self.open, values)
        self.open = united(self.open, self.present)

    def keep(self) -> None:
        """The present generation serves."""
        self._serving = self.present

    def give_up(self) -> None:
        """The generation that serves is the present one again."""
        self.present = self._serving

    def release_superfluous(self) -> None:
        """Close those that only other generations have."""
        for sock in set(self.open.all) - set(self.present.all):
            release(sock)
        self.open = self.present

    def release(self) -> None:
        """Close the supervisor's copies. The port is free when the workers have closed theirs."""
        for sock in self.open.all:
            release(sock)
        self.present = self._serving = self.open = Listeners()
