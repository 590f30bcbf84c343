"""A zygote: a process that has imported the application, and forks worker processes then (``--preload``).

The workers share the memory of what was imported. Only a process with one thread can be forked safely: in the child
the other threads do not exist, and a lock that one of them held stays locked. So the main thread is the only one here:
there is neither a :class:`~reserve.cli.console.Console` with its thread nor a ``ForceExit``, and an application that
has started a thread is refused. A forked worker has them, and is a worker process like every other from then on.

The supervisor starts one zygote for each generation, and sends it ``fork`` (with the descriptor of the worker's channel
and a serial number) and ``signal`` (a serial number and a signal). The zygote sends ``preloaded``, ``forked`` (a
serial number and a process ID) and ``ended`` (a serial number and an exit code), because only a parent can wait for a
process, and can be sure that a process ID still belongs to it. The zygote ends when the supervisor closes the channel.
It ignores signals that stop a server, so that a service manager that sends them to all processes does not end it before
its workers.
"""

from __future__ import annotations

import errno
import gc
import os
import selectors
import signal
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import FrameType
from typing import Any

import reserve.cli.processes.worker  # before the fork, so that the workers share it
import reserve.engine.scoreboard
import reserve.engine.server  # noqa: F401
from reserve.cli.command import preload, serve_preloaded
from reserve.cli.console import Console, DirectConsole
from reserve.cli.early.signals import EarlySignals
from reserve.cli.early.signaltable import Reaction, reaction_to
from reserve.cli.processes.channel import Channel, DescriptorChannel
from reserve.cli.processes.forkable import connections, refusal, shared_connections, thread_names
from reserve.cli.signals import StopSignals
from reserve.cli.start import Start
from reserve.daemon.detach import null_streams
from reserve.errors import StartupError

__all__ = ["Continuation", "run_zygote"]


@dataclass(frozen=True, slots=True)
class Continuation:
    """What the program does after :func:`run_zygote` has returned: in the zygote its exit, in a fork of it a worker."""

    early_signals: EarlySignals
    run: Callable[[Console, StopSignals], int]
    """Returns the exit code of the process."""


def run_zygote(fd: int, argv: Sequence[str], early: EarlySignals) -> Continuation:
    """Import the application, and fork workers until the supervisor closes the channel. Returns in each worker, too.

    :param fd: the descriptor of the channel.
    :param argv: the command line without the name of the program.
    :param early: what has handled the signals until now.
    """
    channel = DescriptorChannel(socket.socket(fileno=fd))
    channel.sock.set_inheritable(False)
    console = DirectConsole()
    try:
        start = _preload(channel, argv, console)
    except BaseException as error:
        channel.close()
        return _raise(early, error)
    if isinstance(start, int):
        channel.close()
        return _exit(early, start)
    return _Zygote(channel, early, start, console).run()


def _preload(channel: Channel, argv: Sequence[str], console: Console) -> Start | int:
    """Import the application, and check that there is one thread; the exit code if that was not possible."""
    setup = _read_setup(channel)
    if setup is None:
        return StartupError.exit_code
    for item in setup.get("listeners", ()):
        os.set_inheritable(item["fd"], False)
    before = connections()
    start = preload(argv, console, announces=bool(setup.get("announce")))
    if isinstance(start, int):
        return start
    threads = thread_names()
    if threads:
        console.write(f"reserve: {refusal(threads)}\n")
        return StartupError.exit_code
    opened = [peer for key, peer in connections().items() if key not in before]
    if opened:
        console.write(f"reserve: {shared_connections(opened)}\n")
    if start.values["daemon"]:
        null_streams(keep_files=True)  # what comes next is for the supervisor to say
    return start


def _read_setup(channel: Channel) -> dict[str, Any] | None:
    """The first message; None: the supervisor has ended."""
    while not channel.ended:
        for message in channel.receive():
            if message["type"] == "setup":
                return message
    return None


def _exit(early: EarlySignals, exit_code: int) -> Continuation:
    def run(console: Console, signals: StopSignals) -> int:
        signals.stop_timeout = 0.0  # no request waits, so neither do threads of the application
        return exit_code

    return Continuation(early, run)


def _raise(early: EarlySignals, error: BaseException) -> Continuation:
    def run(console: Console, signals: StopSignals) -> int:
        signals.stop_timeout = 0.0
        raise error

    return Continuation(early, run)


