"""SIGINT and SIGTERM: the first drains the server, the second stops it at once. SIGHUP is left alone.

The handlers run on the main thread, between two instructions of whatever it does, so they take no lock and write with
``os.write``: a buffered stream may be in the middle of a write already.
"""

from __future__ import annotations

import os
import signal
import threading
from contextlib import suppress
from types import FrameType, TracebackType
from typing import Any, Protocol

__all__ = ["StopSignals"]

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class _Stoppable(Protocol):
    def request_stop(self, timeout: float | None = None) -> object: ...


class StopSignals:
    """A context in which the two signals stop a server; afterwards they mean what they meant before.

    Until there is a server they interrupt the start (``KeyboardInterrupt``), so that what was opened is closed again.
    Off the main thread nothing is installed, because Python allows it nowhere else.
    """

    def __init__(self) -> None:
        self._before: dict[signal.Signals, Any] = {}
        self._server: _Stoppable | None = None
        self._patience = 0.0
        self._count = 0

    def __enter__(self) -> StopSignals:
        self._install()
        return self

    def __exit__(self, *exc: type[BaseException] | BaseException | TracebackType | None) -> None:
        for number, before in self._before.items():
            # None: somebody outside Python set it, and Python cannot set it again.
            signal.signal(number, signal.SIG_DFL if before is None else before)

    def stops(self, server: _Stoppable, patience: float) -> None:
        """From now on the signals stop ``server``, also when the application has installed handlers of its own.

        :param patience: how long the drain may take, in seconds, for the message.
        """
        self._patience = patience
        self._server = server
        self._install()

    def _install(self) -> None:
        if threading.current_thread() is not threading.main_thread():
            return
        for number in _SIGNALS:
            before = signal.signal(number, self._arrived)
            self._before.setdefault(number, before)

    def _arrived(self, number: int, frame: FrameType | None) -> None:
        server = self._server
        if server is None:
            raise KeyboardInterrupt
        self._count += 1
        if self._count == 1:
            _say(f"reserve: stopping; requests in flight have {self._patience:g} s, a second signal stops at once\n")
            server.request_stop()
        else:
            _say("reserve: stopping at once\n")
            server.request_stop(0)


def _say(text: str) -> None:
    with suppress(OSError):  # nobody reads it any more; the stop matters more
        os.write(2, text.encode())
