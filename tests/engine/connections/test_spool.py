"""The temporary file for what does not fit into memory."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import pytest

from reserve.engine.connections.spool import SpoolFile


def test_a_spool_file_has_no_name_and_keeps_what_is_appended_in_order(tmp_path: Path) -> None:
    spool = SpoolFile(str(tmp_path), "test-")
    try:
        assert list(tmp_path.iterdir()) == []
        for data in (b"one", b"", memoryview(b"and two")):
            spool.append(data)
            spool.file.seek(1)  # a reader moves the position; the next append is at the end all the same
        assert spool.size == 10
        spool.file.seek(0)
        assert spool.file.read() == b"oneand two"
    finally:
        spool.close()
    assert spool.file.closed


def test_a_spool_file_in_a_directory_that_is_missing_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        SpoolFile(str(tmp_path / "missing"), "test-")


class FillingFile:
    """A file on a disk that takes 4 bytes at a time, and then has room for ``room`` more."""

    def __init__(self, file: Any, room: int) -> None:
        self._file, self.room = file, room

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)

    def write(self, data: memoryview) -> int:
        count = min(len(data), self.room, 4)
        if not count:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self.room -= count
        return int(self._file.write(data[:count]))


def test_an_append_that_the_disk_refuses_is_overwritten_by_the_next() -> None:
    spool = SpoolFile(None, "test-")
    try:
        disk = FillingFile(spool.file, 10)
        spool.file = disk  # type: ignore[assignment]
        spool.append(b"begin")
        with pytest.raises(OSError, match="No space left"):
            spool.append(b"does not fit")
        assert spool.size == 5
        disk.room = 20
        spool.append(b" and on")
        assert spool.size == 12
        spool.file.seek(0)
        assert spool.file.read(12) == b"begin and on"
    finally:
        spool.close()
