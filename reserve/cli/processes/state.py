"""What a process passes on to the one that it becomes, or starts: listeners, worker processes, the command line.

A descriptor keeps its number across ``execve`` if it is inheritable. So the state names descriptors by number, and is
itself a short file without a name, whose descriptor an environment variable names. Used by the main thread.
"""

from __future__ import annotations

import dataclasses
import json
import os
import socket
import tempfile
from collections.abc import Iterable
from typing import Any

from reserve.cli.binds import PURPOSES, Listeners
from reserve.sockets.listeners import adopt
from reserve.sockets.unix import UNIXListener

__all__ = [
    "SUPERVISOR_VARIABLE",
    "WORKER_VARIABLE",
    "ZYGOTE_VARIABLE",
    "PassedListener",
    "PassedProcess",
    "State",
    "adopt_listeners",
    "pass_listeners",
    "read_state",
    "write_state",
]

SUPERVISOR_VARIABLE = "RESERVE_SUPERVISOR_FD"
"""The environment variable with the descriptor of a :class:`State`: the program is to become the supervisor."""
WORKER_VARIABLE = "RESERVE_WORKER_FD"
"""The environment variable with the descriptor of a channel: the program is a worker process."""
ZYGOTE_VARIABLE = "RESERVE_ZYGOTE_FD"
"""The environment variable with the descriptor of a channel: the program imports the application, and forks workers."""


@dataclasses.dataclass(frozen=True, slots=True)
class PassedListener:
    """A listener that is passed on."""

    fd: int
    purpose: str
    """The field of :class:`~reserve.cli.binds.Listeners`."""
    origin: str = ""
    address: str = ""
    """The address of an option that it was opened for; empty: none, because it was passed to this process."""
    created: tuple[str, tuple[int, int], int] | None = None
    """The file of a UNIX socket: see :attr:`~reserve.sockets.unix.UNIXListener.created`; None: another process removes
    it, or there is none."""


