"""Every error that reserve raises on purpose, and whose fault it is.

Runs on any thread; imports nothing. Three kinds are kept apart, because each ends in another place:
a person's mistake at start (:class:`UsageError`, :class:`StartupError`: one sentence on stderr and an exit code),
a client's mistake (:class:`RemoteError`: a refusal on the wire and one log line), and an application's mistake
(:class:`ApplicationError`: a traceback in the error log and a clean 500).
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
]


def counted(count: int, what: str) -> str:
    """``1 octet``, ``2 octets``: for the texts of errors."""
    return f"{count} {what}" if count == 1 else f"{count} {what}s"


class ReserveError(Exception):
    """The base of everything below. The text says what came, which rule it broke, which option changes that."""

    exit_code = 1


class UsageError(ReserveError, ValueError):
    """A wrong option, argument or call. The command ends with exit code 2."""

    exit_code = 2


class StartupError(ReserveError):
    """Right usage, but the server cannot start: an address in use, an application that cannot be imported.

    The command ends with exit code 1.
    """


class RemoteError(ReserveError):
    """What the peer sent breaks a rule or a limit.

    :param status: the HTTP status that refuses it (400 to 599).
    :param message: one sentence for the log and for the body of the refusal; it names the rule (RFC section) or the
        limit with its option, and never quotes more than a short piece of what arrived.
    """

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


class ApplicationError(ReserveError):
    """The application broke the contract of its gateway (PEP 3333 for WSGI). It becomes a 500 and a traceback."""


class RequestTimeout(BaseException):
    """Raised in an application whose answer did not begin within ``--request-timeout``, wherever it is at that moment.

    Not an Exception, so that an application's ``except Exception`` does not take it for one of its own.
    """


class ClientDisconnected(ReserveError, ConnectionError):
    """The client went away, or stopped reading for longer than the write timeout, while the application answered."""


class TLSError(ReserveError, ConnectionError):
    """The peer broke a rule of TLS, or the two sides agree on nothing: a failed handshake, a record that is none.

    The connection cannot go on. The text has OpenSSL's reason.
    """


class WantRead(BlockingIOError):
    """A TLS session cannot go on before the socket is readable, whatever it was asked to do."""

    def __init__(self) -> None:
        super().__init__(errno.EAGAIN, "the TLS session has to receive first")


class WantWrite(BlockingIOError):
    """A TLS session cannot go on before the socket is writable, whatever it was asked to do."""

    def __init__(self) -> None:
        super().__init__(errno.EAGAIN, "the TLS session has to send first")
