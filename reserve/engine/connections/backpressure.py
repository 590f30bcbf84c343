"""An application that writes faster than its client reads: its output goes to a file, and past that its worker waits.

Only ever on the worker that runs the application and owns the connection: both functions may block, on the disk or for
the client.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from reserve.engine.connections.closing import reset
from reserve.errors import ClientDisconnected

if TYPE_CHECKING:
    from reserve.engine.connections.connection import Connection
    from reserve.engine.connections.output import Output

__all__ = ["NO_ROOM_LIMITS", "NoRoom", "TooSlow", "drain", "make_room"]

NO_ROOM_LIMITS = (1.0, 65536)
"""Seconds without progress, and octets a second after them, that a client must keep up for whom a worker waits because
there is no room at all: such a wait must not become a way to hold the workers.
"""


class NoRoom(Exception):
    """Neither ``--buffer-memory`` nor ``--spool-disk`` has room for an answer."""


class TooSlow(ClientDisconnected):
    """A worker has waited for its client, which took too little: the connection is to be reset, what waited is gone."""


def make_room(connection: Connection, memory: int, disk: int, folder: str | None) -> bool:
    """Before more is written: flush what waits, and move what is over ``memory`` octets to a file.

    False when more than ``disk`` octets have gone to the file already: the writer has to wait, see :func:`drain`.
    When the server's budget of disk is used up, memory serves; when that is, too, it raises NoRoom.
    Raises ClientDisconnected when the connection has failed, OSError when the disk is full.
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
    """Block until at most ``limit`` octets wait in memory.

    Raises TooSlow when the peer takes nothing for ``timeout`` seconds, or less than ``rate`` octets a second beyond
    that; ClientDisconnected when the connection fails.
    """
    output = connection.output
    since = time.monotonic()
    gone = 0 if output is None else output.gone
    while output is not None and not _flush(connection, output):
        if output.size <= limit:
            return
        left = timeout
        if rate:
            left = min(left, since + timeout + (output.gone - gone) / rate - time.monotonic())
        if left <= 0 or not connection.wait(left, write=True):
            connection.drop_output()  # it has had its time: what waits does not get it once more
            reset(connection)
            raise TooSlow(f"the client took too little for {timeout:g} s (--write-timeout, --write-rate)")


def _is_full(connection: Connection) -> bool:
    """A send has found no room, and the poller, which watches for some, has not reported any."""
    return connection.armed != 0 and not connection.pending


def _flush(connection: Connection, output: Output) -> bool:
    """Send what there is room for; True when nothing waits any more."""
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
