"""The access log: one line for each request, in a format of the operator's choice, to a destination likewise.

Any thread calls :meth:`AccessLog.put`, which costs one append; a thread of the log formats and writes the lines. While
the log cannot be written, requests go on: lines are dropped and counted until it can be written again. What is in a
record is in :mod:`reserve.apps._accesslog.record`, the formats are in :mod:`reserve.apps._accesslog.formats`.

A producer for which a call is too much, in Python or in C, does what ``put`` does::

    log.records.append(record)
    if log.asleep:
        log.wake()

in this order, and with ``asleep`` read each time (``records`` is always the same deque, so its ``append`` may be kept).
It takes no lock and wakes no thread while the log's thread is awake; ``wake`` drops and counts what exceeds the limit.
:mod:`reserve.engine.logs.errorlog` says why no record is lost or counted twice, however many threads append, with the
GIL and without it.
"""

from __future__ import annotations

from typing import Any, TextIO

from reserve.apps._accesslog.destinations import STDOUT, Destination, open_destination, path_of
from reserve.apps._accesslog.formats import COMBINED, Format, compile_format, format_record
from reserve.apps._accesslog.record import CLIENT_CLOSED_REQUEST, MAX_FIELD, Record, cut
from reserve.engine.logs.errorlog import ErrorLog, LineWriter
from reserve.engine.logs.linestream import LineStream, LossCounter
from reserve.errors import UsageError

__all__ = [
    "CLIENT_CLOSED_REQUEST",
    "MAX_FIELD",
    "AccessLog",
    "Record",
    "SkippedPaths",
    "cut",
    "format_record",
    "log_format",
]

_BATCH = 256
"""Records that are formatted and written at once: escaped they take up to 4 MB."""


class AccessLog(LineWriter):
    """The access log of one server; its HTTP application owns it.

    The application calls ``start()`` when the server starts, and :meth:`stop` when it has stopped; the threads that
    respond to requests call ``put(record)``, with a plain tuple of the values of a
    :class:`~reserve.apps._accesslog.record.Record`, or a :class:`~reserve.apps._accesslog.record.DetailedRecord` if the
    format needs details.

    :param error_log: where the log reports that it cannot be written.
    :param stream: where lines go, for tests; None: to ``destination``.
    :param form: how a line is made.
    :param destination: see :func:`~reserve.apps._accesslog.destinations.is_destination`. Default: standard output, as
        it is when the log is made.
    :raises StartupError: the file cannot be opened.
    """

    PAUSE = 0.1

    def __init__(
        self,
        error_log: ErrorLog,
        stream: TextIO | None = None,
        form: Format | None = None,
        destination: str = STDOUT,
    ) -> None:
        super().__init__("reserve-access-log", self._write, self._report_dropped, batch=_BATCH)
        self._error_log = error_log
        self._encode = (COMBINED if form is None else form).encode
        self._out: Destination | None = LineStream(stream) if stream is not None else open_destination(destination)
        self._name = "standard output" if destination == STDOUT else path_of(destination) or destination
        self._losses = LossCounter(self._report_failure, self._report_lost)
        self._unwritten = 0
        """Lines that could not be written since the start."""

    def stop(self, timeout: float | None = None) -> None:
        """Write what is queued and end the thread.

        :param timeout: how many seconds a log that is stuck may take. Default: as long as the error log may.
        """
        super().stop(self._error_log.stop_timeout() if timeout is None else timeout)
        if self.thread.is_alive():
            self._error_log.warning(f"the access log hangs; more than {self.left} lines are lost")
            return
        self._losses.close()
        close = getattr(self._out, "close", None)
        if close is not None:
            close()

    @property
    def lines_dropped(self) -> int:
        """Lines that were lost since the start. Any thread."""
        return self.total_dropped + self._unwritten

    def _write(self, records: list[Any]) -> None:
        if self._out is None:
            return
        written = self._out.send(self._encode(records), len(records))
        lost = len(records) - written
        self._unwritten += lost
        self._losses.count(lost, self._out.error)

    def _report_failure(self, reason: Exception | None) -> None:
        self._error_log.error(f"the access log cannot be written; its lines are dropped until it can be: {reason}")

    def _report_lost(self, count: int) -> None:
        self._error_log.warning(f"{count} access log lines were dropped: the access log could not be written")

    def _report_dropped(self, count: int) -> None:
        self._error_log.warning(f"{count} access log lines were dropped: {self._name} does not take them fast enough")


def log_format(text: str) -> Format:
    """The format of ``--access-log-format``. Raises UsageError for one that is not allowed."""
    try:
        return compile_format(text)
    except ValueError as error:
        raise UsageError(f"access_log_format={text!r:.100} (--access-log-format): {error}") from None


class SkippedPaths:
    """The paths of ``--access-log-skip``, whose requests have no line. Immutable; any thread asks.

    :param paths: each a path as it is sent, or its beginning with ``*`` at the end.
    """

    __slots__ = ("_exact", "_prefixes")

    def __init__(self, paths: tuple[str, ...]) -> None:
        self._exact = frozenset(path for path in paths if not path.endswith("*"))
        self._prefixes = tuple(path[:-1] for path in paths if path.endswith("*"))

    def __contains__(self, target: str) -> bool:
        """Whether a request for ``target`` has no line."""
        path = target.partition("?")[0] if "?" in target else target
        return path in self._exact or path.startswith(self._prefixes)
