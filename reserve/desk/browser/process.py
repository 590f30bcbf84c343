"""What ``serve_http`` needs of the process in which it runs: one without a console, or one of ``multiprocessing``."""

from __future__ import annotations

import os
import sys

from reserve.errors import UsageError

__all__ = ["prepare_process"]


def prepare_process() -> None:
    """Make this process fit for a server. Called by ``serve_http`` first.

    A program without a console can be started with its standard descriptors closed. Then sockets would get their
    numbers, and what a library writes to standard error would go to a browser. So they become the null device, except
    one that is a file already: libffi 3.5 keeps its own open for ``ctypes``. ``sys.stdout`` and ``sys.stderr`` stay
    None, with which ``print`` and ``logging`` do nothing.

    A process that ``multiprocessing`` starts runs the program again. If it is frozen, its work begins here, unless the
    program has called ``multiprocessing.freeze_support()`` before. Else the program calls ``serve_http`` while it is
    imported.

    :raises UsageError: in the last case. Without the error the program would start once more in each such process.
    """
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # gets the lowest number that is free, which is this one
    multiprocessing = sys.modules.get("multiprocessing")
    if multiprocessing is None:
        return
    if getattr(sys, "frozen", False):
        multiprocessing.freeze_support()  # does not return in a process that it starts
    if getattr(multiprocessing.current_process(), "_inheriting", False):
        raise UsageError(
            "serve_http() is called while a process of multiprocessing imports the program; "
            'call it below  if __name__ == "__main__":'
        )
