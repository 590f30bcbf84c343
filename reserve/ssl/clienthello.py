"""The first message of a client's handshake, read before OpenSSL gets it: the host and the protocols in it.

They select the certificate *before* the session begins. OpenSSL's own callback comes too late: by then OpenSSL has
decided to resume a session, also one that was made under another name and certificate (which RFC 6066 section 3
forbids). And the standard library's callback writes to stderr when a name is not ASCII, each time that a client sends
one.

A malformed message is passed on to OpenSSL, which sends the right alert. Records are those of RFC 8446 section 5.1, the
message is that of section 4.1.2; both look the same in every older version.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

from reserve.errors import TLSError

__all__ = ["NO_APPLICATION_PROTOCOL", "ClientHello", "HelloReader", "HelloRefused", "alert", "read_hello"]

_HANDSHAKE = 22
_CLIENT_HELLO = 1
_MAJOR_VERSION = 3
"""The first byte of the version in the header of a record, in every version of TLS."""
_MAX_RECORD = 16384 + 256
"""Bytes in a record (RFC 8446 section 5.2, where they are encrypted; these are not)."""
_MAX_HELLO = 32768
"""Bytes up to the end of a ClientHello. They are kept in memory; the largest of today have two thousand."""
_SERVER_NAME, _ALPN = 0, 16
_READ = {_SERVER_NAME, _ALPN}
_extension_header = struct.Struct(">HH").unpack_from
"""The kind and the length of an extension (RFC 8446 section 4.2)."""
_one_name = struct.Struct(">HBH").unpack_from
"""The length of the list of server names, the kind of the first one, and its length (RFC 6066 section 3)."""

DECODE_ERROR, ILLEGAL_PARAMETER, NO_APPLICATION_PROTOCOL = 50, 47, 120
"""Alerts (RFC 8446 section 6, RFC 7301 section 3.2)."""


class ClientHello(NamedTuple):
    """What reserve reads in a ClientHello."""

    server_name: str | None = None
    """The host that the client asks for (RFC 6066 section 3)."""
    protocols: tuple[bytes, ...] = ()
    """The protocols that the client offers (RFC 7301)."""


class HelloRefused(TLSError):
    """The handshake is refused. ``number`` is that of the alert to send."""

    def __init__(self, number: int, message: str) -> None:
        super().__init__(message)
        self.number = number


class _Malformed(ValueError):
    """The message breaks a rule; OpenSSL will find out which."""


def alert(number: int) -> bytes:
    """The record of a fatal alert, before anything is encrypted."""
    return bytes((21, 3, 3, 0, 2, 2, number))


def read_hello(data: bytes) -> ClientHello | None:
    """The ClientHello that the first bytes of a connection have in one record, as nearly every client sends it.

    None: it is not all there, or is in several records; a :class:`HelloReader` decides then. Raises HelloRefused.
    """
    if len(data) < 9 or data[0] != _HANDSHAKE or data[1] != _MAJOR_VERSION or data[5] != _CLIENT_HELLO:
        return None
    record = data[3] << 8 | data[4]
    size = 4 + (data[6] << 16 | data[7] << 8 | data[8])
    if size > record or record > _MAX_RECORD or len(data) < 5 + record:
        return None
    try:
        return _parse(data[9 : 5 + size])
    except _Malformed:
        return ClientHello()


class HelloReader:
    """Collects the ClientHello of one session from received data, however that is split. The session owns it."""

    __slots__ = ("_header", "_message_size", "_parsed_to", "received")

    def __init__(self) -> None:
        self.received = bytearray()
        """Everything that was fed. The only copy: the message is cut out of it when it is complete."""
        self._parsed_to = 0
        """The number of bytes of complete records in it."""
        self._message_size = 0
        """Bytes of the message in these records."""
        self._header = b""
        """The type and the length of the message: its first four bytes, which may be in several records."""

    def feed(self, data: bytes) -> ClientHello | None:
        """The ClientHello when it is complete, an empty one when OpenSSL should look at the data; None: more is needed.

        Raises HelloRefused.
        """
        received = self.received
        received += data
        if len(received) > _MAX_HELLO:
            raise _too_long()
        while len(received) - self._parsed_to >= 5:
            header = self._parsed_to
            start = header + 5
            end = start + int.from_bytes(received[start - 2 : start], "big")
            if (
                received[header] != _HANDSHAKE
                or received[header + 1] != _MAJOR_VERSION
                or not 0 < end - start <= _MAX_RECORD
            ):
                return ClientHello()
            if len(received) < end:
                break
            self._parsed_to = end
            self._message_size += end - start
            if len(self._header) < 4:
                self._header += received[start : min(end, start + 4 - len(self._header))]
            header_bytes = self._header
            if header_bytes[0] != _CLIENT_HELLO:
                return ClientHello()
            size = 4 + int.from_bytes(header_bytes[1:4], "big")
            if len(header_bytes) == 4 and size > _MAX_HELLO:
                raise _too_long()
            if self._message_size >= max(4, size):
                try:
                    return _parse(self._message()[4:size])
                except _Malformed:
                    return ClientHello()
        return None

    def _message(self) -> bytes:
        """The content of the complete records."""
        received, start, pieces = self.received, 5, []
        while start < self._parsed_to:
            end = start + int.from_bytes(received[start - 2 : start], "big")
            pieces.append(received[start:end])
            start = end + 5
        return b"".join(pieces)


def _too_long() -> HelloRefused:
    return HelloRefused(DECODE_ERROR, f"a ClientHello of more than {_MAX_HELLO} bytes")


def _parse(body: bytes) -> ClientHello:
    """The values of a ClientHello (without its type and length). Raises HelloRefused, and _Malformed."""
    server_name: str | None = None
    protocols: tuple[bytes, ...] = ()
    try:  # an index after the end, and a vector that ends there, are found together at the end
        position = 35 + body[34]  # version, random; the session id
        position += 2 + (body[position] << 8 | body[position + 1])  # ciphers
        position += 1 + body[position]  # compression
        if position < len(body):
            end = position + 2 + (body[position] << 8 | body[position + 1])
            if end > len(body):
                raise _Malformed
            position += 2
            header = _extension_header
            while position < end:  # a dozen extensions, in every handshake: only those that are needed are sliced
                kind, length = header(body, position)
                position += 4 + length
                if kind in _READ and position <= end:
                    content = body[position - length : position]
                    if kind == _SERVER_NAME:
                        server_name = _host_name(content)
                    else:
                        protocols = _protocol_names(content)
            if position > end:
                raise _Malformed
    except (IndexError, struct.error):
        raise _Malformed from None
    if position > len(body):
        raise _Malformed
    return ClientHello(server_name, protocols)


def _vector_end(data: bytes, position: int, length_bytes: int) -> int:
    """Where the vector at ``position`` ends, which begins with its length."""
    end = position + length_bytes + int.from_bytes(data[position : position + length_bytes], "big")
    if position + length_bytes > len(data) or end > len(data):
        raise _Malformed
    return end


def _split_vector(data: bytes, length_bytes: int) -> tuple[bytes, bytes]:
    """The content of the vector at the beginning of ``data``, and the data after it."""
    end = _vector_end(data, 0, length_bytes)
    return data[length_bytes:end], data[end:]


def _host_name(content: bytes) -> str | None:
    size = len(content)
    if size > 5 and _one_name(content) == (size - 2, 0, size - 5):  # as every client sends it
        host = content[5:]
    else:
        names, _ = _split_vector(content, 2)
        host, _ = _split_vector(names[1:], 2)
        if names[0] != 0:  # no kind but host_name was ever defined
            raise _Malformed
    try:
        return str(host, "ascii") or None
    except UnicodeDecodeError:
        message = f"the server name {host[:100]!r} is not in ASCII"
        raise HelloRefused(ILLEGAL_PARAMETER, message) from None


def _protocol_names(content: bytes) -> tuple[bytes, ...]:
    protocols = []
    remaining, _ = _split_vector(content, 2)
    while remaining:
        name, remaining = _split_vector(remaining, 1)
        if not name:
            raise _Malformed
        protocols.append(name)
    return tuple(protocols)
