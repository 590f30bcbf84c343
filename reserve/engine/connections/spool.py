"""A file without a name for what does not fit into memory. Everything here blocks on the disk: only on a worker."""

from __future__ import annotations

import tempfile
from typing import BinaryIO, cast

__all__ = ["SpoolFile"]


class SpoolFile:
    """An unlinked temporary file that bytes are appended to; owned by a body or an output.

    :param folder: where it is made; None: the system's directory for temporary files.
    :param prefix: of its name, for the moment that it has one.

    Raises OSError when it cannot be made.
    """

    __slots__ = ("file", "size")

    def __init__(self, folder: str | None, prefix: str) -> None:
        # Without a buffer: pieces are large, and what a full disk refused would be written, and refused, once more by
        # the close of a buffered file.
        file = tempfile.TemporaryFile(dir=folder, prefix=prefix, buffering=0)  # noqa: SIM115 - close() closes it
        self.file = cast("BinaryIO", file)
        self.size = 0
        """Bytes that were appended whole."""

    def append(self, data: bytes | memoryview) -> None:
        """Write to the end. Raises OSError when the disk takes no more; the next append then writes there again."""
        self.file.seek(self.size)
        remaining = memoryview(data)
        while remaining:
            remaining = remaining[self.file.write(remaining) :]
        self.size += len(data)

    def close(self) -> None:
        """Give the disk back."""
        self.file.close()
