"""SIGINT and SIGTERM: the first drains the server, the second stops it at once. SIGHUP loads the certificates again.

Without certificates SIGHUP is left alone.

Python runs signal handlers on the main thread, between two instructions. A signal that comes while that thread is on
its way into a lock waits there until the lock is free, which for a server that waits for its end is never. So from the
moment there is a server, the interpreter writes each signal's number to a socket (``signal.set_wakeup_fd``), and a
thread that does nothing else reads it and acts; the handlers themselves do nothing any more.
"""

from __future__ import annotations

import os
import signal
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from types import FrameType, TracebackType
from typing import Any, Protocol

__all__ = ["StopSignals"]

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_HANG_UP: signal.Signals | None = getattr(signal, "SIGHUP", None)  # Windows has none
_END = b"\0"  # no signal has this number


class _Stoppable(Protocol):
    def request_stop(self, timeout: float | None = None) -> object: ...


class StopSignals:
    """A context in which the signals stop a server; afterwards they mean what they meant before.

    Until there is a server they interrupt the start (``KeyboardInterrupt``), so that what was opened is closed again.
    Off the main thread nothing is installed, because Python allows it nowhere else. In a forked child they mean what
    they meant before, too: whoever stops a child does not mean the server.
    """

    def __init__(self) -> None:
        self._before: dict[signal.Signals, Any] = {}
        self._wakeup_before = -1
        self._server: _Stoppable | None = None
        self._patience = 0.0
        self._hang_up: Callable[[], object] | None = None
        self._count = 0
        self._receiver: socket.socket | None = None
        self._sender: socket.socket | None = None
        self._thread: threading.Thread | None = None

    def __enter__(self) -> StopSignals:
        self._install()
        return self

    def __exit__(self, *exc: type[BaseException] | BaseException | TracebackType | None) -> None:
        self._restore()
        if self._thread is not None and self._sender is not None:
            self._sender.send(_END)
            self._thread.join()
        self._close()

    def stops(self, server: _Stoppable, patience: float, hang_up: Callable[[], object] | None = None) -> None:
        """From now on the signals stop ``server``, also when the application has installed handlers of its own.

        :param patience: how long the drain may take, in seconds, for the message.
        :param hang_up: called for each SIGHUP, on a thread that also the other signals wait for.
        """
        if threading.current_thread() is not threading.main_thread():
            return
        self._patience = patience
        self._hang_up = hang_up
        self._install()
        self._receiver, self._sender = socket.socketpair()
        self._sender.setblocking(False)
        self._wakeup_before = signal.set_wakeup_fd(self._sender.fileno(), warn_on_full_buffer=False)
        self._server = server  # from here on the handlers leave it to the thread, which finds in the socket what came
        thread = threading.Thread(
            target=self._listen, args=(self._receiver, server), name="reserve-signals", daemon=True
        )
        thread.start()
        self._thread = thread
        _watch_forks(self)

    def _install(self) -> None:
        if threading.current_thread() is not threading.main_thread():
            return
        for number in _SIGNALS:
            before = signal.signal(number, self._interrupt)
            self._before.setdefault(number, before)
        if self._hang_up is not None and _HANG_UP is not None:
            before = signal.signal(_HANG_UP, self._overhear)
            self._before.setdefault(_HANG_UP, before)

    def _restore(self) -> None:
        _active.discard(self)
        while self._before:
            number, before = self._before.popitem()
            # None: somebody outside Python set it, and Python cannot set it again.
            signal.signal(number, signal.SIG_DFL if before is None else before)
        if self._server is not None:
            self._server = None
            signal.set_wakeup_fd(self._wakeup_before)

    def _close(self) -> None:
        for end in (self._sender, self._receiver):
            if end is not None:
                end.close()

    def give_up(self) -> None:
        """In a forked child: the socket is still the parent's, whom no signal of the child's must reach."""
        self._restore()
        self._close()

    def _interrupt(self, number: int, frame: FrameType | None) -> None:
        if self._server is None:
            raise KeyboardInterrupt

    def _overhear(self, number: int, frame: FrameType | None) -> None:
        """The number is in the socket already; without a handler of Python's it would not be."""

    def _listen(self, receiver: socket.socket, server: _Stoppable) -> None:
        """On the thread of its own."""
        while True:
            for number in receiver.recv(64):
                if number == _END[0]:
                    return
                if number in _SIGNALS:
                    self._stop(server)
                elif number == _HANG_UP and self._hang_up is not None:
                    self._hang_up()

    def _stop(self, server: _Stoppable) -> None:
        self._count += 1
        if self._count == 1:
            _say(f"reserve: stopping; requests in flight have {self._patience:g} s, a second signal stops at once\n")
            server.request_stop()
        else:
            _say("reserve: stopping at once\n")
            server.request_stop(0)


_active: set[StopSignals] = set()
_hooked = False


def _watch_forks(signals: StopSignals) -> None:
    global _hooked
    _active.add(signals)
    if not _hooked and hasattr(os, "register_at_fork"):
        _hooked = True
        os.register_at_fork(after_in_child=_in_child)


def _in_child() -> None:
    for signals in list(_active):
        signals.give_up()


def _say(text: str) -> None:
    with suppress(OSError):  # nobody reads it any more; the stop matters more
        os.write(2, text.encode())
