"""The two file-like objects that a WSGI gateway gives to applications: ``wsgi.errors`` and ``wsgi.file_wrapper``.

A :class:`FileWrapper` belongs to one answer and one thread. One :class:`ErrorStream` serves all requests and may be
used by every thread at once; it promises that lines never mix.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterable
from typing import Any

from reserve.errors import ApplicationError
from reserve.gateways.exchange import ReadableFile

__all__ = ["ErrorStream", "FileWrapper", "write_to_stderr"]

MAX_PARTIAL = 65536
"""Characters of an unfinished line that are held for one thread before they are written as a line."""


def write_to_stderr(text: str) -> None:
    """Write to the ``sys.stderr`` of this moment; like ``print``, do nothing where there is none (``pythonw``)."""
    stream = sys.stderr
    if stream is not None:
        stream.write(text)
        stream.flush()


class ErrorStream:
    """``wsgi.errors`` (PEP 3333, "Input and Error Streams"): a text stream that hands on whole lines only.

    An unfinished line is held for its thread until the rest comes, :meth:`flush` is called, or the request ends.

    It does not go through :mod:`logging`: frameworks attach logging handlers to ``wsgi.errors``, and a record would go
    round for ever.

    :param emit: receives one or more whole lines with their line ends, one call at a time. Default: standard error.
    """

    def __init__(self, emit: Callable[[str], None] = write_to_stderr) -> None:
        self._emit = emit
        # Re-entrant: a finalizer that runs during emit() may write here, too.
        self._lock = threading.RLock()
        self.partial: dict[int, str] = {}
        """Unfinished lines, by the ``threading.get_ident()`` of their thread; empty nearly always."""

    def write(self, text: str) -> int:
        """Take any text; return the number of characters, as every text stream does."""
        if not isinstance(text, str):
            raise TypeError(f"wsgi.errors is a text stream: write() wants str, got {type(text).__name__}")
        me = threading.get_ident()
        with self._lock:
            pending = self.partial.pop(me, "") + text
            whole = pending.rfind("\n") + 1
            if len(pending) - whole > MAX_PARTIAL:
                pending += "\n"
                whole = len(pending)
            if whole < len(pending):
                self.partial[me] = pending[whole:]
            if whole:
                self._emit(pending[:whole])
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        """Write them all, with no other thread's lines in between; line ends are not added."""
        self.write("".join(lines))

    def flush(self) -> None:
        """Hand on this thread's unfinished line, with a line end."""
        with self._lock:
            pending = self.partial.pop(threading.get_ident(), "")
            if pending:
                self._emit(pending + "\n")


class FileWrapper:
    """``wsgi.file_wrapper`` (PEP 3333, "Optional Platform-Specific File Handling"): a file as an answer, in blocks.

    Returned as the answer itself it lets the server send a real file without reading it. Wrapped in something else it
    is an ordinary iterable.

    :param filelike: anything with ``read(size)``; its ``close()``, if any, is called once when the answer is done.
    :param block_size: octets in one block, at least 1.
    """

    __slots__ = ("block_size", "filelike")

    def __init__(self, filelike: ReadableFile, block_size: int = 65536) -> None:
        if not hasattr(filelike, "read"):
            raise ApplicationError(
                f"wsgi.file_wrapper wants a file with a read() method, got {type(filelike).__name__}"
            )
        given: Any = block_size
        if not isinstance(given, int) or given < 1:
            raise ApplicationError(f"wsgi.file_wrapper wants a block size of 1 or more octets, got {given!r:.40}")
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
