"""The program ``reserve``, as installed and as ``python -m reserve``: what concerns the process and not the server.

Runs on the main thread, before everything else. It guarantees that a signal during the imports ends the process with
one line instead of a traceback; that the three standard streams are open, because otherwise a socket would get the
number of one of them, and a client would receive what is meant for a log; and that the process exits within
``--stop-timeout``, whatever blocks it.
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


def main() -> int:
    """Run the command and return the exit code of the process. See :func:`reserve.cli.command.run`."""
    _open_standard_streams()
    previous_handlers = {number: signal.signal(number, _exit_during_imports) for number in _SIGNALS}
    from reserve.cli.command import run
    from reserve.cli.console import Console
    from reserve.cli.forceexit import ForceExit
    from reserve.cli.signals import StopSignals

    console = Console().start()
    force_exit = ForceExit(console)
    signals = StopSignals(console, force_exit)
    atexit.register(_at_exit, signals)
    exit_code = 1
    try:
        signals.install(previous_handlers)
        exit_code = run(sys.argv[1:], console, signals)
    except KeyboardInterrupt:  # before run() handles it
        pass
    except SystemExit as error:  # raised by the application
        exit_code = error.code if isinstance(error.code, int) else int(error.code is not None)
        raise
    finally:
        signals.ignore()
        force_exit.begin_exit(exit_code, signals.stop_timeout)
    return exit_code


def _open_standard_streams() -> None:
    """Open the standard streams that are closed, on the null device; make standard output line-buffered."""
    for fd, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        try:
            os.fstat(fd)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # gets the lowest number that is free, which is this one
        if getattr(sys, name) is None:
            setattr(sys, name, open(fd, mode, encoding="utf-8", errors="backslashreplace", closefd=False))  # noqa: SIM115
    with suppress(AttributeError, OSError, ValueError):  # another program has replaced the stream
        # The access log writes past the buffer; line by line, what an application prints stays in order with its lines.
        sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]


def _exit_during_imports(number: int, frame: FrameType | None) -> NoReturn:
    """The signal handler while there is nothing to clean up yet."""
    signal.signal(number, signal.SIG_DFL)  # so that a second signal ends the process if the write blocks
    with suppress(OSError):
        os.write(2, b"reserve: interrupted before the server started\n")
    os._exit(1)


def _at_exit(signals: StopSignals) -> None:
    """Flush the standard streams and restore the signal handlers, after all other ``atexit`` functions.

    What cannot be flushed is discarded: otherwise the interpreter would try again after this function, when no thread
    enforces the deadline any more.
    """
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (AttributeError, ValueError):  # None, or closed
            continue
        except OSError:
            with suppress(OSError, ValueError):
                null = os.open(os.devnull, os.O_WRONLY)
                os.dup2(null, stream.fileno())
                os.close(null)
                stream.flush()
    signals.close()
    for number in _SIGNALS:
        with suppress(ValueError):  # this is not the main thread any more
            signal.signal(number, signal.SIG_DFL)


if __name__ == "__main__":
    sys.exit(main())
