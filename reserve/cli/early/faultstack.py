"""What a fault in C code does: the stacks of all threads are written to standard error, then the process dies of it.

:mod:`faulthandler` does that, on an alternate signal stack, which a fault may need because the other one is full. But
CPython runs every handler of a signal on such a stack if there is one, and that of :mod:`faulthandler` has room for
three or four of them. Signals that arrive at once nest, so a few more would overwrite the memory below it. Therefore
the stack is replaced by a larger one, which uses no memory until it is needed. Runs on the main thread at start.
"""

from __future__ import annotations

import faulthandler
import importlib.util
import mmap
import signal
import sys
from contextlib import suppress

from reserve.cli.early.signaltable import Reaction, reaction_to

__all__ = ["write_stacks_at_faults"]

_SIZE = 2 << 20
"""Bytes of the alternate stack: a frame for each of 64 signals. A processor may need 12 KiB for one, all that its
registers hold, and the handler another 4 KiB.
"""
_stacks: list[object] = []
"""Keeps the stack, which the kernel knows by its address only."""


def write_stacks_at_faults() -> None:
    """Before a fault ends the process, write the stacks of all threads to standard error.

    Nothing is written on Linux if the interpreter was built without :mod:`ctypes`, which the larger stack needs.
    """
    if sys.platform.startswith("linux") and importlib.util.find_spec("_ctypes") is None:
        return
    if not faulthandler.is_enabled():  # the user has chosen another file with PYTHONFAULTHANDLER or before this
        faulthandler.enable(2)
    for number in signal.valid_signals():
        if reaction_to(number) is Reaction.FAULT and signal.getsignal(number) == signal.SIG_DFL:
            with suppress(OSError, RuntimeError):  # enable() has handled it
                faulthandler.register(number, 2, chain=True)
    if sys.platform.startswith("linux"):
        _enlarge_stack()


def _enlarge_stack() -> None:
    """Replace the alternate signal stack of this thread, which :mod:`faulthandler` has made, by a large one."""
    import ctypes

    class SignalStack(ctypes.Structure):
        """``stack_t`` of sigaltstack(2) on Linux."""

        _fields_ = (("start", ctypes.c_void_p), ("flags", ctypes.c_int), ("size", ctypes.c_size_t))

    memory = mmap.mmap(-1, _SIZE, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    first = ctypes.c_char.from_buffer(memory)
    stack = SignalStack(ctypes.addressof(first), 0, _SIZE)
    if ctypes.CDLL(None).sigaltstack(ctypes.byref(stack), None) == 0:
        _stacks[:] = [memory, first]
