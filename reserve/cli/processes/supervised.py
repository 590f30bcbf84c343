"""From the command to the supervisor: the process that has read the options opens the listeners, and becomes it.

Runs on the main thread at start, before an application is imported.
"""

from __future__ import annotations

import os
import signal
from contextlib import ExitStack
from typing import TYPE_CHECKING, NoReturn, cast

from reserve.cli.binds import open_listeners
from reserve.cli.control.sockets import ControlSocket, open_controls, pass_controls
from reserve.cli.logfiles import make_pid_file
from reserve.cli.privileges import account
from reserve.cli.process import changed_directory, set_umask
from reserve.cli.processes.spawn import become_supervisor, handled_signals
from reserve.cli.processes.state import State, pass_listeners
from reserve.cli.proposal import shell_line
from reserve.errors import StartupError, UsageError
from reserve.loader.directory import working_directory
from reserve.sockets.listeners import release

if TYPE_CHECKING:
    from reserve.cli.parser import CommandLine
    from reserve.cli.signals import StopSignals
    from reserve.daemon.detach import Parent
    from reserve.options.sources import Values

__all__ = ["supervise"]


def supervise(command: CommandLine, values: Values, signals: StopSignals, parent: Parent | None = None) -> NoReturn:
    """Open the listeners, and become the supervisor of the worker processes that serve them.

    :param signals: installed; those that wait for the server are passed on.
    :param parent: the process that waits for this daemon; None: the process is no daemon.
    :raises UsageError: the process belongs to another program, or the platform starts processes in another way.
    :raises StartupError: an address cannot be opened, or the supervisor cannot be executed.
    """
    reason = values.need_supervisor()
    if not (hasattr(os, "fork") and hasattr(signal, "pthread_sigmask")):
        raise UsageError(f"{reason} needs fork and execve, which this platform does not have; leave it out")
    if not signals.owns_process:
        line = shell_line(list(command.argv))
        raise UsageError(f"{reason} is for the program reserve, not for a command inside another program; run: {line}")
    directory = working_directory()
    if not directory:
        raise StartupError("the working directory was deleted; start in another one")
    account(values)  # a mistake in it must not cost the rest of the start
    set_umask(values)
    pid_file = None
    controls: list[ControlSocket] = []
    with changed_directory(values), ExitStack() as cleanup:
        listeners = open_listeners(values, os.environ)
        for sock in listeners.all:
            cleanup.callback(release, sock)
        controls = open_controls(values)
        for one in controls:
            cleanup.callback(release, one.sock)
        pid_file = make_pid_file(values)
        if pid_file is not None:
            pid_file.create()  # the supervisor is the same process, and removes it
        cleanup.pop_all()
    try:
        if parent is not None:
            parent.keep_for_exec()
        state = State(
            argv=tuple(command.argv),
            directory=directory,
            listeners=pass_listeners(listeners, with_files=True),
            wanted=values.processes(),
            stop_timeout=cast("float", values["stop_timeout"]),
            preload=bool(values["preload"]),
            had_terminal=signals.had_terminal,
            nohup=signals.was_ignored(signal.SIGHUP),
            signals=signals.pending,
            controls=pass_controls(controls),
        )
        become_supervisor(state, handled_signals())
    except OSError as error:
        raise StartupError(f"the supervisor of the processes cannot be started: {error}") from error
    finally:  # it was not executed
        for sock in listeners.all:
            release(sock)
        for one in controls:
            release(one.sock)
        if pid_file is not None:
            pid_file.remove()
