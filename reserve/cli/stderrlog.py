"""The error log of the command: lines of :mod:`logging` on standard error.

Unlike the standard library's handlers it holds no lock while it writes, so that a standard error that nobody reads
keeps nobody waiting but the log's own thread: ``logging.shutdown`` takes the lock of every handler.
"""

from __future__ import annotations

import logging
from typing import TextIO

from reserve.engine.logs.linestream import LineStream, LossCounter

__all__ = ["StderrLog"]


class StderrLog(logging.Handler):
    """Lines that cannot be written are dropped; how many is said as soon as one can be."""

    def __init__(self, stream: TextIO) -> None:
        super().__init__()
        self._out = LineStream(stream)
        self._outage = LossCounter(self._keep, self._report)
        self._reason: Exception | None = None
        self.setFormatter(logging.Formatter("%(asctime)s %(levelname)s: %(message)s"))

    def handle(self, record: logging.LogRecord) -> bool | logging.LogRecord:  # type: ignore[override,unused-ignore]
        passed = self.filter(record)
        if passed:
            self.emit(record if passed is True else passed)
        return passed

    def emit(self, record: logging.LogRecord) -> None:
        try:
            line = self.format(record)
        except Exception:
            self.handleError(record)
            return
        self._outage.count(1 - self._out.write([line]), self._out.error)

    def _keep(self, reason: Exception | None) -> None:
        self._reason = reason

    def _report(self, count: int) -> None:
        text = f"{count} log lines could not be written: {self._reason}"
        self._out.write(
            [self.format(logging.makeLogRecord({"levelno": logging.WARNING, "levelname": "WARNING", "msg": text}))]
        )
