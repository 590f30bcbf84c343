"""A guard around handlers that use a database: what one forgot to commit never stays open."""

from __future__ import annotations

import logging
from typing import Protocol

from reserve.desk.request import Request
from reserve.desk.response import Response
from reserve.desk.wsgi import Handle, WSGIHandle, as_response, describe_request

__all__ = ["Connection", "TransactionGuard"]

_LOGGER = logging.getLogger("reserve.desk")


class Connection(Protocol):
    """What the guard needs of a connection: a ``sqlite3.Connection`` has it."""

    @property
    def in_transaction(self) -> bool: ...

    def rollback(self) -> object: ...


class TransactionGuard(WSGIHandle):
    """Calls a handler, and rolls back what it left uncommitted: ``serve_http(TransactionGuard(app, connection))``.

    A transaction that stays open locks the database for everybody else, and shows its user data that is lost when the
    program ends. So a handler that returns with an open transaction gets an error page in place of its own, and a
    record in the logger ``reserve.desk`` that names the handler. After an exception the transaction is rolled back,
    too, and the exception goes on. A guard is a WSGI callable, like a router.

    Content that is no Response yet is made one within the guard, as a generator may read from the database.

    :param handle: a router, or any other handler.
    :param connection: to the database.
    :raises TypeError: for what is no handler or no connection.
    :raises ValueError: for a connection of sqlite3 with ``autocommit=False``, which always has an open transaction.
    """

    def __init__(self, handle: Handle, connection: Connection) -> None:
        if not callable(handle):
            raise TypeError(f"a handle is a callable that takes a Request, got {handle!r:.80}")
        if not callable(getattr(connection, "rollback", None)):
            raise TypeError(
                f"a connection has in_transaction and rollback(), as that of sqlite3; got {connection!r:.80}"
            )
        if getattr(connection, "autocommit", None) is False:
            raise ValueError("the guard cannot see what is uncommitted on a connection with autocommit=False")
        self._handle = handle
        self._connection = connection

    def _answer(self, request: Request) -> Response:
        """Handle a request; see the class."""
        if self._is_open():
            self._connection.rollback()
            _LOGGER.error("a transaction was open before %s: rolled back", describe_request(request))
            return Response.swear(
                request,
                "<p>There was an open transaction before this request, of code that is no handler. It is rolled back. "
                "Commit what the program writes when it starts.</p>",
            )
        try:
            response = as_response(self._handle(request), request)
        except BaseException:
            if self._is_open():
                self._connection.rollback()
            raise
        if self._is_open():
            self._connection.rollback()
            _LOGGER.error("%s forgot to commit: rolled back", describe_request(request, self._handle))
            response = Response.swear(
                request, "<p>The program forgot to save: nothing of what it did now is kept. Its log says where.</p>"
            )
        return response

    def _is_open(self) -> bool:
        try:
            return bool(self._connection.in_transaction)
        except Exception as error:
            if type(error).__name__ == "ProgrammingError":  # of sqlite3: it is closed, and so rolled back
                return False
            raise
