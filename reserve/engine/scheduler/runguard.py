"""The guard around a run that has a time limit: it can be interrupted, or given up, by the monitor; never after it
has ended.

The worker holds its own end: it lays a token into the guard when it enters the application and takes it back when it
leaves. The monitor decides only with that token in hand, so the worker cannot leave meanwhile: what it looks at is
the run that it acts upon, and an exception never hits the next one.
"""

from __future__ import annotations

import ctypes
import time
from collections import deque

from reserve.errors import RequestTimeout

__all__ = ["RunGuard"]


class RunGuard:
    """One for each worker of a server with ``request_timeout``."""

    __slots__ = ("_deciding", "_holds", "_ident", "_interrupted", "_slot", "given_up")

    def __init__(self) -> None:
        self._slot: deque[bool] = deque(maxlen=1)
        self._ident = 0
        self._deciding = False
        self._holds = 0
        self._interrupted = False
        self.given_up = False
        """The run is nobody's any more: its worker, should it ever come back, touches nothing and ends."""

    # ---- by the worker ----

    def enter(self, ident: int) -> None:
        """Begin a run on the thread ``ident``."""
        self._ident = ident
        self._slot.append(True)

    def leave(self) -> bool:
        """End the run; False when it has been given up meanwhile."""
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
                    # The interrupt came between our own pop and this line: the token is ours.
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

    # ---- by the monitor ----

    def interrupt(self) -> None:
        """Have RequestTimeout raised in the run that is held."""
        self._interrupted = True
        _set_async(self._ident, RequestTimeout)

    def give_up(self) -> None:
        """Take the run that is held from its worker for good; it is not released any more."""
        self.given_up = True
        self._deciding = False

    def hold(self) -> bool:
        """Keep the worker from leaving its run until :meth:`release`; False when it is in none."""
        self._deciding = True
        self._holds += 1  # behind the flag and before the pop: leave() reads them the other way round
        try:
            self._slot.pop()
        except IndexError:
            self._deciding = False
            return False
        return True

    def release(self) -> None:
        """Let the worker go on; nothing happens to a run that was given up."""
        if self.given_up:
            return
        self._slot.append(True)
        self._deciding = False


def _set_async(ident: int, kind: type[BaseException]) -> None:
    """Set the exception that a thread raises at its next instruction, in place of one that it has not raised yet."""
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(ident), ctypes.py_object(kind))


def _take_back(ident: int) -> None:
    """By the thread ``ident``: whatever has been set for it is not raised in its next run."""
    # Raised here rather than cleared with NULL: until one is raised, CPython up to 3.12 keeps its flag "some thread has
    # an exception to raise", which slows every thread down, and under a trace function 3.11 spins on it for ever.
    try:
        _set_async(ident, RequestTimeout)
        while True:
            pass
    except RequestTimeout:
        pass
