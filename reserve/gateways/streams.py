"""The two file-like objects that a WSGI gateway gives to applications: ``wsgi.errors`` and ``wsgi.file_wrapper``.

A :class:`FileWrapper` belongs to one response and one thread. An :class:`ErrorStream` serves all requests; any number
of threads may use it at the same time, and their lines are never mixed.
"""

from __future__ import annotations

import io
import os
import sys
import threading
from collections.abc import Callable, Iterable
from typing import Any, TextIO

from reserve.errors import ApplicationError, type_name
from reserve.gateways.exchange import ReadableFile
from reserve.wait import write_within

__all__ = ["ErrorStream", "FileWrapper"]

_STDERR = 2
_PATIENCE = 1.0
"""Seconds that a line may wait for room on standard error. Then it is lost, and later ones do not wait: a terminal that
is stopped, or a log service that hangs, must not take the workers.
"""
MAX_PARTIAL = 65536
"""How many characters of an incomplete line are kept for one thread before they are written as a line."""


class ErrorStream(io.TextIOBase):
    """``wsgi.errors`` (PEP 3333, "Input and Error Streams"): a text stream that writes complete lines only.

    The gateway owns one for all requests; every worker may write to it. An incomplete line is kept for its thread until
    the thread completes it, calls :meth:`flush`, or ends its request.

    It does not use :mod:`logging`: frameworks attach logging handlers to ``wsgi.errors``, so that a record would come
    back here without end.

    :param emit: gets one or more complete lines with their line ends, one call at a time. Default: they are written to
        ``sys.stderr`` as it is now, not as it is later: applications do ``sys.stderr = environ["wsgi.errors"]``, and
        a line would come back here without end. Where there is no standard error (``pythonw``) they are dropped.

    :meth:`isatty`, :attr:`encoding`, :attr:`errors` and :meth:`fileno` are those of that stream.
    """

    def __init__(self, emit: Callable[[str], None] | None = None) -> None:
        self._stream: TextIO | None = sys.stderr if emit is None else None
        self._emit = self._write_to_stream if emit is None else emit
        self._lost = 0
        """Lines for which standard error had no room, since the last one that was written."""
        self._mid_line = False
        """The last byte that was written is not the end of a line."""
        # Re-entrant: a finalizer that runs during emit() may write here, too.
        self._lock = threading.RLock()
        self.partial: dict[int, str] = {}
        """Incomplete lines by ``threading.get_ident()`` of their thread; nearly always empty."""

    def _write_to_stream(self, text: str) -> None:
        if self._stream is None:
            return
        fd = self._own_descriptor()
        if fd < 0:
            self._stream.write(text)
            self._stream.flush()
            return
        message = f"{self._lost} lines of wsgi.errors were lost: standard error was full\n" if self._lost else ""
        if self._mid_line:
            message = f"\n{message}"
        data = (message + text).encode(self._stream.encoding or "utf-8", "backslashreplace")
        done = write_within(fd, data, 0.0 if self._lost else _PATIENCE)
        if done:
            self._mid_line = data[done - 1] != 10
        if done >= len(message):
            self._lost = 0
        self._lost += data.count(b"\n", max(done, len(message)))

    def _own_descriptor(self) -> int:
        """The descriptor of standard error of the process, if the stream is that one; -1: another one, as in a test."""
        try:
            fd = self._stream.fileno() if self._stream is not None else -1
        except (AttributeError, OSError, ValueError):
            return -1
        return fd if fd == _STDERR and os.name == "posix" else -1

    @property
    def encoding(self) -> str:  # type: ignore[override]
        """The encoding of the stream; ``utf-8`` where it has none."""
        return getattr(self._stream, "encoding", None) or "utf-8"

    @property
    def errors(self) -> str | None:  # type: ignore[override]
        """How the stream encodes what its encoding does not have; None where it does not say."""
        return getattr(self._stream, "errors", None)

    def isatty(self) -> bool:
        """Whether the stream is a terminal."""
        isatty = getattr(self._stream, "isatty", None)
        return isatty is not None and bool(isatty())

    def fileno(self) -> int:
        """The descriptor of the stream. Raises ``io.UnsupportedOperation`` where there is none."""
        fileno: Callable[[], int] | None = getattr(self._stream, "fileno", None)
        if fileno is None:
            raise io.UnsupportedOperation("wsgi.errors has no descriptor")
        return fileno()

    def writable(self) -> bool:
        return True

    def close(self) -> None:
        """Do nothing: other requests use the stream."""

    def write(self, text: str, /) -> int:
        """Take any text; return the number of characters, as every text stream does."""
        if not isinstance(text, str):
            raise TypeError(f"wsgi.errors is a text stream: write() wants str, got {type_name(text)}")
        thread = threading.get_ident()
        with self._lock:
            pending = self.partial.pop(thread, "") + text
            complete = pending.rfind("\n") + 1
            if len(pending) - complete > MAX_PARTIAL:
                pending += "\n"
                complete = len(pending)
            if complete < len(pending):
                self.partial[thread] = pending[complete:]
            if complete:
                self._emit(pending[:complete])
        return len(text)

    def writelines(self, lines: Iterable[str], /) -> None:  # type: ignore[override]
        """Write all lines, without lines of other threads between them; line ends are not added."""
        self.write("".join(lines))

    def flush(self) -> None:
        """Write the incomplete line of this thread, with a line end."""
        with self._lock:
            pending = self.partial.pop(threading.get_ident(), "")
            if pending:
                self._emit(pending + "\n")


class FileWrapper:
    """``wsgi.file_wrapper`` (PEP 3333, "Optional Platform-Specific File Handling"): a file as a response, in blocks.

    An application makes it on its worker. If it returns the wrapper itself, the server can send a real file without
    reading it; wrapped in something else it is an ordinary iterable.

    :param filelike: anything with ``read(size)``; its ``close()``, if any, is called once when the response has ended.
    :param block_size: bytes in one block, at least 1.
    """

    __slots__ = ("block_size", "filelike")

    def __init__(self, filelike: ReadableFile, block_size: int = 65536) -> None:
        if not hasattr(filelike, "read"):
            raise ApplicationError(f"wsgi.file_wrapper wants a file with a read() method, got {type_name(filelike)}")
        size: Any = block_size
        if not isinstance(size, int) or size < 1:
            raise ApplicationError(f"wsgi.file_wrapper wants a block size of 1 or more bytes, got {size!r:.40}")
        self.filelike = filelike
        self.block_size = block_size

    def __iter__(self) -> FileWrapper:
        return self

    def __next__(self) -> bytes:
        data = self.filelike.read(self.block_size)
        if data:
            return data
        raise StopIteration

    def close(self) -> None:
        close = getattr(self.filelike, "close", None)
        if close is not None:
            close()