class _Zygote:
    """The zygote after the import. Used by the main thread."""

    def __init__(self, channel: DescriptorChannel, early: EarlySignals, start: Start, console: Console) -> None:
        self._channel = channel
        self._early = early
        self._start = start
        self._console = console
        self._children: dict[int, int] = {}
        """The process IDs of the workers, by serial number."""
        self._handlers: dict[int, Any] = {}
        """What handled the signals before that this object handles."""
        self._previous_wakeup_fd = -1
        self._wakeup = os.pipe()
        self._selector = selectors.DefaultSelector()

    def run(self) -> Continuation:
        """Do what the supervisor says. Returns when it has closed the channel, and in each forked worker."""
        for end in self._wakeup:
            os.set_blocking(end, False)
        self._install()
        self._channel.sock.setblocking(False)
        self._selector.register(self._channel, selectors.EVENT_READ)
        self._selector.register(self._wakeup[0], selectors.EVENT_READ)
        # A collection would otherwise write to each object that is shared, and so copy its page.
        gc.collect()
        gc.freeze()
        self._channel.send("preloaded")
        while not self._channel.ended:
            for key, _ in self._selector.select():
                if key.fd == self._wakeup[0]:
                    os.read(self._wakeup[0], 4096)
                    continue
                for message in self._channel.receive():
                    if message["type"] == "fork":
                        if not self._channel.descriptors:  # this process has no free one
                            self._give_up(message["serial"], OSError(errno.EMFILE, os.strerror(errno.EMFILE)))
                            continue
                        worker = self._fork(message["serial"], self._channel.descriptors.popleft())
                        if worker is not None:
                            return worker
                    elif message["type"] == "signal" and message["serial"] in self._children:
                        os.kill(self._children[message["serial"]], message["number"])
            self._reap()
        self._close()
        return _exit(self._early, 0)

    def _fork(self, serial: int, fd: int) -> Continuation | None:
        """Fork a worker. Returns in the worker what it does; None in the zygote.

        :param serial: its number in messages.
        :param fd: the descriptor of its channel.
        """
        threads = thread_names()  # a hook of os.register_at_fork may have started one after the last fork
        try:
            if threads:
                raise OSError(refusal(threads))
            # No signal has an effect on the child before the handlers of a worker are there.
            mask = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
            try:
                pid = os.fork()
            except BaseException:
                signal.pthread_sigmask(signal.SIG_SETMASK, mask)
                raise
        except OSError as error:
            os.close(fd)
            self._give_up(serial, error)
            return None
        if pid == 0:
            return self._become_worker(fd, mask)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        os.close(fd)
        self._children[serial] = pid
        self._channel.send("forked", serial=serial, pid=pid)
        return None

    def _give_up(self, serial: int, error: OSError) -> None:
        self._console.write(f"reserve: a worker process cannot be forked: {error}\n")
        self._channel.send("ended", serial=serial, code=StartupError.exit_code)

    def _become_worker(self, fd: int, mask: set[int | signal.Signals]) -> Continuation:
        """In the child: undo what is for the zygote alone."""
        os.setpgid(0, 0)  # as every worker process
        self._close()
        had_terminal = self._early.had_terminal
        for number, previous in self._early.previous_handlers.items():
            if self._early.handles(number):
                signal.signal(number, signal.SIG_DFL if previous is None else previous)
        early = EarlySignals()
        early.had_terminal = had_terminal
        early.install()
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        channel, start = Channel.from_fd(fd), self._start
        return Continuation(early, lambda console, signals: serve_preloaded(start, channel, console, signals))

    def _reap(self) -> None:
        """Wait for the workers that have ended, and only for them: the application may have children of its own."""
        for serial, pid in list(self._children.items()):
            try:
                ended, status = os.waitpid(pid, os.WNOHANG)
            except ChildProcessError:  # the application has waited for it
                ended, status = pid, 0
            if ended:
                del self._children[serial]
                self._channel.send("ended", serial=serial, code=os.waitstatus_to_exitcode(status))

    def _install(self) -> None:
        stopping = (Reaction.STOP, Reaction.STOP_AT_ONCE)
        handled = [number for number in signal.valid_signals() if reaction_to(number) in stopping]
        for number in (*handled, signal.SIGCHLD):
            self._handlers[number] = signal.signal(number, _ignore)
        self._previous_wakeup_fd = signal.set_wakeup_fd(self._wakeup[1], warn_on_full_buffer=False)

    def _close(self) -> None:
        signal.set_wakeup_fd(self._previous_wakeup_fd)
        for number, handler in self._handlers.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
        self._selector.close()
        self._channel.close()
        for end in self._wakeup:
            os.close(end)


def _ignore(number: int, frame: FrameType | None) -> None:
    """The signal handler. Not SIG_IGN, which programs that the application starts would inherit."""
