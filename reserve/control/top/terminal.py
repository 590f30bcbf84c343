"""The terminal of ``reserve top``: its modes, its size, its keys, and the signals about it.

The main thread uses it. While it is entered, each key comes at once and is not shown, and the alternate screen is
visible. Everything is as before when :class:`Terminal` is left: at the end, after an exception, after SIGINT, SIGTERM,
SIGHUP and SIGQUIT, and while the job is stopped (SIGTSTP, Ctrl-Z). A signal handler only notes the number: the loop
acts, between two screens.
"""

from __future__ import annotations

import contextlib
import errno
import os
import select
import signal
import termios
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from types import FrameType, TracebackType
from typing import Any

from reserve.control.top.ansi import ENTER, LEAVE
from reserve.control.top.keys import Keys

__all__ = ["Event", "Terminal"]

_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)
_HANDLED = (*_ENDING, signal.SIGTSTP, signal.SIGCONT, signal.SIGWINCH)
_ESCAPE = 0.05
"""Seconds after which an ESC that nothing follows is the key of that name."""
_LAST_WRITE = 0.5
"""Seconds that a terminal whose output is stopped (Ctrl-S) has to take the last sequences."""
_PIECE = 512
"""Bytes of one write: a terminal that reports room has it for about that many."""


@dataclass(frozen=True, slots=True)
class Event:
    """What :meth:`Terminal.wait` returns for."""

    keys: tuple[str, ...] = ()
    is_redrawn: bool = False
    """The size may have changed, or another program has written to the screen: draw everything."""
    exit_code: int | None = None
    """The program has to end: 128 plus the number of the signal; 1: the terminal has gone."""


