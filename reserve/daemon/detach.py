"""Into the background: a process without a terminal, and its messages to the process that has started it.

``sdlaunch -d`` forks, since it has one thread. The command ``reserve --daemon`` has threads by the time it knows its
options, and forking would lose them; it starts the same command anew, which leaves the session before it has any
(:func:`join`). The pipe between the two carries lines: the process ID of the daemon, then ``ready``, or the exit code
of a daemon that has failed. Runs on the main threads of both; :meth:`Parent.ready` on the one that starts the server.
"""

from __future__ import annotations

import os
import signal
import stat
import sys
from contextlib import suppress

from reserve.errors import StartupError

__all__ = ["Parent", "join", "leave_session", "null_streams", "start"]

_VARIABLE = "_RESERVE_DAEMON"
"""The number of the pipe and the process ID of the parent, for the process in the background only."""
_PASSED = "_RESERVE_DAEMON_PIPE"
"""The number of the pipe, for the program that the daemon executes in its own place."""
_READY = "ready"


def leave_session() -> None:
    """Start a new session, and return in a child that cannot get a terminal any more; this process exits."""
    os.setsid()
    if os.fork() != 0:
        os._exit(0)


def null_streams(*, keep_files: bool = False) -> None:
    """Open the null device as standard input, output and error.

    :param keep_files: a stream that is a regular file stays: ``2> error.log``.
    """
    null = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        if not (keep_files and _is_file(stream)):
            os.dup2(null, stream)
    if null > 2:
        os.close(null)


def _is_file(fd: int) -> bool:
    try:
        return stat.S_ISREG(os.fstat(fd).st_mode)
    except OSError:
        return False


class Parent:
    """In the daemon: the process that waits until the server is ready; the command makes one, with :func:`join`."""

    def __init__(self, fd: int) -> None:
        """:param fd: the pipe to it."""
        self._fd: int | None = fd

    def started(self) -> None:
        """Tell it the process ID of the daemon."""
        self._send(str(os.getpid()))

    @classmethod
    def resume(cls) -> Parent | None:
        """The one that :meth:`keep_for_exec` has passed on to this program; None: there is none."""
        text = os.environ.pop(_PASSED, "")
        if not text.isdigit():
            return None
        os.set_inheritable(int(text), False)
        return cls(int(text))

    def keep_for_exec(self) -> None:
        """Pass the pipe on to the program that this process executes next."""
        if self._fd is not None:
            os.set_inheritable(self._fd, True)
            os.environ[_PASSED] = str(self._fd)

    def ready(self) -> None:
        """The server serves: the parent exits with 0, and the standard streams are the null device if they are no
        files. A second call does nothing.
        """
        if self._fd is not None:
            for stream in (sys.stdout, sys.stderr):
                with suppress(AttributeError, OSError, ValueError):
                    stream.flush()
            null_streams(keep_files=True)
            self._end(_READY)

    def failed(self, exit_code: int) -> None:
        """The process exits; if it never was ready, the parent exits with the same code."""
        self._end(str(exit_code))

    def _end(self, line: str) -> None:
        if self._fd is not None:
            self._send(line)
            with suppress(OSError):  # closed by the application
                os.close(self._fd)
            self._fd = None

    def _send(self, line: str) -> None:
        if self._fd is not None:
            with suppress(OSError):  # the parent was killed, or the application has closed the pipe
                os.write(self._fd, f"{line}\n".encode())


def join() -> Parent | None:
    """Become the daemon, if this process was started to be one; called before the process has threads.

    :returns: what waits for it; None: this process is no daemon.
    """
    text = os.environ.pop(_VARIABLE, "")
    if not text:
        return None
    fd, _, parent = text.partition(":")
    leave_session()
    signal.pthread_sigmask(signal.SIG_UNBLOCK, (signal.SIGINT, signal.SIGQUIT))
    os.set_inheritable(int(fd), False)
    if os.environ.get("LISTEN_PID") == parent:  # the sockets were passed to the command that was to go on as this one
        os.environ["LISTEN_PID"] = str(os.getpid())
    waiting = Parent(int(fd))
    waiting.started()
    return waiting


def start() -> tuple[int, int]:
    """Start the command of this process anew in the background, and wait until it serves.

    :returns: 0 and the process ID of the daemon; or the exit code of one that could not start, which has written why.
    :raises StartupError: no process can be started.
    :raises KeyboardInterrupt: a signal came meanwhile; the daemon is told to stop.
    """
    import subprocess

    if not hasattr(os, "fork"):
        raise StartupError("a process in the background needs fork, which this system does not have")
    reader, writer = os.pipe()
    pid, code = 0, 1
    with open(reader, encoding="ascii") as pipe:
        try:
            os.set_inheritable(writer, True)
            environ = {**os.environ, _VARIABLE: f"{writer}:{os.getpid()}"}
            # What is inheritable was passed to this process: by systemd, or for fd:N. SIGINT is blocked until the
            # daemon has left the session, because it is meant for this process.
            before = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT, signal.SIGQUIT))
            try:
                process = subprocess.Popen(sys.orig_argv, executable=sys.executable, env=environ, close_fds=False)
            finally:
                signal.pthread_sigmask(signal.SIG_SETMASK, before)
        except OSError as error:
            raise StartupError(f"cannot start a background process: {error.strerror or error}") from error
        finally:
            os.close(writer)
        try:
            process.wait()
            for line in pipe:
                if line == f"{_READY}\n":
                    return 0, pid
                if pid:
                    code = int(line)
                else:
                    pid = int(line)
        except KeyboardInterrupt:
            if pid:
                with suppress(OSError):
                    os.kill(pid, signal.SIGTERM)
            raise
    return code or 1, pid
