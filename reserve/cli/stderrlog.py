"""The error log of the command, on standard error.

The server's lines come directly, not through a logger: an application may configure :mod:`logging` at any time, also
within its first request, and ``logging.config`` disables loggers that exist, ``logging.disable`` all of them. What a
part of reserve, or the application, logs through the logger ``reserve`` is written to the same place.

The handlers of the standard library hold a lock while they write. If no process reads standard error, such a handler
blocks ``logging.shutdown``, which takes the lock of every handler, and with it the exit of the process. This handler
holds no lock while it writes, so only the thread that writes can be blocked.

While standard error goes to systemd-journald, each line begins with its level (:mod:`reserve.engine.logs.journal`). In
an entry of several lines, as a traceback is, one that looks like the beginning of another entry is indented: the text
of an exception may be a client's.
"""

from __future__ import annotations

import logging
import re
import sys
from typing import TextIO

from reserve.engine.logs.errorlog import ErrorHook
from reserve.engine.logs.journal import journal_stream, with_level
from reserve.engine.logs.linestream import LineStream, LossCounter

__all__ = ["StderrLog", "configure_logging", "enable_loggers", "set_log_level"]

_ENTRY = re.compile(r"^(?=\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} |reserve: )", re.MULTILINE)
"""Where a line looks like the beginning of an entry of this log, or like a message of the command."""
_current: StderrLog | None = None
"""The one of this process, which :func:`configure_logging` has made; None: there is none."""


class StderrLog(logging.Handler):
    """The hook of the server's error log, and the handler of the logger ``reserve``.

    The command makes one; the thread of the error log calls it. A line that cannot be written is dropped and counted;
    the next line that can be written is followed by one with the count.

    :param stream: standard error, or what replaces it.
    :param threshold: the lowest level, as in :mod:`logging`, of the lines of the server that are written. It is not the
        level of the handler, which an application can set.
    """

    def __init__(self, stream: TextIO, threshold: int = logging.NOTSET) -> None:
        super().__init__()
        self._threshold = threshold
        self._stream = LineStream(stream)
        self._losses = LossCounter(self._keep_reason, self._report_losses)
        self._reason: Exception | None = None
        self._journal = journal_stream()
        self.setFormatter(logging.Formatter("%(asctime)s %(levelname)s: %(message)s"))

    def set_threshold(self, threshold: int) -> None:
        """Change the lowest level of the lines of the server that are written. Any thread."""
        self._threshold = threshold

    def write_line(self, level: int, text: str) -> None:
        """Write a line of the server (see :data:`~reserve.engine.logs.errorlog.ErrorHook`)."""
        if level >= self._threshold:
            self.emit(logging.LogRecord("reserve", level, "", 0, text, None, None))

    def handle(self, record: logging.LogRecord) -> bool | logging.LogRecord:  # type: ignore[override,unused-ignore]
        """Filter and write one record, without the lock that the base class takes."""
        result = self.filter(record)
        if result:
            self.emit(record if result is True else result)
        return result

    def emit(self, record: logging.LogRecord) -> None:
        try:
            line = self.format(record)
        except Exception:
            self.handleError(record)
            return
        first, line_end, others = line.partition("\n")
        if others:
            line = first + line_end + _ENTRY.sub("  ", others)
        self._losses.count(1 - self._write(record.levelno, line), self._stream.error)

    def _write(self, level: int, text: str) -> int:
        """Write a text of one or more lines; return 1, or 0 if it could not be written."""
        if self._journal is not None and self._stream.socket == self._journal:  # not after --error-log-file
            text = with_level(level, text)
        return self._stream.write([text])

    def _keep_reason(self, reason: Exception | None) -> None:
        self._reason = reason

    def _report_losses(self, count: int) -> None:
        text = f"{count} log lines could not be written: {self._reason}"
        record = logging.makeLogRecord({"levelno": logging.WARNING, "levelname": "WARNING", "msg": text})
        self._write(record.levelno, self.format(record))


def configure_logging(level: str) -> ErrorHook:
    """Write the records of the logger ``reserve`` to standard error, and return the hook for the server's error log.

    :param level: ``debug``, ``info``, ``warning``, ``error`` or ``critical``: ``--log-level``.
    """
    global _current
    logger = logging.getLogger("reserve")
    logger.setLevel(level.upper())
    logger.propagate = False  # else an application that configures the root logger would double every line
    if sys.stderr is None:  # under pythonw
        logger.handlers[:] = [logging.NullHandler()]
        return _discard
    log = _current = StderrLog(sys.stderr, logger.level)
    logger.handlers[:] = [log]
    return log.write_line


def set_log_level(level: str) -> None:
    """Change ``--log-level`` while the server runs. Any thread; waits for none.

    ``Logger.setLevel`` takes the lock of :mod:`logging`, which a thread of the application may hold for as long as it
    hangs, and so does ``getLogger``. The level is an attribute; what each logger remembers of it is forgotten here.

    :param level: as for :func:`configure_logging`.
    """
    number = logging.getLevelName(level.upper())
    if _current is not None:
        _current.set_threshold(number)
    loggers = logging.root.manager.loggerDict.copy()
    if "reserve" in loggers:
        loggers["reserve"].level = number  # type: ignore[union-attr]
    for name, logger in loggers.items():
        if name == "reserve" or name.startswith("reserve."):
            getattr(logger, "_cache", {}).clear()


def _discard(level: int, text: str) -> None:
    """The hook where there is no standard error."""


def enable_loggers() -> None:
    """Enable the loggers of reserve again, after the application was imported.

    By default ``logging.config`` in an application disables every logger that exists. The server's error log does not
    depend on them.
    """
    for name in list(logging.root.manager.loggerDict):
        if name == "reserve" or name.startswith("reserve."):
            logging.getLogger(name).disabled = False
