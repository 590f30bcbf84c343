"""The body of a request, received before the application runs: in memory, and past a limit in a file without a name.

:meth:`BodyStore.add` is called by whoever steps the connection and only appends; :meth:`BodyStore.spill` and
:meth:`BodyStore.open` touch the disk, so a worker calls them.
"""

from __future__ import annotations

import io
import tempfile
from typing import BinaryIO

__all__ = ["BodyStore"]


class BodyStore:
    """The octets of one body, in order.

    :param memory: octets that are kept in memory; more waits only for a worker to write it to the file.
    :param folder: where the file is made (None: the system's directory for temporary files).
    """

    __slots__ = ("_file", "_folder", "_memory", "_pieces", "size", "waiting")

    def __init__(self, memory: int, folder: str | None) -> None:
        self._memory = memory
        self._folder = folder
        self._pieces: list[bytes] = []
        self._file: io.FileIO | None = None
        self.size = 0
        """Octets so far."""
        self.waiting = 0
        """Those of them that are in memory."""

    def add(self, data: bytes) -> None:
        self._pieces.append(data)
        self.size += len(data)
        self.waiting += len(data)

    @property
    def too_large(self) -> bool:
        """More is in memory than should be: :meth:`spill` it."""
        return self.waiting > self._memory

    def spill(self) -> None:
        """Write what is in memory to the file. Raises OSError when the disk is full."""
        if self._file is None:
            # Opened here and closed by close(): it outlives this call. Without a buffer, because pieces are large, and
            # because a buffer that a full disk refused would be written, and refused, once more by close().
            self._file = tempfile.TemporaryFile(dir=self._folder, prefix="reserve-body-", buffering=0)  # noqa: SIM115
        for piece in self._pieces:
            left = memoryview(piece)
            while left:
                left = left[self._file.write(left) :]
        self._pieces.clear()
        self.waiting = 0

    def open(self) -> BinaryIO:
        """The whole body as a binary file at its start: read, readline, readlines and iteration (PEP 3333)."""
        if self._file is None:
            return io.BytesIO(self._pieces[0] if len(self._pieces) == 1 else b"".join(self._pieces))
        if self._pieces:
            self.spill()
        self._file.seek(0)
        return io.BufferedReader(self._file)

    def close(self) -> None:
        """Give memory and disk back."""
        self._pieces.clear()
        self.waiting = 0
        if self._file is not None:
            self._file.close()
