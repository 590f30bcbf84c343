"""A file without a name for data that does not fit into memory.

Only workers make it and write to it, because that blocks on the disk.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from typing import BinaryIO, cast

__all__ = ["SpoolFile"]


class SpoolFile:
    """An unlinked temporary file that bytes are appended to; owned by a body or an output.

    :param folder: where the file is made; None: the system's directory for temporary files.
    :param prefix: of the file's name, which it loses at once where the system allows.
    :param close_file: is given the function that closes the file, and the file's size, and calls it soon, perhaps on
        another thread: see :meth:`ServerContext.close_file <reserve.engine.connections.context.ServerContext>`. None:
        :meth:`close` closes the file itself.

    Raises OSError when it cannot be made.
    """

    __slots__ = ("_close_file", "file", "size")

    def __init__(
        self, folder: str | None, prefix: str, close_file: Callable[[Callable[[], None], int], None] | None = None
    ) -> None:
        self._close_file = close_file
        # No buffer: the pieces are large. And after a write that failed because the disk is full, closing a buffered
        # file would write the same data again, and fail again.
        file = tempfile.TemporaryFile(dir=folder, prefix=prefix, buffering=0)  # noqa: SIM115 - close() closes it
        self.file = cast("BinaryIO", file)
        self.size = 0
        """The length of the data that was appended without an error."""

    def append(self, data: bytes | memoryview) -> None:
        """Write to the end. After an OSError (the disk is full) the next append writes at the same place."""
        self.file.seek(self.size)
        remaining = memoryview(data)
        while remaining:
            remaining = remaining[self.file.write(remaining) :]
        self.size += len(data)

    def close(self) -> None:
        """Close the file, which frees its disk space."""
        if self._close_file is None:
            self.file.close()
        else:
            self._close_file(self.file.close, self.size)
