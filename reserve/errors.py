"""The errors that reserve raises on purpose, and helpers for their texts.

Any thread may raise them; this module imports nothing of reserve. There are three groups, because each is handled in
another place: a mistake at start (:class:`UsageError`, :class:`StartupError`) becomes a sentence on standard error and
an exit code; a mistake of a client (:class:`RemoteError`) becomes an HTTP response and a log line; a mistake of an
application (:class:`ApplicationError`) becomes a 500 response and a traceback in the error log.
"""

from __future__ import annotations

import errno

__all__ = [
    "ApplicationError",
    "ClientDisconnected",
    "RemoteError",
    "RequestTimeout",
    "ReserveError",
    "StartupError",
    "TLSError",
    "UsageError",
    "WantRead",
    "WantWrite",
    "counted",
    "short_repr",
]

_MAX_REPR = 80
"""Characters of a value that an error message shows."""


def counted(count: int, noun: str) -> str:
    """``1 byte``, ``2 bytes``: a number with the singular or plural of its noun."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def short_repr(value: object) -> str:
    """The ``repr`` of a value, cut to 80 characters."""
    text = repr(value)
    return text if len(text) <= _MAX_REPR else f"{text[: _MAX_REPR - 3]}..."


class ReserveError(Exception):
    """The base class. The text says what was received, which rule or limit it breaks, and which option changes that."""

    exit_code = 1


class UsageError(ReserveError, ValueError):
    """A wrong option, argument or call. The command exits with 2."""

    exit_code = 2


class StartupError(ReserveError):
    """The usage is right, but the server cannot start: an address in use, an application that cannot be imported.

    The command exits with 1.
    """


class RemoteError(ReserveError):
    """A client has sent something that breaks a rule or a limit.

    :param status: the status of the HTTP response, 400 to 599.
    :param message: one sentence for the log and for the body of the response. It names the rule (RFC section) or the
        limit with its option, and quotes no more than a short piece of what the client sent.
    """

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


class ApplicationError(ReserveError):
    """An application has broken a rule of its gateway (PEP 3333 for WSGI)."""


class RequestTimeout(BaseException):
    """Raised in an application whose response did not begin within ``--request-timeout``, wherever it is at that
    moment.

    It is not an ``Exception``, so that ``except Exception`` in an application does not catch it.
    """


class ClientDisconnected(ReserveError, ConnectionError):
    """The client has closed the connection, or has read nothing for ``--write-timeout``, during the response."""


class TLSError(ReserveError, ConnectionError):
    """The peer has broken a rule of TLS, or the two sides have no version or cipher in common.

    The connection cannot continue. The text has OpenSSL's reason.
    """


class WantRead(BlockingIOError):
    """A TLS session can continue only when the socket is readable, even if it was asked to write."""

    def __init__(self) -> None:
        super().__init__(errno.EAGAIN, "the TLS session has to receive first")


class WantWrite(BlockingIOError):
    """A TLS session can continue only when the socket is writable, even if it was asked to read."""

    def __init__(self) -> None:
        super().__init__(errno.EAGAIN, "the TLS session has to send first")
