"""Handles a lack of memory or disk space for the body of a request or for a response. Workers call the functions."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

from reserve.engine.connections.backpressure import NoRoom, make_room
from reserve.engine.connections.peers import describe
from reserve.errors import ClientDisconnected, RemoteError

if TYPE_CHECKING:
    from reserve.apps.http.context import HTTPContext
    from reserve.engine.connections.connection import Connection
    from reserve.engine.connections.output import Output

__all__ = ["BUDGETS_USED_UP", "body_error", "log_cut_response", "log_spool_error", "store_response"]

BUDGETS_USED_UP = "--buffer-memory and --spool-disk are used up"
"""Why there is no room for a response."""

_SMALL = 4096
"""Bytes of a response that stay in memory even if its budget is used up: a file would cost more."""
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_NO_DESCRIPTOR = (errno.EMFILE, errno.ENFILE)


def body_error(context: HTTPContext, connection: Connection, error: OSError) -> RemoteError:
    """Log that a body could not be written to disk. Returns the error for the client: 507 when the disk is full, 503
    when no descriptor is left, else 500.
    """
    log_spool_error(
        context, connection, error, "the body of the request cannot be stored", "request bodies that cannot be stored"
    )
    if error.errno in _NO_DESCRIPTOR:
        return RemoteError(503, "the server has no file left for the body of this request (ulimit -n)")
    full = error.errno in _FULL
    return RemoteError(507 if full else 500, "the server has no room for the body of this request (--spool-dir)")


def log_spool_error(context: HTTPContext, connection: Connection, error: OSError, what: str, kind: str) -> None:
    """Log that something could not be put into a file, and which option or limit changes that.

    :param what: what could not be stored, and what follows from it.
    :param kind: what the line has in common with others; the log counts repeated lines of one kind.
    """
    if error.errno in _NO_DESCRIPTOR:
        where = "in a file (raise the limit of open files: ulimit -n)"
    else:
        where = f"in {context.settings.spool_dir or 'the system directory for temporary files'} (--spool-dir)"
    connection.server.log.error(f"{describe(connection)}: {what} {where}: {error.strerror or error}", kind)


def log_cut_response(context: HTTPContext, connection: Connection, reason: str) -> None:
    """Log that the client does not get the rest of a response."""
    context.log_warning(connection, f"the response is cut: {reason}", "responses that were cut")


def store_response(context: HTTPContext, connection: Connection, output: Output) -> bool:
    """Find room for what the client has not taken when the application is done: in memory as long as the budget
    allows, then in a file, of which one response may have only its share.

    False when neither has room. Then the output is gone, and the caller has to reset the connection.
    """
    if connection.server.budget.memory_for(output.held - connection.counted[0]):
        return True
    try:
        disk = connection.server.settings.spool_disk
        # Not --response-memory: that is for an application that still runs.
        if not make_room(connection, _SMALL, disk, context.settings.spool_dir):
            raise NoRoom
    except (NoRoom, ClientDisconnected, OSError) as error:
        log_cut_response(context, connection, BUDGETS_USED_UP if isinstance(error, NoRoom) else str(error))
        connection.drop_output()
        return False
    return True
