"""The error log of the command: records of :mod:`logging`, written to standard error.

The handlers of the standard library hold a lock while they write. If no process reads standard error, such a handler
blocks ``logging.shutdown``, which takes the lock of every handler, and with it the exit of the process. This handler
holds no lock while it writes, so only the thread that writes can be blocked.
"""

from __future__ import annotations

import logging
import sys
from typing import TextIO

from reserve.engine.logs.linestream import LineStream, LossCounter

__all__ = ["StderrLog", "configure_logging", "enable_loggers"]


class StderrLog(logging.Handler):
    """The handler of the logger ``reserve``. A line that cannot be written is dropped and counted.

    The thread of the error log calls it. The next line that can be written is followed by one with the count.

    :param stream: standard error, or what replaces it.
    """

    def __init__(self, stream: TextIO) -> None:
        super().__init__()
        self._stream = LineStream(stream)
        self._losses = LossCounter(self._keep_reason, self._report_losses)
        self._reason: Exception | None = None
        self.setFormatter(logging.Formatter("%(asctime)s %(levelname)s: %(message)s"))

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
        self._losses.count(1 - self._stream.write([line]), self._stream.error)

    def _keep_reason(self, reason: Exception | None) -> None:
        self._reason = reason

    def _report_losses(self, count: int) -> None:
        text = f"{count} log lines could not be written: {self._reason}"
        record = logging.makeLogRecord({"levelno": logging.WARNING, "levelname": "WARNING", "msg": text})
        self._stream.write([self.format(record)])


def configure_logging(level: str) -> None:
    """Write the records of the logger ``reserve`` to standard error.

    :param level: ``debug``, ``info``, ``warning``, ``error`` or ``critical``: ``--log-level``.
    """
    logger = logging.getLogger("reserve")
    # Under pythonw there is no standard error.
    logger.handlers[:] = [logging.NullHandler() if sys.stderr is None else StderrLog(sys.stderr)]
    logger.setLevel(level.upper())
    logger.propagate = False  # else an application that configures the root logger would double every line


def enable_loggers() -> None:
    """Enable the loggers of reserve again, after the application was imported.

    By default ``logging.config`` in an application disables every logger that exists, and with them the error log.
    """
    for name in list(logging.root.manager.loggerDict):
        if name == "reserve" or name.startswith("reserve."):
            logging.getLogger(name).disabled = False
