"""What signals do to the command: SIGINT and SIGTERM stop the server, SIGHUP reloads its certificates, and none ends
the process without a line. :mod:`reserve.cli.early.signaltable` has every signal.

The first SIGINT or SIGTERM lets the requests in flight finish, the second, or SIGQUIT, aborts them, the third ends the
process. A SIGHUP because the terminal was closed has the effect of a first SIGTERM, unless the command runs under
``nohup``. A signal that means nothing is logged. A handler that the application has installed for such a signal, for
SIGUSR1 or for SIGQUIT stays.

Python runs a signal handler on the main thread between two instructions. A main thread that waits for a lock runs none
until it has the lock, and while a server runs the main thread waits for its end. So once there is a server, the
interpreter writes the number of each signal to a pipe (``signal.set_wakeup_fd``), and the thread ``reserve-signals``
reads the pipe and acts; the handlers themselves return at once. That thread queues a message and stops the server. It
writes only to the :class:`~reserve.cli.console.Console`, and does not wait for it, so that no output can block it.

If the application closes the pipe (``os.closerange``), the handlers pass the signals on themselves, on the main thread.
"""

from __future__ import annotations

import os
import queue
import signal
import sys
import threading
from collections import Counter, deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from types import FrameType
from typing import Any, Protocol

from reserve.cli.console import Console
from reserve.cli.early.signals import EarlySignals, has_terminal
from reserve.cli.early.signaltable import Reaction, is_handled, name_of, reaction_to
from reserve.cli.forceexit import ForceExit
from reserve.engine import fork
from reserve.engine.polling.highnumber import move_up
from reserve.engine.polling.patching import SystemThread
from reserve.engine.polling.signalwakeup import call_on_main_thread
from reserve.engine.polling.threads import start_service

__all__ = ["StopSignals"]

_SIGHUP: signal.Signals | None = getattr(signal, "SIGHUP", None)  # Windows has none
_SIGQUIT: signal.Signals | None = getattr(signal, "SIGQUIT", None)
_SIGUSR2: signal.Signals | None = getattr(signal, "SIGUSR2", None)
_SIGXCPU: signal.Signals | None = getattr(signal, "SIGXCPU", None)
_STOPPING = (Reaction.STOP, Reaction.STOP_AT_ONCE)
_TAKEN_BACK = (Reaction.STOP, Reaction.RELOAD)
"""What the command does even if the application has installed a handler for the signal."""
_JOIN_TIMEOUT = 2.0  # seconds that close() waits for the thread, which only queues messages
_CLOSE = b"\0"  # ends the thread; no signal has this number


class _Stoppable(Protocol):
    def request_stop(self, timeout: float | None = None) -> object: ...


class _Log(Protocol):
    """What the error log of a server has (:class:`~reserve.engine.logs.errorlog.ErrorLog`)."""

    def info(self, text: str, kind: str = "") -> None: ...

    def warning(self, text: str, kind: str = "") -> None: ...


