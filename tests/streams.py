"""Text streams that cannot be written, in place of standard output and standard error."""

from __future__ import annotations

import io
import threading


class FailingStream(io.StringIO):
    """Takes lines while ``error`` is None, and raises it otherwise."""

    error: Exception | None = None

    def write(self, text: str) -> int:
        if self.error is not None:
            raise self.error
        return super().write(text)


class BlockedStream(io.StringIO):
    """Each write sets ``writing`` and then blocks until the test sets ``unblock``."""

    def __init__(self) -> None:
        super().__init__()
        self.writing = threading.Event()
        self.unblock = threading.Event()

    def write(self, text: str) -> int:
        self.writing.set()
        self.unblock.wait()
        return super().write(text)
