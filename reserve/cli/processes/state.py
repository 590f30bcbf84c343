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

from reserve.cli.binds import Listeners
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

_PURPOSES = ("main", "without_tls", "redirects")


@dataclasses.dataclass(frozen=True, slots=True)
class PassedListener:
    """A listener that is passed on."""

    fd: int
    purpose: str
    """The field of :class:`~reserve.cli.binds.Listeners`."""
    origin: str = ""
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
    """One of :class:`~reserve.supervisor.workers.Phase`."""
    zygote: int = 0
    """The process ID of the zygote that has forked it; 0: it is a child of this process."""
    serial: int = 0
    """Its number in messages of its zygote."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """What a process needs to become the supervisor."""

    argv: tuple[str, ...]
    """The command line of the workers, without the name of the program."""
    directory: str
    """The working directory of the start."""
    listeners: tuple[PassedListener, ...]
    processes: tuple[PassedProcess, ...] = ()
    zygotes: tuple[PassedProcess, ...] = ()
    generation: int = 1
    wanted: int = 0
    """How many worker processes there should be, when signals have changed it; 0: as the options say."""
    signals: tuple[int, ...] = ()
    """Signals that have arrived and have had no effect yet."""
    aborted: bool = False
    """A worker process has aborted requests at its stop."""

    def descriptors(self) -> list[int]:
        """Every descriptor that has to be inherited."""
        processes = self.processes + self.zygotes
        return [listener.fd for listener in self.listeners] + [process.channel for process in processes]


def write_state(state: State) -> int:
    """Write the state, and return the descriptor to read it from. It and those in the state are inheritable then."""
    with tempfile.TemporaryFile() as file:
        file.write(json.dumps(dataclasses.asdict(state)).encode())
        file.flush()
        os.lseek(file.fileno(), 0, os.SEEK_SET)
        fd = os.dup(file.fileno())
    for number in (fd, *state.descriptors()):
        os.set_inheritable(number, True)
    return fd


def read_state(fd: int) -> State:
    """Read the state and close its descriptor. The descriptors in it are not inherited any more."""
    with open(fd, "rb") as file:
        data: dict[str, Any] = json.loads(file.read())
    listeners = tuple(_passed_listener(item) for item in data.pop("listeners"))
    processes = tuple(PassedProcess(**item) for item in data.pop("processes"))
    zygotes = tuple(PassedProcess(**item) for item in data.pop("zygotes", ()))
    for name in ("argv", "signals"):
        data[name] = tuple(data[name])
    state = State(listeners=listeners, processes=processes, zygotes=zygotes, **data)
    for number in state.descriptors():
        os.set_inheritable(number, False)
    return state


def _passed_listener(item: dict[str, Any]) -> PassedListener:
    created = item["created"]
    if created is not None:
        path, (device, inode), pid = created
        created = path, (device, inode), pid
    return PassedListener(item["fd"], item["purpose"], item["origin"], created)


def pass_listeners(listeners: Listeners, *, with_files: bool) -> tuple[PassedListener, ...]:
    """Describe listeners for another process.

    :param with_files: the process that gets them removes the files of UNIX sockets at the end.
    """
    return tuple(
        PassedListener(
            sock.fileno(),
            purpose,
            listeners.origins.get(sock, ""),
            getattr(sock, "created", None) if with_files else None,
        )
        for purpose in _PURPOSES
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
    return listeners
