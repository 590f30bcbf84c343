"""SIGINT and SIGTERM: the first drains the server, the second stops it at once, the third ends the process.

SIGHUP loads the certificates again, unless it comes because the terminal has gone: then it is a SIGTERM. Under nohup it
is not.

Python runs signal handlers on the main thread, between two instructions. A signal that comes while that thread is on
its way into a lock waits there until the lock is free, which for a server that waits for its end is never. So from the
moment there is a server, the interpreter writes each signal's number to a socket (``signal.set_wakeup_fd``), and a
thread that does nothing else reads it and acts; the handlers themselves do nothing any more. That thread acts first and
talks afterwards, and then only to the :class:`~reserve.cli.console.Console`.
"""

from __future__ import annotations

import os
import signal
import socket
import threading
from collections.abc import Callable, Mapping
from types import FrameType
from typing import Any, Protocol

from reserve.cli.console import Console
from reserve.cli.forceexit import ForceExit

__all__ = ["StopSignals"]

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_HANG_UP: signal.Signals | None = getattr(signal, "SIGHUP", None)  # Windows has none
_END = b"\0"  # no signal has this number


class _Stoppable(Protocol):
    def request_stop(self, timeout: float | None = None) -> object: ...


class StopSignals:
    """Between :meth:`open` and :meth:`close` the signals stop a server; afterwards they mean what they meant before.

    Until there is a server they interrupt the start (``KeyboardInterrupt``), so that what was opened is closed again.
    Off the main thread nothing is installed, because Python allows it nowhere else. In a forked child they mean what
    they meant before, too: whoever stops a child does not mean the server.
    """

    def __init__(self, console: Console, end: ForceExit | None = None) -> None:
        """Make it; nothing is changed yet.

        :param end: what ends the process should the stop hang. None: this process is not ours to end.
        """
        self._console = console
        self._end = end
        self._before: dict[signal.Signals, Any] = {}
        self._wakeup_before = -1
        self._server: _Stoppable | None = None
        self._patience = 0.0
        self._hang_up: Callable[[], object] = _nothing
        self._count = 0
        self._over = False
        self._had_terminal = False
        self._receiver: socket.socket | None = None
        self._sender: socket.socket | None = None
        self._thread: threading.Thread | None = None

    def open(self, before: Mapping[signal.Signals, Any] | None = None) -> None:
        """From now on they interrupt the start.

        :param before: what they meant before, if that is not what they mean now.
        """
        self._before.update(before or {})
        self._had_terminal = _has_terminal()
        self._install()

    def calm(self) -> None:
        """From now on they interrupt nothing: the start is over, well or not."""
        self._over = True

    def close(self) -> None:
        """They mean what they meant before. Once more does nothing."""
        self._restore()
        if self._thread is not None and self._sender is not None:
            self._sender.send(_END)
            self._thread.join()
        self._close()

    def stops(self, server: _Stoppable, patience: float, hang_up: Callable[[], object]) -> None:
        """From now on the signals stop ``server``, also when the application has installed handlers of its own.

        :param patience: how long the drain may take, in seconds, for the message.
        :param hang_up: called for each SIGHUP of somebody who means it, on a thread that also the other signals wait
            for.
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
        if _HANG_UP is not None:
            before = signal.signal(_HANG_UP, self._interrupt)
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
        self._sender = self._receiver = self._thread = None

    def give_up(self) -> None:
        """In a forked child: the socket is still the parent's, whom no signal of the child's must reach."""
        self._restore()
        self._close()

    def _interrupt(self, number: int, frame: FrameType | None) -> None:
        if self._server is not None or (number == _HANG_UP and not self._terminal_is_gone()):
            return
        if not self._over:
            raise KeyboardInterrupt
        if self._end is not None:  # the start has failed, and something keeps the process
            self._end.now()

    def _terminal_is_gone(self) -> bool:
        """A SIGHUP comes from the kernel, or from a shell on its way out, and nohup was not asked to keep it away."""
        ignored = _HANG_UP is not None and self._before.get(_HANG_UP) is signal.SIG_IGN
        return self._had_terminal and not ignored and not _has_terminal()

    def _listen(self, receiver: socket.socket, server: _Stoppable) -> None:
        """On the thread of its own."""
        while True:
            for number in receiver.recv(64):
                if number == _END[0]:
                    return
                if number in _SIGNALS:
                    self._stop(server)
                elif number == _HANG_UP and not self._terminal_is_gone():
                    self._hang_up()
                elif number == _HANG_UP and self._count == 0:  # the kernel and the shell send one each
                    self._stop(server)

    def _stop(self, server: _Stoppable) -> None:
        self._count += 1
        end = self._end
        if end is not None and (self._count > 2 or end.is_leaving):
            end.now()
        elif self._count == 1:
            server.request_stop()
            if end is not None:
                end.within(self._patience)
            self._console.say(
                f"reserve: stopping; requests in flight have {self._patience:g} s, a second signal stops at once\n"
            )
        else:
            server.request_stop(0)
            if end is not None:
                end.within(0)
            self._console.say("reserve: stopping at once\n", 0.1)


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


def _nothing() -> None:
    """Until there is a server."""


def _has_terminal() -> bool:
    """Say whether this process has a controlling terminal that has not hung up."""
    try:
        terminal = os.open("/dev/tty", os.O_RDONLY | getattr(os, "O_NOCTTY", 0))
    except OSError:
        return False
    os.close(terminal)
    return True
