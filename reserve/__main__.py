"""The program ``reserve``, as installed and as ``python -m reserve``: what concerns the process and not the server.

Runs on the main thread, before everything else. It guarantees that a signal during the imports does not end the process
without a line, and that one during the exit does not change the exit code; that the three standard streams are open,
because otherwise a socket would get the number of one of them, and a client would receive what is meant for a log; and
that the process exits within ``--stop-timeout``, whatever blocks it. As process 1 of a container it runs the server in
a child, and waits for orphaned processes. Started as a zygote (:mod:`reserve.cli.processes.zygote`) it has no other
thread until it is about to exit, or is a forked worker.

The signal handlers come first, so until they are installed this module imports nothing that takes time.
"""

from __future__ import annotations

import atexit
import os
import signal
import sys

from reserve.cli.early.containerinit import start_under_init
from reserve.cli.early.signals import EarlySignals
from reserve.cli.early.signaltable import remembered_signals
from reserve.daemon.detach import join

TYPE_CHECKING = False  # not imported: see above
if TYPE_CHECKING:
    from reserve.cli.forceexit import ForceExit
    from reserve.cli.signals import StopSignals

__all__ = ["main"]

_TEARDOWN = 5.0, 30.0
"""Seconds that the interpreter may take to destroy the objects of the program: at least the first number, because a
busy machine must not change the exit code, and at most the second."""


def main() -> int:
    """Run the command and return the exit code of the process. See :func:`reserve.cli.command.run`."""
    supervisor_fd = os.environ.pop("RESERVE_SUPERVISOR_FD", "")
    if supervisor_fd.isdigit():
        _open_standard_streams()
        from reserve.cli.early.faultstack import write_stacks_at_faults

        write_stacks_at_faults()
        from reserve.supervisor.program import main as supervise

        return supervise(int(supervisor_fd))
    mask = start_under_init() if os.getpid() == 1 else None
    parent = join() if "_RESERVE_DAEMON" in os.environ else None
    early_signals = EarlySignals()
    early_signals.install()
    if mask is not None:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    if "RESERVE_WORKER_FD" in os.environ or "RESERVE_ZYGOTE_FD" in os.environ:  # the supervisor has blocked them
        signal.pthread_sigmask(signal.SIG_UNBLOCK, remembered_signals())
    _open_standard_streams()
    from reserve.cli.early.faultstack import write_stacks_at_faults

    write_stacks_at_faults()
    from reserve.cli.command import Program, run
    from reserve.cli.console import Console
    from reserve.cli.forceexit import ForceExit
    from reserve.cli.signals import StopSignals
    from reserve.errors import StartupError

    at_exit = _AtExit()
    atexit.register(at_exit)  # before the application is imported, so that it runs after those of the application
    continuation = None
    zygote_fd = os.environ.pop("RESERVE_ZYGOTE_FD", "")
    if zygote_fd.isdigit():
        from reserve.cli.processes.zygote import run_zygote

        continuation = run_zygote(int(zygote_fd), sys.argv[1:], early_signals)
        early_signals = continuation.early_signals
    try:
        console = Console().start()
        force_exit = ForceExit(console).start()
    except StartupError as error:  # no thread can be started, so this one writes
        os.write(2, f"reserve: {error}\n".encode())
        return error.exit_code
    signals = StopSignals(console, force_exit)
    at_exit.prepare(signals, force_exit)
    exit_code = 1
    try:
        try:
            signals.install(early_signals)
            if continuation is None:
                exit_code = run(sys.argv[1:], console, signals, Program(parent, mask is not None))
            else:
                exit_code = continuation.run(console, signals)
        finally:
            signals.ignore()
    except KeyboardInterrupt:  # before run() handles it, or after it has returned without a server
        pass
    except SystemExit as error:  # raised by the application
        exit_code = error.code if isinstance(error.code, int) else int(error.code is not None)
        raise
    finally:
        if parent is not None:
            parent.failed(exit_code)
        force_exit.begin_exit(exit_code, signals.stop_timeout)
    return exit_code


def _open_standard_streams() -> None:
    """Open the standard streams that are closed, on the null device; make standard output line-buffered."""
    from contextlib import suppress

    for fd, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        try:
            os.fstat(fd)
        except OSError:
            opened = os.open(os.devnull, os.O_RDWR)  # gets the lowest number that is free, which is this one
            os.set_inheritable(opened, True)
        if getattr(sys, name) is None:
            setattr(sys, name, open(fd, mode, encoding="utf-8", errors="backslashreplace", closefd=False))  # noqa: SIM115
    with suppress(AttributeError, OSError, ValueError):  # another program has replaced the stream
        # The access log writes past the buffer; line by line, what an application prints stays in order with its lines.
        sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]


class _AtExit:
    """The ``atexit`` function of the program, which runs after those of the application."""

    def __init__(self) -> None:
        self._prepared: tuple[StopSignals, ForceExit] | None = None

    def prepare(self, signals: StopSignals, force_exit: ForceExit) -> None:
        """Say what belongs to this process, once it is there."""
        self._prepared = signals, force_exit

    def __call__(self) -> None:
        if self._prepared is not None:
            _end(*self._prepared)


def _end(signals: StopSignals, force_exit: ForceExit) -> None:
    """Flush the standard streams and ignore signals, after all other ``atexit`` functions.

    If the process hands over to a successor, it becomes the supervisor of that now.

    What cannot be flushed is discarded: otherwise the interpreter would try again after this function, when no thread
    enforces the deadline any more. What remains is to destroy the objects of the program. A signal handler is not run
    any more in that time, and the default action would replace the exit code, so signals are ignored. No thread of
    Python runs either, so the watchdog of :mod:`faulthandler` ends the process if an object's destructor hangs.
    """
    import faulthandler
    from contextlib import suppress

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
    if force_exit.hands_over:
        force_exit.hand_over()  # does not return
    try:
        at_least, at_most = _TEARDOWN
        faulthandler.dump_traceback_later(min(max(force_exit.time_left(), at_least), at_most), exit=True, file=2)
    except (OSError, RuntimeError):  # no thread can be started: without the watchdog, a signal has to end the process
        signals.close()
    else:
        signals.close(ignoring=True)


if __name__ == "__main__":
    sys.exit(main())
