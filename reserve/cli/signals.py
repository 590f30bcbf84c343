"""What signals do to the command: SIGINT and SIGTERM stop the server, SIGHUP reloads its certificates.

The first SIGINT or SIGTERM lets the requests in flight finish, the second aborts them, the third ends the process. A
SIGHUP because the terminal was closed has the effect of a first SIGTERM, unless the command runs under ``nohup``.

Python runs a signal handler on the main thread between two instructions. A main thread that waits for a lock runs none
until it has the lock, and while a server runs the main thread waits for its end. So once there is a server, the
interpreter writes the number of each signal to a socket (``signal.set_wakeup_fd``), and the thread ``reserve-signals``
reads the socket and acts; the handlers themselves return at once. That thread queues a message and stops the server. It
writes only to the :class:`~reserve.cli.console.Console`, and does not wait for it, so that no output can block it.
"""

from __future__ import annotations

import signal
import socket
import sys
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any, Protocol

from reserve.cli.console import Console
from reserve.cli.earlysignals import EarlySignals, has_terminal
from reserve.cli.forceexit import ForceExit
from reserve.engine import fork

__all__ = ["StopSignals"]

_STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_SIGHUP: signal.Signals | None = getattr(signal, "SIGHUP", None)  # Windows has none
_CLOSE = b"\0"  # ends the thread; no signal has this number


class _Stoppable(Protocol):
    def request_stop(self, timeout: float | None = None) -> object: ...


