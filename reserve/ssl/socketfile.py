"""The files over a TLS socket: what ``makefile`` returns, as ``socket`` makes them of its own."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from reserve.ssl.tlssocket import TLSSocket

__all__ = ["SocketFile", "open_file"]


def open_file(
    secure: TLSSocket,
    mode: str,
    buffering: int | None,
    *,
    encoding: str | None,
    errors: str | None,
    newline: str | None,
) -> Any:
    """See :meth:`TLSSocket.makefile`. Raises ValueError for a mode that sockets have not."""
    if not set(mode) <= {"r", "w", "b"}:
        raise ValueError(f"invalid mode {mode!r} (only r, w, b allowed)")
    writing = "w" in mode
    reading = "r" in mode or not writing
    raw = SocketFile(secure, reading, writing)
    secure.file_opened()
    if buffering == 0:
        if "b" not in mode:
            raise ValueError("unbuffered streams must be binary")
        return raw
    size = buffering if buffering is not None and buffering > 0 else io.DEFAULT_BUFFER_SIZE
    buffer: Any
    if reading and writing:
        buffer = io.BufferedRWPair(raw, raw, size)
    else:
        buffer = io.BufferedReader(raw, size) if reading else io.BufferedWriter(raw, size)
    if "b" in mode:
        return buffer
    text = io.TextIOWrapper(buffer, encoding, errors, newline)
    cast("Any", text).mode = mode
    return text


class SocketFile(io.RawIOBase):
    """The raw half of :meth:`TLSSocket.makefile`, as ``socket.SocketIO`` is of a socket's."""

    def __init__(self, secure: TLSSocket, reading: bool, writing: bool) -> None:
        super().__init__()
        self._secure = secure
        self._reading = reading
        self._writing = writing
        self._timed_out = False

    @property
    def mode(self) -> str:
        return ("rwb" if self._writing else "rb") if self._reading else "wb"

    @property
    def name(self) -> int:
        return -1 if self.closed else self.fileno()

    def readable(self) -> bool:
        self._check_open()
        return self._reading

    def writable(self) -> bool:
        self._check_open()
        return self._writing

    def fileno(self) -> int:
        self._check_open()
        return self._secure.fileno()

    def readinto(self, buffer: Any) -> int | None:
        self._check_open()
        if not self._reading:
            raise io.UnsupportedOperation("not readable")
        if self._timed_out:  # what a buffer had collected until then is lost
            raise OSError("cannot read from timed out object")
        try:
            return self._secure.recv_into(buffer)
        except TimeoutError:
            self._timed_out = True
            raise
        except BlockingIOError:
            return None

    def write(self, data: Any) -> int | None:
        self._check_open()
        if not self._writing:
            raise io.UnsupportedOperation("not writable")
        try:
            return self._secure.send(data)
        except BlockingIOError:
            return None

    def close(self) -> None:
        if not self.closed:
            super().close()
            self._secure.file_closed()

    def _check_open(self) -> None:
        if self.closed:
            raise ValueError("I/O operation on closed file.")