class StopSignals:
    """The signal handlers of one command, from :meth:`install` to :meth:`close`.

    Before there is a server, a signal interrupts the start with ``KeyboardInterrupt``, so that everything that was
    opened is closed again; signals that do not stop the server wait for it. After :meth:`serve` they have their effect.
    :meth:`close` restores the handlers that were there before. A forked child restores them too, because a signal to
    the child is not meant for the server.

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
        self.drain_delay = 0.0
        """Seconds for which the server serves on before its shutdown begins: ``--drain-delay``, likewise."""
        self.is_quiet = False
        """A supervisor tells the person what signals do; this process writes nothing about them."""
        self._console = console
        self._force_exit = force_exit
        self._previous_handlers: dict[int, Any] = {}
        self._previous_wakeup_fd = -1
        self._server: _Stoppable | None = None
        self._received: list[int] = []
        """The numbers of the signals that arrived before there was a server and concern it."""
        self._stop_count = 0
        self._interrupted_by = 0
        self._start_is_over = False
        self._had_terminal = False
        self._pipe: tuple[int, int] | None = None
        """Its read end and its write end. A pipe has room for 65536 signals, a socket for less than 300, and one that
        finds no room is lost."""
        self._thread: threading.Thread | None = None
        self._handled: Counter[int] = Counter()
        self._from_pipe: Counter[int] = Counter()
        """How often each signal came to the handler, and how often to the thread."""
        self._unread: deque[int] = deque()
        """What the thread has read from the pipe and has not handled yet."""
        self._pipe_lost = False
        """The thread has found that the application has closed the pipe."""
        self._passed_on: queue.SimpleQueue[int] = queue.SimpleQueue()
        """The signals that the handlers pass to the thread because the pipe was closed."""

    def install(self, early: EarlySignals | None = None) -> None:
        """From now on a signal interrupts the start.

        :param early: what handled signals until now. None: nothing did.
        :raises KeyboardInterrupt: the terminal was closed before.
        """
        if early is not None:
            self._previous_handlers.update(early.previous_handlers)
        self._had_terminal = has_terminal() if early is None else early.had_terminal
        if threading.current_thread() is threading.main_thread():
            for number in signal.valid_signals():
                current = signal.getsignal(number)
                if number in self._previous_handlers or is_handled(number, current, has_terminal=self._had_terminal):
                    signal.signal(number, self._handle)
                    self._previous_handlers.setdefault(number, current)
        for received in () if early is None else early.received:
            self._handle(received, None)

    @property
    def force_exit(self) -> ForceExit | None:
        """What ends the process; None: the process belongs to a program that calls the command."""
        return self._force_exit

    @property
    def owns_process(self) -> bool:
        """Whether the process belongs to the command, not to a program that calls it."""
        return self._force_exit is not None

    @property
    def had_terminal(self) -> bool:
        """Whether the process had a controlling terminal when it started."""
        return self._had_terminal

    @property
    def pending(self) -> tuple[int, ...]:
        """The signals that wait for the server."""
        return tuple(self._received)

    def was_ignored(self, number: int | None) -> bool:
        """Whether a signal was ignored before :meth:`install`."""
        return number is not None and self._previous_handlers.get(number) is signal.SIG_IGN

    def is_taken(self, number: int) -> bool:
        """Whether the application has installed a handler of its own for a signal. Any thread."""
        return not self._is_own(number) and signal.getsignal(number) not in (signal.SIG_DFL, signal.SIG_IGN, None)

    def ignore(self) -> None:
        """From now on a signal does not interrupt the main thread any more: the start has succeeded or failed."""
        self._start_is_over = True

    def serve(
        self,
        server: _Stoppable,
        log: _Log,
        on_sighup: Callable[[], object],
        on_sigusr2: Callable[[], object] | None = None,
    ) -> None:
        """From now on signals have their effect on ``server``. SIGINT, SIGTERM and SIGHUP have it even if the
        application has installed handlers of its own for them.

        :param log: gets a line for each signal that means nothing.
        :param on_sighup: the signal thread calls it for each SIGHUP that does not come from a closed terminal. While it
            runs, other signals wait.
        :param on_sigusr2: the same for SIGUSR2, unless the application handles it. None: the signal means nothing.
        :raises KeyboardInterrupt: a signal has interrupted the start, but the application, or what looked at it, has
            caught the exception, so that the start went on.
        :raises StartupError: the system starts no more threads.
        """
        if threading.current_thread() is not threading.main_thread():
            return
        if self._interrupted_by:
            raise KeyboardInterrupt
        for number in self._previous_handlers:
            if reaction_to(number) in _TAKEN_BACK:
                signal.signal(number, self._handle)
        reader, writer = (move_up(fd) for fd in os.pipe())
        self._pipe = reader, writer
        os.set_blocking(writer, False)
        self._previous_wakeup_fd = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
        self._handled.update(self._received)
        self._server = server  # from here on the handlers return at once, and the thread finds each signal in the pipe
        thread = SystemThread(
            target=self._run, args=(reader, server, log, on_sighup, on_sigusr2), name="reserve-signals", daemon=True
        )
        start_service(thread)
        self._thread = thread
        fork.watch(self)
        os.write(writer, bytes(self._received))

    def raise_stop(self, *, at_once: bool = False) -> bool:
        """Act as if a signal to stop had come, before there is a server, too. Any thread.

        :param at_once: the requests in flight are aborted.
        :returns: False: the handlers are not installed, because another thread than the main one runs the command.
        """
        if not self._previous_handlers:
            return False
        if self._server is None:
            os.kill(os.getpid(), signal.SIGTERM)
            return True
        numbers = bytes([signal.SIGTERM] * (2 if at_once and not self._stop_count else 1))
        try:
            if self._pipe is None or self._pipe_lost:
                raise OSError
            os.write(self._pipe[1], numbers)
        except OSError:  # closed by the application
            for number in numbers:
                self._passed_on.put(number)
        return True

    def close(self, *, ignoring: bool = False) -> None:
        """Restore the previous handlers, and end the thread. A second call does nothing.

        :param ignoring: ignore the signals from now on, instead of restoring their handlers.
        """
        if ignoring:
            self._previous_handlers = dict.fromkeys(self._previous_handlers, signal.SIG_IGN)
        self._restore_handlers()
        if self._thread is not None and self._pipe is not None:
            self._passed_on.put(_CLOSE[0])
            with suppress(OSError):  # closed by the application
                os.set_blocking(self._pipe[1], True)
                os.write(self._pipe[1], _CLOSE)
            self._thread.join(_JOIN_TIMEOUT)
            if self._thread.is_alive():  # it may read from the pipe once more
                self._pipe = None
        self._close_pipe()

    def hand_over(self) -> tuple[int, ...]:
        """Have the thread end, because another program is executed in this process, and return the signals that have
        had no effect yet. Later ones are in the pipe (:attr:`pipe_reader`). Any thread, also that of the signals.
        """
        if self._thread is not None and self._pipe is not None and self._thread is not threading.current_thread():
            self._passed_on.put(_CLOSE[0])
            with suppress(OSError):  # closed by the application
                os.write(self._pipe[1], _CLOSE)
            self._thread.join(_JOIN_TIMEOUT)
        return tuple(self._unread)

    @property
    def pipe_reader(self) -> int:
        """The descriptor from which the numbers of signals can be read; -1: there is none."""
        return -1 if self._pipe is None or self._pipe_lost else self._pipe[0]

    def close_copies(self) -> None:
        """Restore the previous handlers in a forked child. Nothing is sent, because the parent would receive it."""
        self._restore_handlers()
        self._close_pipe()

    def _restore_handlers(self) -> None:
        fork.forget(self)
        while self._previous_handlers:
            number, previous = self._previous_handlers.popitem()
            if previous == signal.SIG_IGN or reaction_to(number) in _TAKEN_BACK or self._is_own(number):
                # None: the handler was not set by Python, and Python cannot restore it.
                signal.signal(number, signal.SIG_DFL if previous is None else previous)
        if self._server is not None:
            self._server = None
            try:
                signal.set_wakeup_fd(self._previous_wakeup_fd)
            except (OSError, ValueError):  # closed meanwhile
                signal.set_wakeup_fd(-1)

    def _is_own(self, number: int) -> bool:
        """Whether the application has not installed a handler of its own for the signal."""
        return signal.getsignal(number) == self._handle

    def _close_pipe(self) -> None:
        for fd in self._pipe or ():
            with suppress(OSError):  # closed by the application
                os.close(fd)
        self._pipe = self._thread = None

    def _handle(self, number: int, frame: FrameType | None) -> None:
        """The signal handler, on the main thread."""
        if self._server is not None:
            self._handled[number] += 1
            if self._pipe is not None and (self._pipe_lost or not _is_open(self._pipe[1])):
                self._give_up_pipe()
                if self._handled[number] > self._from_pipe[number]:  # else the thread has got it before
                    self._passed_on.put(number)
                self._handled[number] = max(self._handled[number], self._from_pipe[number])
            return
        if reaction_to(number) not in _STOPPING and not (number == _SIGHUP and self._terminal_closed()):
            if number not in self._received:
                self._received.append(number)
            return
        if not self._start_is_over:
            self._interrupted_by = number
            raise KeyboardInterrupt
        if self._force_exit is not None:  # the start has failed, and something blocks the exit of the process
            self._force_exit.exit_now()

    def _give_up_pipe(self) -> None:
        """By the main thread: the application has closed the pipe. Else the interpreter reports an error each time."""
        if self._server is not None and self._pipe is not None:
            current = signal.set_wakeup_fd(-1)
            if current not in (-1, self._pipe[1]):
                signal.set_wakeup_fd(current)

    def _read(self, reader: int, log: _Log) -> Iterator[int]:
        """The signals, one by one: from the pipe, and if the application closes it, from the handlers."""
        while True:
            try:
                numbers = os.read(reader, 4096)
            except OSError:
                numbers = b""
            self._from_pipe.update(numbers)
            self._unread.extend(numbers)
            while self._unread:
                yield self._unread.popleft()
            if not numbers:
                break
        self._pipe_lost = True
        given_up = threading.Event()

        def give_up() -> None:
            self._give_up_pipe()
            given_up.set()

        if call_on_main_thread(give_up):
            given_up.wait(_JOIN_TIMEOUT)
        log.warning(
            "the pipe that tells the server of signals was closed by another part of this program (os.closerange, or a "
            "second close of one number); signals have their effect nevertheless"
        )
        while True:
            yield self._passed_on.get()

    def _terminal_closed(self) -> bool:
        """Whether a SIGHUP was sent because the terminal closed, and ``nohup`` did not ask to ignore that."""
        return self._had_terminal and not self.was_ignored(_SIGHUP) and not has_terminal()

    def _run(
        self,
        reader: int,
        server: _Stoppable,
        log: _Log,
        on_sighup: Callable[[], object],
        on_sigusr2: Callable[[], object] | None,
    ) -> None:
        for number in self._read(reader, log):
            if number == _CLOSE[0]:
                return
            reaction = reaction_to(number)
            if reaction is Reaction.STOP:
                self._stop(server, number)
            elif reaction is Reaction.RELOAD:
                if not self._terminal_closed():
                    on_sighup()
                elif self._stop_count == 0:  # the kernel and the shell send one each
                    self._stop(server, number)
            elif reaction is Reaction.REOPEN:
                self._reopen(number, log)
            elif not self._is_own(number):  # the handler of the application acts, on the main thread
                continue
            elif reaction is Reaction.STOP_AT_ONCE:
                self._stop_count = max(self._stop_count, 1)
                self._stop(server, number)
            elif number == _SIGUSR2 and on_sigusr2 is not None:
                on_sigusr2()
            else:
                _report(number, log)

    def line_start(self, number: int | None = None) -> str:
        """What the first message after a signal begins with: a line end if the terminal shows the key (``^C``) in it.

        :param number: of the signal; None: the last one that interrupted the start.
        """
        number = self._interrupted_by if number is None else number
        try:
            return (
                "\n" if number in (signal.SIGINT, _SIGQUIT) and sys.stderr is not None and sys.stderr.isatty() else ""
            )
        except (AttributeError, OSError, ValueError):  # closed, or replaced by something that is no stream
            return ""

    def _stop(self, server: _Stoppable, number: int) -> None:
        self._stop_count += 1
        force_exit = self._force_exit
        # A worker process that has retired may be at its exit, and the supervisor's signal must not cut that short.
        may_finish = self.is_quiet and self._stop_count == 1
        if force_exit is not None and (self._stop_count > 2 or (force_exit.exits_soon and not may_finish)):
            force_exit.exit_now()
        elif self._stop_count == 1:
            begin = f"stopping in {self.drain_delay:g} s; then" if self.drain_delay else "stopping;"
            # Queued before the stop, or the message that the server has stopped could come first.
            self._write(
                number,
                f"{begin} requests in flight have {self.stop_timeout:g} s, a second signal stops at once",
            )
            server.request_stop()
            if force_exit is not None:
                force_exit.exit_within(self.drain_delay + self.stop_timeout)
        else:
            self._write(number, "stopping at once")
            server.request_stop(0)
            if force_exit is not None:
                force_exit.exit_within(0)

    def _reopen(self, number: int, log: _Log) -> None:
        from reserve.cli.logfiles import reopened  # later: this module is imported before the options are known

        results = reopened(name_of(number))
        for is_open, text in results:
            if not is_open:
                log.warning(text)
            elif not self.is_quiet:
                log.info(text)
        if not results and not self.is_quiet and self._is_own(number):
            log.info(
                f"{name_of(number)}: there is no log file to open again (--access-log-file, --error-log-file)",
                f"{name_of(number)} signals",
            )

    def _write(self, number: int, text: str) -> None:
        if not self.is_quiet:
            self._console.write(f"{self.line_start(number)}reserve: {text}\n", 0)


def _is_open(fd: int) -> bool:
    try:
        os.fstat(fd)
    except OSError:
        return False
    return True


def _report(number: int, log: _Log) -> None:
    """Log a signal that changes nothing."""
    name = name_of(number)
    if number == _SIGXCPU:
        text = f"{name}: the process has used the processor time that RLIMIT_CPU allows; more of it ends the process"
        log.warning(text, f"{name} signals")
    else:
        log.warning(f"{name}: this signal has no meaning, and changes nothing", f"{name} signals")
