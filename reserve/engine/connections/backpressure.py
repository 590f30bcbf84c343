"""An application that writes faster than its client reads: its output goes to a file, and past that its worker waits.

Only on the worker that runs the application and owns the connection: both functions may block, on the disk or for the
client.
"""

from __future__ import annotations

import time

from reserve.engine.connections.closing import reset
from reserve.engine.connections.connection import Connection
from reserve.engine.connections.output import Output
from reserve.errors import ClientDisconnected

__all__ = ["NO_ROOM_LIMITS", "NoRoom", "TooSlow", "drain", "make_room"]

NO_ROOM_LIMITS = (1.0, 65536)
"""What a client must keep up while a worker waits for it because there is no room at all: seconds without progress, and
bytes a second after them. Such a wait must not become a way to hold the workers.
"""


class NoRoom(Exception):
    """Neither ``--buffer-memory`` nor ``--spool-disk`` has room for a response."""


class TooSlow(ClientDisconnected):
    """The client took too little while a worker waited for it: the output is discarded, the close will be a reset."""


def make_room(connection: Connection, memory: int, disk: int, folder: str | None) -> bool:
    """Before more is written: flush what waits, and move what is over ``memory`` bytes to a file.

    :param disk: bytes that the file may hold.
    :param folder: where the file is made; None: the system's directory for temporary files.

    False when the file would hold more than ``disk`` bytes: the writer has to wait, see :func:`drain`. When the budget
    of disk is used up, the output stays in memory; when that is used up, too, it raises NoRoom. Raises
    ClientDisconnected when the connection has failed, OSError when the disk is full.
    """
    output = connection.output
    if output is None or (not _is_full(connection) and _flush(connection, output)) or output.size <= memory:
        return True
    if output.spooled + output.size > disk:
        return False
    if output.held <= memory:
        return True
    budget = connection.server.budget
    if budget.disk_for(output.size):
        output.spill(folder)
    elif not budget.memory_for(output.held - connection.counted[0]):
        raise NoRoom
    connection.settle()
    return True


def drain(connection: Connection, limit: int, timeout: float, rate: int = 0) -> None:
    """Block until at most ``limit`` bytes wait in memory.

    Raises TooSlow when the peer takes nothing for ``timeout`` seconds, or less than ``rate`` bytes a second beyond
    that; ClientDisconnected when the connection fails.
    """
    output = connection.output
    since = time.monotonic()
    sent = 0 if output is None else output.sent
    while output is not None and not _flush(connection, output):
        if output.size <= limit:
            return
        remaining = timeout
        if rate:
            remaining = min(remaining, since + timeout + (output.sent - sent) / rate - time.monotonic())
        if remaining <= 0 or not connection.wait(remaining, write=True):
            connection.drop_output()  # its time is over: the close gives what waits no more of it
            reset(connection)
            raise TooSlow(f"the client took too little for {timeout:g} s (--write-timeout, --write-rate)")


def _is_full(connection: Connection) -> bool:
    """The last send found no room, and the poller, which watches for some, has not reported any."""
    return connection.armed != 0 and not connection.pending


def _flush(connection: Connection, output: Output) -> bool:
    """Send what there is room for; True when nothing waits."""
    try:
        done, sent = output.flush(connection.sink)
    except OSError as error:
        raise ClientDisconnected(f"the client went away: {error.strerror or error}") from None
    if sent and output.since is not None:
        output.progress_at = connection.server.clock.now()
    if done:
        connection.output = None
        connection.settle()
    return done
