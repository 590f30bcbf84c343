"""Finds the head of an SCGI request: a netstring, in input that arrives in pieces of any size.

The head is ``70:`` and 70 bytes of variables and a comma (https://python.ca/scgi/protocol.txt). Each connection has a
reader of its own, which the thread that owns the connection calls. A byte that is not allowed where it stands, and a
length above ``--max-head``, are refused when they arrive, before the variables do.
"""

from __future__ import annotations

from reserve.errors import RemoteError
from reserve.protocol.http1.limits import Limits

__all__ = ["NetstringReader"]

PREFIX = 4096
"""Bytes of a refused or slow head that are kept for its log line."""
COLON, COMMA, ZERO = b":,0"
DIGITS = b"0123456789"
TLS_HANDSHAKE = 22


class NetstringReader:
    """Turns the input of one connection into heads. Its driver owns it.

    :param limits: ``max_head`` is for the netstring without its length.
    """

    __slots__ = ("_at", "_buffer", "_limits", "_size", "_start", "refused", "rest")

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self.rest = b""
        """What was received after the head that :meth:`feed` returned last: its body."""
        self.refused = b""
        """The variables of the head that :meth:`feed` refused last, at most :data:`PREFIX` bytes: for its log line."""
        self._reset()

    def _reset(self) -> None:
        self._buffer = bytearray()
        self._at = 0  # position up to which the length has been checked
        self._start = 0  # position after the colon; 0 while that has not arrived
        self._size = 0

    @property
    def started(self) -> bool:
        """Whether any byte of a head is buffered."""
        return bool(self._buffer)

    @property
    def buffered(self) -> int:
        """How many bytes of an incomplete head are buffered."""
        return len(self._buffer)

    @property
    def prefix(self) -> bytes:
        """The first variables of the incomplete head that is buffered, at most :data:`PREFIX` bytes."""
        return bytes(self._buffer[self._start : self._start + PREFIX]) if self._start else b""

    def feed(self, data: bytes) -> bytes | None:
        """Take what was received; return the variables of a complete head, or None before its end.

        :raises RemoteError: 400 or 431.
        """
        self.rest = b""
        buffer = self._buffer
        buffer += data
        try:
            if not self._start:
                self._read_length()
                if not self._start:
                    return None
            end = self._start + self._size
            if len(buffer) <= end:
                return None
            if buffer[end] != COMMA:
                raise RemoteError(
                    400, f"byte 0x{buffer[end]:02x} follows the {self._size} bytes of the head, and not a comma (SCGI)"
                )
        except RemoteError:
            self.refused = self.prefix
            self._reset()
            raise
        block = bytes(buffer[self._start : end])
        self.rest = bytes(buffer[end + 1 :])
        self._reset()
        return block

    def _read_length(self) -> None:
        """Read the length and its colon as far as they have arrived."""
        buffer, limit = self._buffer, self._limits.max_head
        for at in range(self._at, len(buffer)):
            byte = buffer[at]
            if byte == COLON and at:
                self._start = at + 1
                return
            if byte not in DIGITS or (at and buffer[0] == ZERO):
                raise self._invalid_byte(at)
            self._size = self._size * 10 + byte - ZERO
            if self._size > limit:
                raise RemoteError(431, f"the head is longer than {limit} bytes (--max-head)")
        self._at = len(buffer)

    def _invalid_byte(self, at: int) -> RemoteError:
        byte = self._buffer[at]
        if at:
            before = self._buffer[:at].decode("ascii")
            return RemoteError(400, f"byte 0x{byte:02x} cannot follow {before!r} in the length of a head (SCGI)")
        if byte == TLS_HANDSHAKE:
            return RemoteError(400, "a TLS handshake arrived on a port that speaks SCGI without TLS")
        hint = "; HTTP is reserve app http" if chr(byte).isalpha() and byte < 128 else ""
        return RemoteError(400, f"no SCGI request starts with byte 0x{byte:02x}{hint} (SCGI)")
