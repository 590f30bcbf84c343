"""Finds the head of a uwsgi request: one packet, in input that arrives in pieces of any size.

A packet has four bytes (modifier1, the size of the variables in two bytes, the lower one first, modifier2) and the
variables. Each connection has a reader of its own, which the thread that owns the connection calls. What breaks a rule
is refused when it arrives.
"""

from __future__ import annotations

from reserve.errors import RemoteError
from reserve.protocol.http1.limits import Limits

__all__ = ["PacketReader", "read_variables"]

HEADER = 4
PREFIX = 4096
"""Bytes of a refused or slow head that are kept for its log line."""
TLS_HANDSHAKE = 22


class PacketReader:
    """Turns the input of one connection into heads. Its driver owns it.

    :param limits: ``max_head`` is for the variables of a packet.
    """

    __slots__ = ("_buffer", "_limits", "refused", "rest")

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._buffer = bytearray()
        self.rest = b""
        """What was received after the head that :meth:`feed` returned last: its body."""
        self.refused = b""
        """The variables of the head that :meth:`feed` refused last, at most :data:`PREFIX` bytes: for its log line."""

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
        return bytes(self._buffer[HEADER : HEADER + PREFIX])

    def feed(self, data: bytes) -> bytes | None:
        """Take what was received; return the variables of a complete head, or None before its end.

        :raises RemoteError: 400, 431 or 501.
        """
        self.rest = b""
        buffer = self._buffer
        buffer += data
        if not buffer:
            return None
        try:
            if buffer[0] != 0:
                raise _unknown_modifier(buffer[0])
            size = int.from_bytes(buffer[1:3], "little")
            if len(buffer) >= 3 and size > self._limits.max_head:
                raise RemoteError(431, f"the head is longer than {self._limits.max_head} bytes (--max-head)")
        except RemoteError:
            self.refused = self.prefix
            self._buffer = bytearray()
            raise
        end = HEADER + size
        if len(buffer) < end or len(buffer) < HEADER:
            return None
        block = bytes(buffer[HEADER:end])
        self.rest = bytes(buffer[end:])
        self._buffer = bytearray()
        return block


def _unknown_modifier(modifier: int) -> RemoteError:
    if modifier == TLS_HANDSHAKE:
        return RemoteError(400, "a TLS handshake arrived on a port that speaks uwsgi without TLS")
    hint = "; HTTP is reserve app http" if chr(modifier).isalpha() and modifier < 128 else ""
    return RemoteError(501, f"the modifier1 of the request is {modifier}{hint}; only 0, WSGI, is served (uwsgi)")


def read_variables(block: bytes, most: int = 65536) -> tuple[list[str], list[str], str]:
    """The names and the values of the variables of a packet, in order, as latin-1, and what is wrong after the last of
    them (empty: nothing).

    :param most: variables after which it stops, as if the packet ended there.

    Each name and each value has its size in two bytes, the lower one first, before it.
    """
    text = block.decode("latin-1")
    names: list[str] = []
    values: list[str] = []
    position, stop = 0, len(block)
    for _ in range(most):
        if position == stop:
            break
        if position + 4 > stop:
            return names, values, "the last name"
        start = position + 2
        value = start + block[position] + (block[position + 1] << 8)
        after = value + 2
        if after > stop:
            return names, values, "the last name"
        position = after + block[value] + (block[value + 1] << 8)
        if position > stop:
            return names, values, f"the value of {text[start:value][:60]!r}"
        names.append(text[start:value])
        values.append(text[after:position])
    return names, values, ""
