"""The program ``reserve``, as installed and as ``python -m reserve``: what belongs to the process, and not to a server.

Runs on the main thread, before all else. Imports take a while; whoever presses Ctrl-C meanwhile gets a quiet end. And a
process that was started without standard streams gets some, or the first sockets would have their numbers, and clients
would be sent what is meant for a log.
"""

from __future__ import annotations

import atexit
import os
import signal
import sys
from contextlib import suppress
from types import FrameType
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from reserve.cli.signals import StopSignals

__all__ = ["main"]

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_PATIENCE = 30.0
"""Seconds for the end of a process that does not know its ``--stop-timeout``."""


def main() -> int:
    """Run the command and return the exit code of the process. See :func:`reserve.cli.command.run`."""
    _open_streams()
    before = {number: signal.signal(number, _leave) for number in _SIGNALS}
    from reserve.cli.command import run
    from reserve.cli.console import Console
    from reserve.cli.forceexit import ForceExit
    from reserve.cli.signals import StopSignals

    console = Console().start()
    end = ForceExit(console)
    signals = StopSignals(console, end)
    atexit.register(_finish, signals)
    patience = [_PATIENCE]
    code = 1
    try:
        signals.open(before)
        code = run(sys.argv[1:], console, signals, patience)
    except KeyboardInterrupt:  # in the first line
        pass
    except SystemExit as error:  # the application's own
        code = error.code if isinstance(error.code, int) else int(error.code is not None)
        raise
    finally:
        signals.calm()
        end.leaving(code, patience[0])
    return code


def _open_streams() -> None:
    """The three standard streams are open, on the null device if need be; standard output has whole lines."""
    for fd, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        try:
            os.fstat(fd)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # gets the lowest number that is free
        if getattr(sys, name) is None:
            setattr(sys, name, open(fd, mode, encoding="utf-8", errors="backslashreplace", closefd=False))  # noqa: SIM115
    with suppress(AttributeError, OSError, ValueError):  # somebody has put something else there
        # What an application prints comes in its turn among the lines of the access log, which pass the buffer by.
        sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]


def _leave(number: int, frame: FrameType | None) -> NoReturn:
    """Before there is anything to clean up."""
    signal.signal(number, signal.SIG_DFL)  # should nobody take the words
    with suppress(OSError):
        os.write(2, b"reserve: interrupted before it served\n")
    os._exit(1)


def _finish(signals: StopSignals) -> None:
    """Behind everything else that runs at the end of the interpreter.

    What cannot be flushed now is thrown away: when the interpreter tries once more, nothing watches over it any longer.
    """
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (AttributeError, ValueError):  # there is none, or it was closed
            continue
        except OSError:
            with suppress(OSError, ValueError):
                null = os.open(os.devnull, os.O_WRONLY)
                os.dup2(null, stream.fileno())
                os.close(null)
                stream.flush()
    signals.close()
    for number in _SIGNALS:
        with suppress(ValueError):  # not the main thread's interpreter any more
            signal.signal(number, signal.SIG_DFL)


if __name__ == "__main__":
    sys.exit(main())
