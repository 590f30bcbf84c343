"""The control sockets of a server with one process, which answers itself, on the thread ``reserve-control``.

The main thread makes, starts and closes the one :class:`OwnControl` of a command.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from reserve.cli.control.sockets import open_controls, pass_controls
from reserve.cli.logfiles import sentences
from reserve.cli.processes.state import PassedListener
from reserve.cli.stderrlog import set_log_level
from reserve.control.commands import Reply
from reserve.control.process import Actions, LocalTarget, ProcessCommands
from reserve.control.protocol import Refusal, Request
from reserve.control.thread import ControlThread
from reserve.engine.logs.logfile import Reopened, reopen_log_files
from reserve.sockets.listeners import release

if TYPE_CHECKING:
    from reserve.cli.processes.handover import HandOver
    from reserve.cli.signals import StopSignals
    from reserve.options.sources import Values

__all__ = ["OwnControl"]


class OwnControl:
    """The control sockets, which are open from now on, and what they do.

    :param values: the options; they name a socket.
    :param signals: of the command.
    :raises UsageError: see :func:`~reserve.cli.control.sockets.open_controls`.
    :raises StartupError: likewise.
    """

    def __init__(self, values: Values, signals: StopSignals) -> None:
        self._signals = signals
        self._process = ProcessCommands(set_log_level)
        self._reload: Callable[[], object] = _nothing
        self._hands_over = False
        self._sockets = open_controls(values)
        self._target = target = LocalTarget(self._process, Actions(self._call_reload, self._stop, self._reopen))
        try:
            self._thread = ControlThread([(one.sock, one.readonly) for one in self._sockets], target)
        except BaseException:  # no descriptor is free, say
            for one in self._sockets:
                release(one.sock)
            raise

    def start(self) -> None:
        """Answer from now on, also while the application is imported.

        :raises StartupError: the system starts no more threads.
        """
        self._thread.start()

    def serve(self, server: Any, reload: Callable[[], object], hand_over: HandOver | None = None) -> None:
        """There is a server.

        :param reload: the reaction to SIGHUP. Any thread may call it.
        :param hand_over: tells of both processes during a hand-over; None: there is none.
        """
        self._reload = reload
        if hand_over is not None:
            self._target.elsewhere = partial(self._perform_elsewhere, hand_over)
        self._process.server = server

    def hand_over(self) -> None:
        """The process becomes the supervisor, which goes on with the sockets: from here on they stay open."""
        self._hands_over = True

    def passed(self) -> tuple[PassedListener, ...]:
        """The sockets for the supervisor."""
        return pass_controls(self._sockets)

    def close(self) -> None:
        """Close the sockets and remove their files, unless the process hands over. A second call does nothing."""
        if not self._hands_over:
            self._thread.close()
            for one in self._sockets:
                release(one.sock)

    # ---- on the thread of the control socket ----

    def _perform_elsewhere(self, hand_over: HandOver, request: Request, reply: Reply) -> bool:
        return hand_over.perform(request, lambda result: self._thread.call_soon(partial(reply, result)))

    def _call_reload(self) -> None:
        self._reload()

    def _stop(self, at_once: bool) -> None:
        if not self._signals.raise_stop(at_once=at_once):
            server = self._process.server
            if server is None:
                raise Refusal("the server is starting still")
            server.request_stop(0 if at_once else None)

    def _reopen(self) -> list[Reopened]:
        results = reopen_log_files()
        server = self._process.server
        for is_open, text in () if server is None else sentences(results, "log-reopen"):
            (server.log.info if is_open else server.log.warning)(text)
        number: int | None = getattr(signal, "SIGUSR1", None)
        if number is not None and self._signals.is_taken(number):  # the application has log files of its own, perhaps
            os.kill(os.getpid(), number)
        return results


def _nothing() -> None:
    """The reaction before there is one."""