class Terminal:
    """One terminal; a context manager.

    :param in_fd: where the keys come from; default standard input.
    :param out_fd: where the screen is; default standard output. Both are of one terminal.
    :raises termios.error: it is no terminal; on entering.
    """

    def __init__(self, in_fd: int = 0, out_fd: int = 1) -> None:
        self._in = in_fd
        self._out = out_fd
        self._keys = Keys()
        self._modes: list[Any] | None = None
        """Those before; None: they are in effect."""
        self._received: list[int] = []
        self._previous: dict[int, Any] = {}
        self._previous_wakeup_fd = -1
        self._pipe: tuple[int, int] | None = None
        self._is_woken = False
        """:meth:`wake` was called during a write."""

    def __enter__(self) -> Terminal:
        self._modes = termios.tcgetattr(self._in)
        reader, writer = os.pipe()
        os.set_blocking(reader, False)
        os.set_blocking(writer, False)
        self._pipe = reader, writer
        try:
            self._install()
            self._begin()
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._end()

    def size(self) -> tuple[int, int]:
        """Columns and lines; 80 and 24 if the terminal does not say."""
        with contextlib.suppress(OSError):
            columns, lines = os.get_terminal_size(self._out)
            if columns > 0 and lines > 0:
                return columns, lines
        return 80, 24

    def wake(self) -> None:
        """Have :meth:`wait` return. Any thread."""
        pipe = self._pipe
        if pipe is not None:
            with contextlib.suppress(OSError):  # full, so it returns anyway; or closed
                os.write(pipe[1], b"\0")

    def write(self, text: str) -> bool:
        """Write to the screen. Returns early, with False, if a signal comes that ends the program, or if the terminal
        has gone.
        """
        return self._write(text, lambda: any(number in _ENDING for number in self._received), None)

    def wait(self, timeout: float) -> Event:
        """Wait for keys, a signal or :meth:`wake`.

        :param timeout: seconds.
        """
        event = self._act_on_signals()
        if event is not None:
            return event
        assert self._pipe is not None
        timeout = 0 if self._is_woken else min(timeout, _ESCAPE) if self._keys.is_unfinished else timeout
        self._is_woken = False
        ready = self._poll({self._in: select.POLLIN, self._pipe[0]: select.POLLIN}, timeout)
        with contextlib.suppress(OSError):
            os.read(self._pipe[0], 4096)
        event = self._act_on_signals()
        if event is not None:
            return event
        if self._in not in ready:
            return Event(tuple(self._keys.finish())) if self._keys.is_unfinished and not ready else Event()
        try:
            data = os.read(self._in, 4096)
        except InterruptedError:
            return Event()
        except OSError:  # EIO: the other side of the terminal is closed
            data = b""
        return Event(tuple(self._keys.feed(data))) if data else Event(exit_code=1)

    # ---- signals ----

    def _install(self) -> None:
        if threading.current_thread() is not threading.main_thread():
            return
        assert self._pipe is not None
        self._previous_wakeup_fd = signal.set_wakeup_fd(self._pipe[1], warn_on_full_buffer=False)
        for number in _HANDLED:
            current = signal.getsignal(number)
            if number in (signal.SIGHUP, signal.SIGTSTP) and current is signal.SIG_IGN:
                continue  # nohup, or a shell without job control
            self._previous[number] = current
            signal.signal(number, self._note)

    def _restore(self) -> None:
        if not self._previous:
            return
        for number, previous in self._previous.items():
            signal.signal(number, signal.SIG_DFL if previous is None else previous)
        self._previous.clear()
        with contextlib.suppress(OSError, ValueError):  # closed meanwhile
            signal.set_wakeup_fd(self._previous_wakeup_fd)

    def _note(self, number: int, frame: FrameType | None) -> None:
        """The signal handler."""
        self._received.append(number)

    def _act_on_signals(self) -> Event | None:
        redraw = False
        while self._received:
            number = self._received.pop(0)
            if number in _ENDING:
                return Event(exit_code=128 + number)
            if number == signal.SIGTSTP:
                self._stop_job()
            elif number == signal.SIGCONT:  # after a SIGSTOP, when the modes could not be restored before
                self._begin()
            redraw = True
        return Event(is_redrawn=True) if redraw else None

    def _stop_job(self) -> None:
        """Stop, as the terminal has asked for, with the terminal as it was; return when the job goes on."""
        self._leave()
        signal.signal(signal.SIGTSTP, signal.SIG_DFL)
        # To this thread: the process is stopped before the call returns.
        signal.pthread_kill(threading.get_ident(), signal.SIGTSTP)
        signal.signal(signal.SIGTSTP, self._note)
        with contextlib.suppress(termios.error):
            self._modes = termios.tcgetattr(self._in)  # the shell may have changed them
        self._begin()

    # ---- modes and screen ----

    def _begin(self) -> None:
        assert self._modes is not None
        modes = [*self._modes[:6], list(self._modes[6])]
        modes[3] &= ~(termios.ICANON | termios.ECHO)  # with signals: ISIG stays
        modes[6][termios.VMIN], modes[6][termios.VTIME] = 1, 0
        self._set_modes(modes)
        self._write(ENTER, lambda: any(number in _ENDING for number in self._received), None)

    def _leave(self) -> None:
        deadline = time.monotonic() + _LAST_WRITE
        self._write(LEAVE, lambda: False, deadline)
        if self._modes is not None:
            with contextlib.suppress(termios.error):  # the terminal has gone
                termios.tcflush(self._in, termios.TCIFLUSH)  # what was typed for this program is not for the shell
                self._set_modes(self._modes)

    def _end(self) -> None:
        try:
            self._leave()
        finally:
            self._modes = None
            self._restore()
            pipe, self._pipe = self._pipe, None
            for fd in pipe or ():
                os.close(fd)

    def _set_modes(self, modes: list[Any]) -> None:
        """Set them at once: to wait for the output first may take for ever (Ctrl-S)."""
        while True:
            try:
                termios.tcsetattr(self._in, termios.TCSANOW, modes)
            except termios.error as error:
                if error.args[0] != errno.EINTR:  # a job in the background was stopped, and goes on
                    raise
            else:
                return

    # ---- waiting ----

    def _write(self, text: str, is_over: Callable[[], bool], deadline: float | None) -> bool:
        data = memoryview(text.encode("utf-8", "backslashreplace"))
        while data:
            if is_over() or (deadline is not None and time.monotonic() >= deadline):
                return False
            wanted = {self._out: select.POLLOUT}
            if deadline is None and self._pipe is not None:
                wanted[self._pipe[0]] = select.POLLIN
            ready = self._poll(wanted, 0.1 if deadline is not None else 1.0)
            if self._pipe is not None and self._pipe[0] in ready:
                self._is_woken = True
                with contextlib.suppress(OSError):
                    os.read(self._pipe[0], 4096)
            if self._out not in ready:
                continue
            try:
                data = data[os.write(self._out, data[:_PIECE]) :]
            except (BlockingIOError, InterruptedError):
                continue
            except OSError:
                return False
        return True

    def _poll(self, wanted: dict[int, int], timeout: float) -> set[int]:
        poll = select.poll()
        for fd, events in wanted.items():
            poll.register(fd, events)
        return {fd for fd, _ in poll.poll(max(timeout, 0) * 1000)}
