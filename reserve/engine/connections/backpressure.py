"""Backpressure, for an application that writes faster than its client reads: the output goes to a file, and when the
file may not grow, the worker waits for the client.

Runs only on the worker that runs the application and owns the connection. The functions may block: on the disk, or
until the client reads.
"""

from __future__ import annotations

import time

from reserve.engine.connections.closing import reset
from reserve.engine.connections.connection import Connection
from reserve.engine.connections.output import Output
from reserve.errors import ClientDisconnected

__all__ = ["NO_ROOM_LIMITS", "NoRoom", "TooSlow", "drain", "make_room", "send_cached_file"]

NO_ROOM_LIMITS = (1.0, 65536)
"""The limits for a client while a worker waits for it because memory and disk are used up: the seconds that may pass
without progress, and the bytes a second that it must take after that time. They are strict, so that clients cannot keep
the workers busy.
"""


_FIRST_SEND = 1048576  # bytes of a file that a worker sends itself


class NoRoom(Exception):
    """Neither ``--buffer-memory`` nor ``--spool-disk`` has room for a response."""


class TooSlow(ClientDisconnected):
    """The client took too little while a worker waited for it. The output is discarded, and the close is a reset."""


def make_room(connection: Connection, memory: int, disk: int, folder: str | None) -> bool:
    """Make room before more is written: flush; if more than ``memory`` bytes still wait, move them to a file.

    :param disk: bytes that the file may hold.
    :param folder: where the file is made; None: the system's directory for temporary files.

    False: the file would hold more than ``disk`` bytes, or more than one response may have of the budget's disk, and
    the writer has to wait, see :func:`drain`. When the budget's disk is used up, the output stays in memory. Raises
    NoRoom when the budget's memory is used up, too, ClientDisconnected when the connection has failed, and OSError when
    the disk is full.
    """
    output = connection.output
    if output is None or (not _is_full(connection) and _flush(connection, output, disk=False)) or output.size <= memory:
        return True
    if output.spooled + output.size > disk:
        return False
    if output.held <= memory:
        return True
    budget = connection.server.budget
    if budget.disk_for_response(output.size):
        if not budget.within_share(connection.counted[2], output.size):
            return False
        output.spill(folder, connection.server.close_file)
    elif not budget.memory_for(output.held - connection.counted[0]):
        raise NoRoom
    connection.settle()
    return True


def send_cached_file(connection: Connection) -> None:
    """Send what the socket takes of a file that was just written to the connection, if the page cache seems to have it.

    That is the cheapest way, because the bytes are not copied, and a worker may wait if the cache lacks a part of them.
    Otherwise, and if this fails, the file is left to the thread that steps the connection.
    """
    output = connection.output
    if output is None or not output.file_probably_cached(_FIRST_SEND):
        return
    try:
        done, _ = output.flush(connection.sink, _FIRST_SEND)
    except OSError:  # it is raised once more for that thread, which closes the connection
        return
    if done:
        connection.output = None
    connection.settle()


def drain(connection: Connection, limit: int, timeout: float, rate: int = 0) -> None:
    """Block until at most ``limit`` bytes wait in memory.

    Raises TooSlow when the peer takes nothing for ``timeout`` seconds, or after that time less than ``rate`` bytes a
    second (more for an output that is in a file, see :meth:`Output.lowest_rate`); ClientDisconnected when the
    connection fails.
    """
    output = connection.output
    since = time.monotonic()
    sent = 0 if output is None else output.sent
    while output is not None and not _flush(connection, output):
        if output.size <= limit:
            return
        remaining = timeout
        if rate:
            earned = (output.sent - sent) / output.lowest_rate(rate)
            remaining = min(remaining, since + timeout + earned - time.monotonic())
        if remaining <= 0 or not connection.wait(remaining, write=True):
            connection.drop_output()  # discard the output: the close must not wait for this client
            reset(connection)
            raise TooSlow(f"the client took too little for {timeout:g} s (--write-timeout, --write-rate)")


def _is_full(connection: Connection) -> bool:
    """The last send found no room, and the poller, which watches the socket, has not reported any since."""
    return connection.armed != 0 and not (connection.pending or connection.missed)


def _flush(connection: Connection, output: Output, *, disk: bool = True) -> bool:
    """Send as much as the socket takes; True when nothing waits any more."""
    try:
        done, sent = output.flush(connection.sink, disk=disk)
    except OSError as error:
        raise ClientDisconnected(f"the client went away: {error.strerror or error}") from None
    if sent and output.since is not None:
        output.progress_at = connection.server.clock.now()
    if done:
        connection.output = None
        connection.settle()
    return done
