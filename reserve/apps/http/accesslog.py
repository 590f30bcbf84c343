"""The access log: one line for each request, in the combined format, on standard output.

:meth:`AccessLog.put` is called by workers and costs one append; formatting and writing happen on the log's own
thread. When the log cannot be written, requests go on: lines are dropped and counted until it can be again.
"""

from __future__ import annotations

import re
import sys
import time
from typing import Any, NamedTuple, TextIO

from reserve.engine.logs.errorlog import ErrorLog, LineWriter
from reserve.engine.logs.linestream import LineStream, LossCounter

__all__ = ["AccessLog", "Record", "format_record"]

_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_UNSAFE = re.compile(r"[^ !#-\[\]-~]")  # a quote, a backslash, controls, anything that is not ASCII


class Record(NamedTuple):
    """What is known of one request when it is over."""

    when: float
    """The wall clock, in seconds since the epoch."""
    host: str
    """The client's address; empty on a UNIX socket."""
    request: str
    """Method, target and version, as they were sent."""
    status: int
    octets: int
    """Of the answer's body, as far as they were handed to the connection."""
    referer: str
    agent: str


def _escape(text: str) -> str:
    """No client writes lines, quotes or terminal codes into our log: everything unsafe becomes a hexadecimal escape."""
    return _UNSAFE.sub(lambda match: f"\\x{ord(match[0]):02x}", text)


def _timestamp(when: float) -> str:
    local = time.localtime(when)
    offset = local.tm_gmtoff // 60
    sign = "-" if offset < 0 else "+"
    return (
        f"{local.tm_mday:02d}/{_MONTHS[local.tm_mon - 1]}/{local.tm_year}:"
        f"{local.tm_hour:02d}:{local.tm_min:02d}:{local.tm_sec:02d} "
        f"{sign}{abs(offset) // 60:02d}{abs(offset) % 60:02d}"
    )


def format_record(record: Record) -> str:
    """One line of the combined format, without its line end."""
    return (
        f'{record.host or "-"} - - [{_timestamp(record.when)}] "{_escape(record.request)}" {record.status} '
        f'{record.octets or "-"} "{_escape(record.referer) or "-"}" "{_escape(record.agent) or "-"}"'
    )


class AccessLog:
    """Writes to ``stream`` (default: standard output, as it is when the log starts)."""

    def __init__(self, logs: ErrorLog, stream: TextIO | None = None) -> None:
        self._log = logs
        stream = stream if stream is not None else sys.stdout
        # A program without a console (pythonw) has no standard output.
        self._out = LineStream(stream) if stream is not None else None
        self._outage = LossCounter(self._report_outage, self._report_lost)
        self._writer = LineWriter("reserve-access-log", self._write, self._report_dropped)
        self.start = self._writer.start
        self.put = self._writer.put

    def stop(self, timeout: float | None = None) -> None:
        """Write what is queued and end the thread.

        :param timeout: how many seconds a log that is stuck may take. Default: as long as the error log may.
        """
        self._writer.stop(self._log.stop_timeout() if timeout is None else timeout)
        if self._writer.thread.is_alive():
            self._log.warning(f"the access log hangs; more than {self._writer.left} lines are lost")
        else:
            self._outage.close()

    def _write(self, records: list[Any]) -> None:
        if self._out is None:
            return
        written = self._out.write([format_record(record) for record in records])
        self._outage.count(len(records) - written, self._out.error)

    def _report_outage(self, reason: Exception | None) -> None:
        self._log.error(f"the access log cannot be written; its lines are dropped until it can be: {reason}")

    def _report_lost(self, count: int) -> None:
        self._log.warning(f"{count} access log lines were dropped: the access log could not be written")

    def _report_dropped(self, count: int) -> None:
        self._log.warning(f"{count} access log lines were dropped: standard output does not take them fast enough")
