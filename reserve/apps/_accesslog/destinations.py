"""Where lines of the access log go: standard output, a file, syslog, or a logger of the application.

Made at the start, on the thread that starts the server; used by the thread of the log, which may have to wait.
"""

from __future__ import annotations

import logging
import os
import socket
import sys
import time
from typing import Any, Protocol, TextIO, cast

from reserve.engine.logs.linestream import LineStream
from reserve.engine.logs.logfile import LogFile, close_log_file, open_log_file
from reserve.errors import StartupError
from reserve.protocol.dates import MONTHS

__all__ = ["STDOUT", "Destination", "is_destination", "open_destination", "path_of"]

STDOUT = "-"
"""Standard output."""
_SYSLOG, _LOGGER = "syslog:", "logger:"
_LOCAL = "/dev/log"
_PRIORITY = 3 * 8 + 6
"""Facility daemon, severity informational (RFC 5424 section 6.2.1)."""
_TAG = "reserve"
_TIMEOUT = 1.0
"""Seconds that one message to syslog may take; then the line is lost, and counted."""


class Destination(Protocol):
    """Takes whole lines. Owned by one log."""

    error: Exception | None
    """Why the last lines were not written; None: they were."""

    def send(self, data: bytes, count: int) -> int:
        """Write lines, and return how many of them, from the first, were written whole.

        :param data: the lines in UTF-8, each with its end.
        :param count: of the lines.
        """
        ...


def is_destination(text: str) -> bool:
    """Whether a text is a destination: ``-``, a path, ``syslog:``, ``syslog:HOST:PORT``, ``syslog:/PATH`` or
    ``logger:NAME``.
    """
    if text.startswith(_LOGGER):
        return text != _LOGGER
    if text.startswith(_SYSLOG):
        address = text.removeprefix(_SYSLOG)
        return not address or address.startswith("/") or _host_and_port(address) is not None
    return text != ""


def path_of(text: str) -> str:
    """The path of a destination that is a file; empty: it is none."""
    return "" if text == STDOUT or text.startswith((_SYSLOG, _LOGGER)) else text


def open_destination(text: str) -> Destination | None:
    """Open a destination; None: standard output, and the program has none (pythonw).

    :raises StartupError: the file cannot be opened.
    """
    if text.startswith(_LOGGER):
        return LoggerDestination(text.removeprefix(_LOGGER))
    if text.startswith(_SYSLOG):
        return SyslogDestination(text.removeprefix(_SYSLOG) or _LOCAL)
    if text == STDOUT:
        return LineStream(sys.stdout) if sys.stdout is not None else None
    return FileDestination(text)


class FileDestination(LineStream):
    """A file, which may be opened again at any moment.

    :raises StartupError: it cannot be opened.
    """

    def __init__(self, path: str) -> None:
        try:
            self._file: LogFile = open_log_file(path)
        except OSError as error:
            raise StartupError(f"cannot open {path} (--access-log-file): {error.strerror or error}") from error
        super().__init__(cast(TextIO, self._file))

    def close(self) -> None:
        """No more lines come."""
        close_log_file(self._file)


class LoggerDestination:
    """A logger of :mod:`logging`, which gets each line at the level INFO.

    :param name: of the logger. It is looked up for each batch, because the application may configure loggers at any
        time.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self.error: Exception | None = None

    def send(self, data: bytes, count: int) -> int:
        log = logging.getLogger(self._name).info
        self.error = None
        for done, line in enumerate(_lines(data)):
            try:
                log("%s", line.decode())
            except Exception as error:  # of a handler of the application
                self.error = error
                return done
        return count


class SyslogDestination:
    """Syslog: datagrams to a UNIX socket, in the format that local daemons read (RFC 3164), or to an address by UDP, in
    that of RFC 5424.

    :param address: a path, or ``HOST:PORT``.

    A daemon that starts again loses no line that is written afterwards: a failed message is sent once more, on a new
    socket.
    """

    def __init__(self, address: str) -> None:
        self._path = address if address.startswith("/") else ""
        self._address = _host_and_port(address)
        self._host = socket.gethostname() or "-"
        self._socket: socket.socket | None = None
        self.error: Exception | None = None

    def send(self, data: bytes, count: int) -> int:
        self.error = None
        head = self._head().encode("ascii", "replace")
        for done, line in enumerate(_lines(data)):
            message = head + line
            try:
                self._send(message)
            except OSError:
                self.close()
                try:
                    self._send(message)
                except OSError as error:
                    self.close()
                    self.error = error
                    return done
        return count

    def close(self) -> None:
        """Close the socket; the next line opens it again."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _send(self, message: bytes) -> None:
        if self._socket is None:
            self._socket = self._connect()
        self._socket.send(message)

    def _connect(self) -> socket.socket:
        if self._path:
            sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            address: Any = self._path
        else:
            assert self._address is not None
            host, port = self._address
            try:
                family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM)[0]
            except UnicodeError as error:  # of a host that no name can be
                raise OSError(f"{host!r} is no name of a host: {error}") from error
            sock = socket.socket(family, socket.SOCK_DGRAM)
        try:
            sock.settimeout(_TIMEOUT)
            sock.connect(address)
        except OSError:
            sock.close()
            raise
        return sock

    def _head(self) -> str:
        """What precedes the lines of one batch."""
        if self._path:
            now = time.localtime()
            return (
                f"<{_PRIORITY}>{MONTHS[now.tm_mon - 1]} {now.tm_mday:2d} {now.tm_hour:02d}:{now.tm_min:02d}:"
                f"{now.tm_sec:02d} {_TAG}[{os.getpid()}]: "
            )
        utc = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        return f"<{_PRIORITY}>1 {utc} {self._host} {_TAG} {os.getpid()} access - "


def _lines(data: bytes) -> list[bytes]:
    return data.split(b"\n")[:-1]


def _host_and_port(text: str) -> tuple[str, int] | None:
    """``HOST:PORT`` or ``[V6]:PORT``; None: it is neither."""
    host, colon, port = text.rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        return None
    if not (host and colon and port.isascii() and port.isdigit() and len(port) <= 5 and 0 < int(port) < 65536):
        return None
    return host, int(port)
