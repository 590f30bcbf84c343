"""The errors that reserve raises on purpose, and helpers for their texts.

Any thread may raise them; this module imports nothing of reserve. There are three groups, because each is handled in
another place: a mistake at start (:class:`UsageError`, :class:`StartupError`) becomes a sentence on standard error and
an exit code; a mistake of a client (:class:`RemoteError`) becomes an HTTP response and a log line; a mistake of an
application (:class:`ApplicationError`) becomes a 500 response and a traceback in the error log. :class:`ServerFailed`
is none of these: the server itself had to end.
"""

from __future__ import annotations

import errno
import sys
from typing import NamedTuple

__all__ = [
    "ApplicationError",
    "ClientDisconnected",
    "Correction",
    "Frame",
    "RemoteError",
    "RequestTimeout",
    "ReserveError",
    "ServerFailed",
    "StartupError",
    "TLSError",
    "UsageError",
    "WantRead",
    "WantWrite",
    "counted",
    "describe_exception",
    "describe_without_source",
    "format_exception",
    "list_frames",
    "print_exception",
    "safe_str",
    "short_repr",
    "type_name",
]

Frame = tuple[str, int, str]
"""The file, the line and the function of one frame of a traceback."""

_MAX_REPR = 80
"""Characters of a value that an error message shows."""


def counted(count: int, noun: str) -> str:
    """``1 byte``, ``2 bytes``: a number with the singular or plural of its noun."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def short_repr(value: object) -> str:
    """The ``repr`` of a value, cut to 80 characters; the type alone (``<Blog object>``) if its ``__repr__`` fails.

    Raises RequestTimeout only, which ends the run.
    """
    try:
        text = "".join((repr(value), ""))  # a str itself: a subclass may override anything
        return text if len(text) <= _MAX_REPR else f"{text[: _MAX_REPR - 3]}..."
    except RequestTimeout:
        raise
    except BaseException:  # code of the application, which may raise anything: SystemExit, too
        return f"<{type_name(value)} object>"


def safe_str(error: BaseException) -> str:
    """The text of an exception, in full; a remark if its ``__str__`` fails. Raises RequestTimeout only."""
    try:
        return "".join((str(error), ""))  # a str itself: a subclass may override anything
    except RequestTimeout:
        raise
    except BaseException:
        return "(its text cannot be shown)"


def type_name(value: object) -> str:
    """The name of the type of a value. Runs no code of the application: a metaclass may replace ``__name__``."""
    return str(_NAME_OF_TYPE(type(value)))


_NAME_OF_TYPE = type.__dict__["__name__"].__get__
_TRACEBACK_OF = BaseException.__dict__["__traceback__"].__get__


def format_exception(error: BaseException) -> str | None:
    """An exception with its traceback as Python prints it, without the line end; None if that fails.

    Python runs code of the application for it: ``__notes__``, ``__dir__`` for a suggestion, a loader's ``get_source``,
    and from 3.15 on the import of a parent package.
    """
    try:
        import traceback  # not at the top, for sdlaunch: from CPython 3.14 on it imports dataclasses and inspect

        return "".join(traceback.format_exception(type(error), error, error.__traceback__)).rstrip()
    except BaseException:
        return None


def describe_exception(error: BaseException) -> str:
    """Like :func:`format_exception`, or without its help: the frames without their lines, the type and the text.

    The application can make it raise nothing; MemoryError is possible.
    """
    formatted = format_exception(error)
    if formatted is not None:
        return formatted
    return describe_without_source(error, list_frames(error))


def describe_without_source(error: BaseException, frames: list[Frame]) -> str:
    """The given frames as Python prints them, but without their lines, the type and the text of an exception."""
    lines = ["Traceback (most recent call last):"] if frames else []
    lines += [f'  File "{path}", line {number}, in {name}' for path, number, name in frames]
    return "\n".join([*lines, f"{type_name(error)}: {_text_of(error)}"])


def list_frames(error: BaseException) -> list[Frame]:
    """The frames of the traceback of an exception, the outermost first. Runs no code of the application."""
    tb = _TRACEBACK_OF(error)
    frames = []
    while tb is not None:
        code = tb.tb_frame.f_code
        frames.append((code.co_filename, tb.tb_lineno or 0, code.co_name))
        tb = tb.tb_next
    return frames


def print_exception(error: BaseException) -> None:
    """Write an exception with its traceback to standard error, for a thread that must go on. Raises nothing."""
    try:
        if sys.stderr is not None:
            sys.stderr.write(f"{describe_exception(error)}\n")
    except BaseException:  # out of memory, or standard error is closed
        return


def _text_of(error: BaseException) -> str:
    try:
        return safe_str(error)
    except RequestTimeout:  # raised by the application itself: this is called when its run is over
        return "(its text cannot be shown)"


class ReserveError(Exception):
    """The base class. The text says what was received, which rule or limit it breaks, and which option changes that."""

    exit_code = 1


class Correction(NamedTuple):
    """What to write in place of arguments of the command line, so that the command can propose the whole line.

    The code that finds a mistake knows the wrong arguments, and not the line; the command (``reserve.cli.proposal``)
    knows the line.
    """

    wrong: tuple[str, ...] = ()
    """Arguments as they were written, one after the other. Empty: none are wrong, some are missing at the end."""
    right: tuple[str, ...] = ()
    """The arguments in their place. For the value of an option, each one becomes a value of that option."""
    option: str = ""
    """``wrong`` is the value of this option of the server (``--bind``); empty: it is among the other arguments."""
    end: tuple[str, ...] = ()
    """Arguments that are added before ``--``, or at the end."""
    argv: tuple[str, ...] = ()
    """The whole command line without the name of the program; then the fields above do not count."""
    last: bool = False
    """``wrong`` are the last arguments before ``--``, and not the first ones that are equal."""
    before: str = ""
    """A shell command that has to run first."""
    prefix: str = ""
    """A program that has to run the command: ``sudo``."""
    drop_after: bool = False
    """Leave out ``--`` and the arguments after it."""


class _StartMistake(ReserveError):
    """A mistake in what was asked for when the server started.

    :param reason: what is wrong.
    :param hint: what to do, with its punctuation; it ends the text. In the command's message the corrected line takes
        its place.
    :param correction: None: it is not known what was meant.
    """

    def __init__(self, reason: str = "", hint: str = "", correction: Correction | None = None) -> None:
        super().__init__(reason + hint)
        self.reason = reason
        self.correction = correction


class UsageError(_StartMistake, ValueError):
    """A wrong option, argument or call. The command exits with 2."""

    exit_code = 2


class StartupError(_StartMistake):
    """The usage is right, but the server cannot start: an address in use, an application that cannot be imported.

    The command exits with 1.
    """


class ServerFailed(ReserveError):
    """The server could not go on and has stopped: another part of the program has closed one of its descriptors.

    The error log has the text already.
    """

    exit_code = 4


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
