"""Starting the program ``reserve`` again: as a worker process, and in the place of this process as the supervisor.

Both are a new interpreter with the same command line. So a worker has the application, the configuration and the
certificates as they are at that moment, and the supervisor has never imported an application.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any, NoReturn

from reserve.cli.early.signaltable import Reaction, reaction_to, remembered_signals
from reserve.cli.processes.channel import Channel
from reserve.cli.processes.state import (
    SUPERVISOR_VARIABLE,
    WORKER_VARIABLE,
    ZYGOTE_VARIABLE,
    PassedListener,
    State,
    write_state,
)

__all__ = ["become_supervisor", "fork_worker", "handled_signals", "program", "start_worker", "start_zygote"]


def program() -> list[str]:
    """The words that run the program ``reserve`` as this process was run: interpreter, its options, and the program."""
    flags: list[str] = getattr(subprocess, "_args_from_interpreter_flags", list)()
    main = sys.modules.get("__main__")
    spec = getattr(main, "__spec__", None)
    if spec is None and os.path.basename(sys.argv[0]) in ("reserve", "reserve.exe") and os.path.exists(sys.argv[0]):
        return [sys.executable, *flags, os.path.abspath(sys.argv[0])]
    return [sys.executable, *flags, "-m", "reserve"]


def start_worker(
    argv: Sequence[str], listeners: Iterable[PassedListener], directory: str, **setup: Any
) -> tuple[subprocess.Popen[bytes], Channel]:
    """Start a worker process, and return it with this process's end of the channel.

    It gets a process group of its own, so that Ctrl-C in a terminal is for the supervisor alone.

    :param argv: the command line without the name of the program.
    :param listeners: what it serves. Their files belong to this process.
    :param directory: its working directory.
    :param setup: what else it is told first: see :class:`~reserve.cli.processes.worker.SupervisedWorker`. ``environ``
        is not told: the environment variables, by default the present ones; and ``pass_fds``: more descriptors.
    :raises OSError: the system starts no more processes.
    """
    return _start(WORKER_VARIABLE, argv, listeners, directory, setup)


def start_zygote(
    argv: Sequence[str], listeners: Iterable[PassedListener], directory: str, **setup: Any
) -> tuple[subprocess.Popen[bytes], Channel]:
    """Start a process that imports the application, and forks worker processes then: see
    :mod:`reserve.cli.processes.zygote`. The parameters are those of :func:`start_worker`.
    """
    return _start(ZYGOTE_VARIABLE, argv, listeners, directory, setup)


def fork_worker(
    zygote: Channel, parent: int, serial: int, listeners: Iterable[PassedListener], **setup: Any
) -> Channel:
    """Have a zygote fork a worker process, and return this process's end of the channel of the worker.

    :param zygote: this process's end of the channel of the zygote.
    :param parent: the process ID of the zygote.
    :param serial: the number of the worker in messages of the zygote.
    :param listeners: some of those that the zygote was given.
    :param setup: what else the worker is told first: see :class:`~reserve.cli.processes.worker.SupervisedWorker`.
    """
    own, others = Channel.pair()
    own.send("setup", parent=parent, listeners=_described(listeners), **setup)
    zygote.send_descriptor(others.fileno(), "fork", serial=serial)
    others.close()
    return own


def _start(
    variable: str, argv: Sequence[str], listeners: Iterable[PassedListener], directory: str, setup: dict[str, Any]
) -> tuple[subprocess.Popen[bytes], Channel]:
    """Start the program with one end of a channel, whose descriptor is in an environment variable.

    The signals that a start remembers are blocked in it until it handles them, because their default action would end
    it: a SIGUSR1 of logrotate, say, while the interpreter starts. ``mask`` in ``setup`` has the other signals that are
    blocked in it; without it these are the ones of the calling thread.
    """
    own, others = Channel.pair()
    listeners = tuple(listeners)
    begins_with = setup.pop("mask", None)
    environ = {**setup.pop("environ", os.environ), variable: str(others.fileno())}
    environ.pop("NOTIFY_SOCKET", None)
    extra = setup.pop("pass_fds", ())
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, remembered_signals())
    if begins_with is not None:
        signal.pthread_sigmask(signal.SIG_SETMASK, {*begins_with, *remembered_signals()})
    try:
        process = subprocess.Popen(
            [*program(), *argv],
            cwd=directory,
            env=environ,
            stdin=subprocess.DEVNULL,  # a process in the background that reads from a terminal is stopped
            pass_fds=[others.fileno(), *(item.fd for item in listeners), *extra],
            process_group=0,
        )
    except BaseException:
        own.close()
        raise
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        others.close()
    own.send("setup", parent=os.getpid(), listeners=_described(listeners), **setup)
    return process, own


def _described(listeners: Iterable[PassedListener]) -> list[dict[str, Any]]:
    """Listeners for a message. Their files belong to this process."""
    return [{"fd": item.fd, "purpose": item.purpose, "origin": item.origin, "created": None} for item in listeners]


def become_supervisor(state: State, handled: Iterable[int], environ: Mapping[str, str] | None = None) -> NoReturn:
    """Execute the supervisor in the place of this process.

    :param handled: the signals that have an effect on the supervisor. They are blocked until it handles them, because
        their default action would end the process.
    :param environ: the environment variables; None: the present ones.
    :raises OSError: the interpreter cannot be executed.
    """
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, handled)
    fd = -1
    try:
        os.chdir(state.directory)
        fd = write_state(state)
        words = [*program(), *state.argv]
        for stream in (sys.stdout, sys.stderr):
            if stream is not None:
                with suppress(OSError, ValueError):  # closed
                    stream.flush()
        os.execve(words[0], words, {**(os.environ if environ is None else environ), SUPERVISOR_VARIABLE: str(fd)})
    finally:  # it was not executed
        for number in (fd, *state.descriptors()):
            with suppress(OSError):
                os.set_inheritable(number, False)
        if fd >= 0:
            os.close(fd)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def handled_signals() -> Sequence[int]:
    """The signals that have an effect on the supervisor, or are reported by it, if they are not ignored."""
    reactions = (
        Reaction.STOP, Reaction.STOP_AT_ONCE, Reaction.RELOAD, Reaction.HAND_OVER, Reaction.REOPEN, Reaction.REPORT,
        Reaction.TERMINAL,
    )  # fmt: skip
    own = (signal.SIGCHLD, signal.SIGTSTP)
    return [*(number for number in signal.valid_signals() if reaction_to(number) in reactions), *own]
