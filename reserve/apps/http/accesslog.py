"""The access log: one line for each request, in the combined format, on standard output.

Any thread calls :meth:`AccessLog.put`, which costs one append; a thread of the log formats and writes the lines. While
the log cannot be written, requests go on: lines are dropped and counted until it can be written again.

A client decides what is in a line, so its fields are cut before they wait: 8,192 records hold 26 MB at most.
"""

from __future__ import annotations

import re
import sys
import time
from typing import Any, NamedTuple, TextIO

from reserve.engine.logs.errorlog import ErrorLog, LineWriter
from reserve.engine.logs.linestream import LineStream, LossCounter
from reserve.protocol.http1.response import MONTHS

__all__ = ["MAX_FIELD", "AccessLog", "Record", "cut", "format_record"]

CLIENT_CLOSED_REQUEST = 499
"""The status of a request whose client went away before the response began: the one that other servers write."""
MAX_FIELD = 1024
"""Characters of the request line, the referer and the user agent in a line; a longer one is cut and ends in ``...``."""

_UNSAFE = re.compile(r"[^ !#-\[\]-~]")  # a quote, a backslash, controls, anything that is not ASCII
_BATCH = 256
"""Records that are formatted and written at once: escaped they take up to 4 MB."""


class _Escapes(dict[int, str]):
    """For ``str.translate``: every character as the log shows it. Complete for latin-1; others are computed."""

    def __missing__(self, code: int) -> str:
        return f"\\x{code:02x}"


_ESCAPES = _Escapes({code: f"\\x{code:02x}" if _UNSAFE.match(chr(code)) else chr(code) for code in range(256)})


class Record(NamedTuple):
    """The values of one line of the access log, about one request that is over."""

    timestamp: float
    """The wall clock, in seconds since the epoch."""
    host: str
    """The client's address; empty on a UNIX socket."""
    request: str
    """Method, target and version, as they were sent."""
    status: int
    bytes_sent: int
    """Bytes of the response's body that the application has sent and the connection has accepted."""
    referer: str
    user_agent: str


def _escape(text: str) -> str:
    """Replace every unsafe character by a hexadecimal escape, so that a client cannot put a line end, a quote or a
    terminal code into the log.
    """
    return text if _UNSAFE.search(text) is None else text.translate(_ESCAPES)


def cut(text: str) -> str:
    """A field that is longer than :data:`MAX_FIELD`, as the log shows it."""
    return f"{text[:MAX_FIELD]}..."


def _timestamp(seconds: float) -> str:
    local = time.localtime(seconds)
    offset = local.tm_gmtoff // 60
    sign = "-" if offset < 0 else "+"
    return (
        f"{local.tm_mday:02d}/{MONTHS[local.tm_mon - 1]}/{local.tm_year}:"
        f"{local.tm_hour:02d}:{local.tm_min:02d}:{local.tm_sec:02d} "
        f"{sign}{abs(offset) // 60:02d}{abs(offset) % 60:02d}"
    )


def format_record(record: Record) -> str:
    """One line of the combined format, without its line end."""
    return (
        f'{record.host or "-"} - - [{_timestamp(record.timestamp)}] "{_escape(record.request)}" {record.status} '
        f'{record.bytes_sent or "-"} "{_escape(record.referer) or "-"}" "{_escape(record.user_agent) or "-"}"'
    )


class AccessLog:
    """The access log of one server; its HTTP application owns it.

    The application calls ``start()`` when the server starts, and :meth:`stop` when it has stopped; the threads that
    respond to requests call ``put(record)``.

    :param error_log: where the log reports that it cannot be written.
    :param stream: where lines go. Default: standard output, as it is when the log is made.
    """

    def __init__(self, error_log: ErrorLog, stream: TextIO | None = None) -> None:
        self._error_log = error_log
        stream = stream if stream is not None else sys.stdout
        # A program without a console (pythonw) has no standard output.
        self._out = LineStream(stream) if stream is not None else None
        self._losses = LossCounter(self._report_failure, self._report_lost)
        self._writer = LineWriter("reserve-access-log", self._write, self._report_dropped)
        self.start = self._writer.start
        self.put = self._writer.put

    def stop(self, timeout: float | None = None) -> None:
        """Write what is queued and end the thread.

        :param timeout: how many seconds a log that is stuck may take. Default: as long as the error log may.
        """
        self._writer.stop(self._error_log.stop_timeout() if timeout is None else timeout)
        if self._writer.thread.is_alive():
            self._error_log.warning(f"the access log hangs; more than {self._writer.left} lines are lost")
        else:
            self._losses.close()

    def _write(self, records: list[Any]) -> None:
        if self._out is None:
            return
        for at in range(0, len(records), _BATCH):
            batch = records[at : at + _BATCH]
            written = self._out.write([format_record(record) for record in batch])
            self._losses.count(len(batch) - written, self._out.error)

    def _report_failure(self, reason: Exception | None) -> None:
        self._error_log.error(f"the access log cannot be written; its lines are dropped until it can be: {reason}")

    def _report_lost(self, count: int) -> None:
        self._error_log.warning(f"{count} access log lines were dropped: the access log could not be written")

    def _report_dropped(self, count: int) -> None:
        self._error_log.warning(
            f"{count} access log lines were dropped: standard output does not take them fast enough"
        )