class StopSignals:
    """The signal handlers of one command, from :meth:`install` to :meth:`close`.

    Before there is a server, a signal interrupts the start with ``KeyboardInterrupt``, so that everything that was
    opened is closed again. After :meth:`serve`, signals stop the server. :meth:`close` restores the handlers that were
    there before. A forked child restores them too, because a signal to the child is not meant for the server.

    The main thread calls the methods. On another thread they change nothing, because Python allows signal handlers on
    the main thread only.
    """

    def __init__(self, console: Console, force_exit: ForceExit | None = None) -> None:
        """Change nothing yet.

        :param console: where messages for the person go.
        :param force_exit: ends the process if the shutdown takes too long. None: the process belongs to another
            program, and is not ended.
        """
        self.stop_timeout = 30.0
        """Seconds that a shutdown may take: ``--stop-timeout``, once the options are known."""
        self._console = console
        self._force_exit = force_exit
        self._previous_handlers: dict[signal.Signals, Any] = {}
        self._previous_wakeup_fd = -1
        self._server: _Stoppable | None = None
        self._on_sighup: Callable[[], object] = _do_nothing
        self._received: list[int] = []
        """The numbers of the signals that arrived before there was a server and concern it."""
        self._stop_count = 0
        self._interrupted_by = 0
        self._start_is_over = False
        self._had_terminal = False
        self._receiver: socket.socket | None = None
        self._sender: socket.socket | None = None
        self._thread: threading.Thread | None = None

    def install(self, early: EarlySignals | None = None) -> None:
        """From now on a signal interrupts the start.

        :param early: what handled signals until now. None: nothing did.
        :raises KeyboardInterrupt: the terminal was closed before.
        """
        if early is not None:
            self._previous_handlers.update(early.previous_handlers)
        self._had_terminal = has_terminal() if early is None else early.had_terminal
        self._set_handlers()
        for number in () if early is None else early.received:
            self._handle(number, None)

    def ignore(self) -> None:
        """From now on a signal does not interrupt the main thread any more: the start has succeeded or failed."""
        self._start_is_over = True

    def serve(self, server: _Stoppable, on_sighup: Callable[[], object]) -> None:
        """From now on signals stop ``server``, even if the application has installed signal handlers of its own.

        :param on_sighup: the signal thread calls it for each SIGHUP that does not come from a closed terminal. While it
            runs, other signals wait.
        """
        if threading.current_thread() is not threading.main_thread():
            return
        self._on_sighup = on_sighup
        self._set_handlers()
        self._receiver, self._sender = socket.socketpair()
        self._sender.setblocking(False)
        self._previous_wakeup_fd = signal.set_wakeup_fd(self._sender.fileno(), warn_on_full_buffer=False)
        self._server = (
            server  # from here on the handlers return at once, and the thread finds each signal in the socket
        )
        thread = threading.Thread(target=self._run, args=(self._receiver, server), name="reserve-signals", daemon=True)
        thread.start()
        self._thread = thread
        fork.watch(self)
        for number in self._received:
            self._sender.send(bytes((number,)))

    def close(self, *, ignoring: bool = False) -> None:
        """Restore the previous handlers, and end the thread. A second call does nothing.

        :param ignoring: ignore the signals from now on, instead of restoring their handlers.
        """
        if ignoring:
            self._previous_handlers = dict.fromkeys(self._previous_handlers, signal.SIG_IGN)
        self._restore_handlers()
        if self._thread is not None and self._sender is not None:
            self._sender.send(_CLOSE)
            self._thread.join()
        self._close_sockets()

    def close_copies(self) -> None:
        """Restore the previous handlers in a forked child. Nothing is sent, because the parent would receive it."""
        self._restore_handlers()
        self._close_sockets()

    def _set_handlers(self) -> None:
        if threading.current_thread() is not threading.main_thread():
            return
        for number in (*_STOP_SIGNALS, *(() if _SIGHUP is None else (_SIGHUP,))):
            previous = signal.signal(number, self._handle)
            self._previous_handlers.setdefault(number, previous)

    def _restore_handlers(self) -> None:
        fork.forget(self)
        while self._previous_handlers:
            number, previous = self._previous_handlers.popitem()
            # None: the handler was not set by Python, and Python cannot restore it.
            signal.signal(number, signal.SIG_DFL if previous is None else previous)
        if self._server is not None:
            self._server = None
            signal.set_wakeup_fd(self._previous_wakeup_fd)

    def _close_sockets(self) -> None:
        for sock in (self._sender, self._receiver):
            if sock is not None:
                sock.close()
        self._sender = self._receiver = self._thread = None

    def _handle(self, number: int, frame: FrameType | None) -> None:
        """The signal handler, on the main thread."""
        if self._server is not None:
            return
        if number == _SIGHUP and not self._terminal_closed():
            if number not in self._received:
                self._received.append(number)
            return
        if not self._start_is_over:
            self._interrupted_by = number
            raise KeyboardInterrupt
        if self._force_exit is not None:  # the start has failed, and something blocks the exit of the process
            self._force_exit.exit_now()

    def _terminal_closed(self) -> bool:
        """Whether a SIGHUP was sent because the terminal closed, and ``nohup`` did not ask to ignore that."""
        ignored = _SIGHUP is not None and self._previous_handlers.get(_SIGHUP) is signal.SIG_IGN
        return self._had_terminal and not ignored and not has_terminal()

    def _run(self, receiver: socket.socket, server: _Stoppable) -> None:
        while True:
            for number in receiver.recv(64):
                if number == _CLOSE[0]:
                    return
                if number in _STOP_SIGNALS:
                    self._stop(server, number)
                elif number == _SIGHUP and not self._terminal_closed():
                    self._on_sighup()
                elif number == _SIGHUP and self._stop_count == 0:  # the kernel and the shell send one each
                    self._stop(server, number)

    def line_start(self, number: int | None = None) -> str:
        """What the first message after a signal begins with: a line end if the terminal shows ``^C`` in that line.

        :param number: of the signal; None: the last one that interrupted the start.
        """
        number = self._interrupted_by if number is None else number
        try:
            return "\n" if number == signal.SIGINT and sys.stderr is not None and sys.stderr.isatty() else ""
        except (AttributeError, OSError, ValueError):  # closed, or replaced by something that is no stream
            return ""

    def _stop(self, server: _Stoppable, number: int) -> None:
        self._stop_count += 1
        force_exit = self._force_exit
        if force_exit is not None and (self._stop_count > 2 or force_exit.is_exiting):
            force_exit.exit_now()
        elif self._stop_count == 1:
            # Queued before the stop, or the message that the server has stopped could come first.
            self._console.write(
                f"{self.line_start(number)}reserve: stopping; requests in flight have {self.stop_timeout:g} s, a "
                "second signal stops at once\n",
                0,
            )
            server.request_stop()
            if force_exit is not None:
                force_exit.exit_within(self.stop_timeout)
        else:
            self._console.write(f"{self.line_start(number)}reserve: stopping at once\n", 0)
            server.request_stop(0)
            if force_exit is not None:
                force_exit.exit_within(0)


def _do_nothing() -> None:
    """The reaction to SIGHUP before there is a server."""
