"""Process 1 of a container: it starts the server as its child, passes signals on to it, and reaps orphaned processes.

A process whose parent has ended becomes a child of process 1, and stays a zombie until process 1 waits for it. The
server cannot do that itself: ``waitpid`` for any child would take the exit status of the processes that the application
waits for, and nothing tells the two kinds apart. So the program forks before it has imported or opened anything. The
parent has one thread, which waits for signals; the child is the server. Runs on the main thread.
"""

from __future__ import annotations

import os
import signal

from reserve.cli.early.signaltable import Reaction, name_of, reaction_to

TYPE_CHECKING = False  # not imported: the module typing would take as long as everything else here
if TYPE_CHECKING:
    from typing import NoReturn

__all__ = ["start_under_init"]


def start_under_init() -> set[int | signal.Signals]:
    """Fork; return in the child only, and exit in the parent with the exit code of the child.

    A child that a signal has ended gives 128 plus the number of the signal, as in a shell. If the system allows no
    other process, this one goes on as the server.

    :returns: the signal mask to set once there are handlers: in the child signals are blocked until then, so that none
        has its default action.
    """
    forwarded = {number for number in signal.valid_signals() if reaction_to(number) is not Reaction.FAULT}
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, forwarded)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # the end of a child would not be noticed if it were ignored
    try:
        pid = os.fork()
    except OSError:
        return mask
    if pid:
        try:
            _close_descriptors()
            _forward_signals(pid, forwarded)
        finally:
            os._exit(1)
    if os.environ.get("LISTEN_PID") == "1":  # from sdlaunch, which has become this program
        os.environ["LISTEN_PID"] = str(os.getpid())
    _take_terminal()
    return mask


def _take_terminal() -> None:
    """Become the foreground process group of the terminal, if the parent was in it.

    Otherwise Ctrl-C would arrive twice: from the terminal, and from process 1. SIGTTOU is blocked meanwhile, so the
    terminal does not stop this process.
    """
    parents_group = os.getpgrp()
    os.setpgid(0, 0)
    try:
        terminal = os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY)
    except OSError:
        return
    try:
        if os.tcgetpgrp(terminal) == parents_group:
            os.tcsetpgrp(terminal, os.getpgrp())
    except OSError:  # the terminal was closed
        pass
    finally:
        os.close(terminal)


def _close_descriptors() -> None:
    """Close inherited listening sockets: the server could not close their port while this process holds a copy."""
    from contextlib import suppress

    try:
        names = os.listdir("/proc/self/fd")
    except OSError:
        names = [str(fd) for fd in range(1024)]
    for name in names:
        if int(name) > 2:
            with suppress(OSError):  # the descriptor of the listing
                os.close(int(name))


def _forward_signals(server: int, signals: set[signal.Signals]) -> NoReturn:
    """Send every signal to the server, and wait for every child, until the server has ended."""
    from contextlib import suppress

    while True:
        number = signal.sigwait(signals)
        if number == signal.SIGCHLD:
            _reap(server)
            continue
        with suppress(OSError):  # it has ended, and the signal that says so comes next
            os.kill(server, number)


def _reap(server: int) -> None:
    """Wait for all children that have ended; exit if the server is one of them."""
    from contextlib import suppress

    while True:
        pid, status = os.waitpid(-1, os.WNOHANG | os.WUNTRACED)
        if pid == 0:
            return
        if pid != server:
            continue
        if os.WIFSTOPPED(status):
            if os.WSTOPSIG(status) == signal.SIGTSTP:  # Ctrl-Z: there is no shell in which the user could continue it
                os.kill(server, signal.SIGCONT)
            continue
        code = os.waitstatus_to_exitcode(status)
        if code < 0:
            from reserve.wait import write_within

            with suppress(OSError):
                write_within(2, f"reserve: the process of the server has ended: {name_of(-code)}\n".encode(), 1.0)
        os._exit(code if code >= 0 else 128 - code)