@dataclasses.dataclass(frozen=True, slots=True)
class PassedProcess:
    """A worker process that is passed on: a child of this process, which ``execve`` does not change."""

    pid: int
    channel: int
    generation: int
    slot: int
    phase: str
    """One of :class:`~reserve.supervisor.policy.Phase`."""
    zygote: int = 0
    """The process ID of the zygote that has forked it; 0: it is a child of this process."""
    serial: int = 0
    """Its number in messages of its zygote."""
    unread: str = ""
    """The beginning of a message from it, as :meth:`~reserve.cli.processes.channel.Channel.passed` has it."""
    unsent: str = ""
    """The end of messages to it, likewise."""
    due: str = ""
    """Why it is to be replaced; empty: it is not."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """What a process needs to become the supervisor."""

    argv: tuple[str, ...]
    """The command line of the workers, without the name of the program."""
    directory: str
    """The working directory of the start."""
    listeners: tuple[PassedListener, ...]
    processes: tuple[PassedProcess, ...] = ()
    served: bool = False
    """A process has served, also if none is left: what does not start is tried again, and does not end the server."""
    zygotes: tuple[PassedProcess, ...] = ()
    generation: int = 1
    wanted: int = 0
    """How many worker processes there should be. 0: this, and the next two, are as the options say."""
    stop_timeout: float = 30.0
    """Seconds that requests in flight have at a stop."""
    preload: bool = False
    """Workers are forked by a zygote."""
    had_terminal: bool = False
    """The process had a controlling terminal when it started."""
    nohup: bool = False
    """SIGHUP was ignored when it started, as ``nohup`` has it."""
    signals: tuple[int, ...] = ()
    """Signals that have arrived and have had no effect yet."""
    scoreboard: int = -1
    """The descriptor of the :class:`~reserve.engine.scoreboard.Scoreboard`; -1: there is none yet."""
    signal_pipe: int = -1
    """A descriptor from which more such signals are read, a byte each; -1: there is none."""
    stops: int = 0
    """How many signals to stop have arrived and were passed on to the worker processes; the person has read of them."""
    controls: tuple[PassedListener, ...] = ()
    """The control sockets; the purpose is the name of the option."""
    counts: dict[str, Any] = dataclasses.field(default_factory=dict)
    """What the supervisor has counted (:meth:`~reserve.control.relay.Relay.passed`)."""
    aborted: bool = False
    """A worker process has aborted requests at its stop."""

    @property
    def has_served(self) -> bool:
        """Whether a process has served: see :attr:`served`."""
        return self.served or any(process.phase != "starting" for process in self.processes)

    def descriptors(self) -> list[int]:
        """Every descriptor that has to be inherited."""
        processes = self.processes + self.zygotes
        fds = [listener.fd for listener in (*self.listeners, *self.controls)] + [
            process.channel for process in processes
        ]
        return fds + [fd for fd in (self.scoreboard, self.signal_pipe) if fd >= 0]


def write_state(state: State) -> int:
    """Write the state, and return the descriptor to read it from. It and those in the state are inheritable then."""
    fd = _unnamed_file()
    with open(fd, "wb", closefd=False) as file:
        file.write(json.dumps(dataclasses.asdict(state)).encode())
    os.lseek(fd, 0, os.SEEK_SET)
    for number in (fd, *state.descriptors()):
        os.set_inheritable(number, True)
    return fd


def _unnamed_file() -> int:
    """A file in memory, where the system has such, because a container may have no place that can be written to."""
    if hasattr(os, "memfd_create"):
        try:
            return os.memfd_create("reserve")
        except OSError:  # a sandbox forbids it
            pass
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())


def read_state(fd: int) -> State:
    """Read the state and close its descriptor. The descriptors in it are not inherited any more. The signals in its
    pipe are added to the others.

    Another version of the program may have written it, so what this one does not know is left out.
    """
    with open(fd, "rb") as file:
        data: dict[str, Any] = json.loads(file.read())
    for name in ("listeners", "controls"):
        data[name] = tuple(_passed_listener(item) for item in data.get(name, ()))
    for name in ("processes", "zygotes"):
        data[name] = tuple(PassedProcess(**_known(PassedProcess, item)) for item in data.get(name, ()))
    for name in ("argv", "signals"):
        data[name] = tuple(data.get(name, ()))
    state = State(**_known(State, data))
    for number in state.descriptors():
        os.set_inheritable(number, False)
    if state.signal_pipe < 0:
        return state
    signals = _read_rest(state.signal_pipe)
    return dataclasses.replace(state, signals=(*state.signals, *signals), signal_pipe=-1)


def _read_rest(reader: int) -> bytes:
    """What is in a pipe, which is closed then."""
    os.set_blocking(reader, False)
    try:
        return os.read(reader, 4096)
    except BlockingIOError:
        return b""
    finally:
        os.close(reader)


def _known(kind: type, values: dict[str, Any]) -> dict[str, Any]:
    names = {field.name for field in dataclasses.fields(kind)}
    return {name: value for name, value in values.items() if name in names}


def _passed_listener(item: dict[str, Any]) -> PassedListener:
    created = item.get("created")
    if created is not None:
        path, (device, inode), pid = created
        created = path, (device, inode), pid
    return PassedListener(**_known(PassedListener, {**item, "created": created}))


def pass_listeners(listeners: Listeners, *, with_files: bool) -> tuple[PassedListener, ...]:
    """Describe listeners for another process.

    :param with_files: the process that gets them removes the files of UNIX sockets at the end.
    """
    return tuple(
        PassedListener(
            sock.fileno(),
            purpose,
            listeners.origins.get(sock, ""),
            listeners.addresses.get(sock, ""),
            getattr(sock, "created", None) if with_files else None,
        )
        for purpose in PURPOSES
        for sock in getattr(listeners, purpose)
    )


def adopt_listeners(passed: Iterable[PassedListener]) -> Listeners:
    """Take over listeners that another process, or this one before ``execve``, has passed on."""
    listeners = Listeners()
    for item in passed:
        sock: socket.socket = adopt(item.fd)
        if item.created is not None:
            file_socket = UNIXListener(sock.family, sock.type, sock.proto, fileno=sock.detach())
            file_socket.setblocking(False)
            file_socket.created = item.created
            sock = file_socket
        getattr(listeners, item.purpose).append(sock)
        if item.origin:
            listeners.origins[sock] = item.origin
        if item.address:
            listeners.addresses[sock] = item.address
    return listeners
