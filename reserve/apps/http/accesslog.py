"""The access log: one line for each request, in a format of the operator's choice, to a destination likewise.

Any thread calls :meth:`AccessLog.put`, which costs one append; a thread of the log formats and writes the lines. While
the log cannot be written, requests go on: lines are dropped and counted until it can be written again. What is in a
record is in :mod:`reserve.apps._accesslog.record`, the formats are in :mod:`reserve.apps._accesslog.formats`.
"""

from __future__ import annotations

from typing import Any, TextIO

from reserve.apps._accesslog.destinations import STDOUT, Destination, open_destination, path_of
from reserve.apps._accesslog.formats import Format, compile_format, format_record
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


class AccessLog:
    """The access log of one server; its HTTP application owns it.

    The application calls ``start()`` when the server starts, and :meth:`stop` when it has stopped; the threads that
    respond to requests call ``put(record)``.

    :param error_log: where the log reports that it cannot be written.
    :param stream: where lines go, for tests; None: to ``destination``.
    :param form: how a line is made.
    :param destination: see :func:`~reserve.apps._accesslog.destinations.is_destination`. Default: standard output, as
        it is when the log is made.
    :raises StartupError: the file cannot be opened.
    """

    def __init__(
        self,
        error_log: ErrorLog,
        stream: TextIO | None = None,
        form: Format | None = None,
        destination: str = STDOUT,
    ) -> None:
        self._error_log = error_log
        self._render = format_record if form is None else form.render
        self._out: Destination | None = LineStream(stream) if stream is not None else open_destination(destination)
        self._name = "standard output" if destination == STDOUT else path_of(destination) or destination
        self._losses = LossCounter(self._report_failure, self._report_lost)
        self._unwritten = 0
        """Lines that could not be written since the start."""
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
            return
        self._losses.close()
        close = getattr(self._out, "close", None)
        if close is not None:
            close()

    @property
    def lines_dropped(self) -> int:
        """Lines that were lost since the start. Any thread."""
        return self._writer.total_dropped + self._unwritten

    def _write(self, records: list[Any]) -> None:
        if self._out is None:
            return
        render = self._render
        for at in range(0, len(records), _BATCH):
            batch = records[at : at + _BATCH]
            written = self._out.write([render(record) for record in batch])
            self._unwritten += len(batch) - written
            self._losses.count(len(batch) - written, self._out.error)

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
