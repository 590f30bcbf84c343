"""Guards a run that has a time limit: the monitor can interrupt the run, or give it up, only until the run ends.

The worker puts a token into the guard when it enters the run, and takes it out when it leaves. The monitor decides only
while it has the token. The worker cannot leave the run then, so the exception cannot reach the next run.

Without the GIL no thread can read the stack of another one that runs: a frame may change, and end, meanwhile. But the
interpreter makes the exception that the monitor has set (``PyThreadState_SetAsyncExc``) on the thread in which it is
raised, by calling its class there, at that moment. So a class (:func:`reporting_timeout`) reports the stack of its own
thread. (CPython does so from 3.12 on; older releases have a GIL, and make the exception later.)
"""

from __future__ import annotations

import contextlib
import ctypes
import sys
import time
from collections.abc import Callable
from types import FrameType

from reserve.engine.polling.token import new_token, take
from reserve.errors import RequestTimeout

__all__ = ["RunGuard", "reporting_timeout"]


class RunGuard:
    """Holds the token and the flags with which a worker and the monitor agree on the end of a run. Owned by the worker.

    The worker calls :meth:`enter` and :meth:`leave`, the monitor every other method, if the server has
    ``--request-timeout``.
    """

    __slots__ = ("_deciding", "_holds", "_ident", "_interrupted", "_slot", "_target", "given_up")

    def __init__(self) -> None:
        self._slot = new_token()
        """Contains the token while the worker is in a run that the monitor does not hold."""
        self._ident = 0
        """The worker's thread, as :func:`threading.get_ident` names it."""
        self._deciding = False
        """The monitor has the token, or is about to try. Written by the monitor."""
        self._holds = 0
        """How often the monitor has tried to take the token. Written by the monitor."""
        self._interrupted = False
        """RequestTimeout was set for the current run."""
        self._target: Callable[[], None] | None = None
        """What interrupts the run in place of an exception in the worker. Written by the worker, outside the guard."""
        self.given_up = False
        """The monitor gave the run up: if the handler ever returns, the worker uses nothing of the server and ends."""

    # ---- by the worker ----

    def enter(self, ident: int) -> None:
        """Begin a run on the thread ``ident``."""
        self._ident = ident
        self._target = None
        self._slot.append(True)

    def leave(self) -> bool:
        """End the run; False when the monitor has given it up."""
        while True:
            try:
                holds, deciding = self._holds, self._deciding
                try:
                    self._slot.pop()
                except IndexError:
                    if self.given_up:
                        return False
                    if deciding or self._deciding or self._holds != holds:
                        time.sleep(0)  # the monitor has, or had, the token for a moment
                        continue
                    # RequestTimeout was raised after the pop had succeeded: the worker has the token already.
                break
            except RequestTimeout:
                continue
        while self._interrupted:
            try:
                _take_back(self._ident)
                self._interrupted = False
            except RequestTimeout:
                continue
        return True

    def redirect(self, target: Callable[[], None]) -> bool:
        """In the run: until its end, :meth:`interrupt` calls ``target`` and raises nothing on this thread. False when
        the monitor has given the run up.

        :param target: called by the monitor; it must not block.
        """
        if not self.leave():
            return False
        self._target = target
        self._slot.append(True)
        return True

    # ---- by the monitor ----

    def interrupt(self, kind: type[RequestTimeout] = RequestTimeout) -> None:
        """Raise RequestTimeout in the run that the monitor holds, or do what :meth:`redirect` was given.

        :param kind: the class of what is raised.
        """
        if self._target is not None:
            self._target()
            return
        self._interrupted = True
        _set_async(self._ident, kind)

    def give_up(self) -> None:
        """Give up the run that the monitor holds: its worker never gets the token back."""
        self.given_up = True
        self._deciding = False

    def hold(self) -> bool:
        """Take the token: the worker cannot leave its run until :meth:`release`. False when it is in no run."""
        self._deciding = True
        self._holds += 1  # after the flag and before the pop: leave() reads them in the opposite order
        if take(self._slot):
            return True
        self._deciding = False
        return False

    def release(self) -> None:
        """Put the token back, so that the worker may leave its run; does nothing after :meth:`give_up`."""
        if self.given_up:
            return
        self._slot.append(True)
        self._deciding = False


def reporting_timeout(report: Callable[[FrameType], object]) -> type[RequestTimeout]:
    """What the monitor raises in a worker, once: what is made of this class is a plain RequestTimeout.

    :param report: called once, on the worker, with the frame in which it is raised. It must not block.
    """
    reports = [report]

    class Reporting(RequestTimeout):
        def __init__(self, *arguments: object) -> None:
            super().__init__(*arguments)
            # The application may compare its class, and make another exception of it.
            self.__class__ = RequestTimeout  # type: ignore[assignment]
            with contextlib.suppress(MemoryError, IndexError):  # without memory the line is lost; it was reported
                reports.pop()(sys._getframe(1))

    return Reporting


def _set_async(ident: int, kind: type[BaseException]) -> None:
    """Set the exception that a thread raises at its next instruction, in place of one that it has not raised yet."""
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(ident), ctypes.py_object(kind))


def _take_back(ident: int) -> None:
    """Raise and catch a RequestTimeout that is still set for the calling thread, so that its next run does not get it.

    :param ident: of the calling thread.
    """
    # Raised here rather than cleared with NULL: until one is raised, CPython up to 3.12 keeps its flag "some thread has
    # an exception to raise", which slows every thread down, and with a trace function 3.11 loops on it for ever.
    try:
        _set_async(ident, RequestTimeout)
        while True:
            pass
    except RequestTimeout:
        pass
