"""The control sockets of the supervisor, which relays what their clients ask. Used by its one thread."""

from __future__ import annotations

import selectors
from collections.abc import Callable, Iterable

from reserve.cli.control.sockets import ControlSocket, adopt_controls, change_controls, pass_controls
from reserve.cli.processes.state import PassedListener
from reserve.control.commands import Target
from reserve.control.listener import ControlListener
from reserve.options.sources import Values
from reserve.sockets.listeners import release

__all__ = ["SupervisorControl"]


class SupervisorControl:
    """The sockets of one supervisor, which makes it.

    :param passed: those that were passed to this process.
    :param target: carries the commands out.
    :param selector: of the supervisor; it reports the sockets with the :attr:`listener`.
    :param now: seconds of a monotonic clock.
    """

    def __init__(
        self,
        passed: Iterable[PassedListener],
        target: Target,
        selector: selectors.BaseSelector,
        now: Callable[[], float],
    ) -> None:
        self.listener = ControlListener(target, selector, now)
        self._sockets: list[ControlSocket] = adopt_controls(passed)
        for one in self._sockets:
            self.listener.listen(one.sock, readonly=one.readonly)

    def opened(self, values: Values) -> list[ControlSocket]:
        """Open what new options need; :meth:`change` or :meth:`discard` follows.

        :raises ~reserve.errors.ReserveError: one cannot be opened; nothing has changed.
        """
        return change_controls(self._sockets, values)

    def discard(self, opened: Iterable[ControlSocket]) -> None:
        """The new options do not hold."""
        for one in opened:
            if one not in self._sockets:
                release(one.sock)

    def change(self, opened: list[ControlSocket]) -> None:
        """The new options hold: listen on these sockets, and on no other ones."""
        for one in self._sockets:
            if one not in opened:
                self.listener.forget(one.sock)
                release(one.sock)
        for one in opened:
            if one not in self._sockets:
                self.listener.listen(one.sock, readonly=one.readonly)
        self._sockets = opened

    def passed(self) -> tuple[PassedListener, ...]:
        """The sockets for the program that this process becomes."""
        return pass_controls(self._sockets)

    def close(self) -> None:
        """Disconnect the clients, and remove the files of the sockets."""
        self.listener.close()
        for one in self._sockets:
            release(one.sock)
        self._sockets = []
