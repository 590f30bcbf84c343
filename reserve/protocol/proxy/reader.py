"""Reads the header of the PROXY protocol at the beginning of a connection, from bytes in any pieces.

A header of version 1 is a line, one of version 2 is binary (proxy-protocol.txt, sections 2.1 and 2.2). Nobody but a
frontend that is trusted may send one, because the server believes it; that is the caller's part. Every header is
bounded: :data:`MAX_V1`, :data:`MAX_V2`.
"""

from __future__ import annotations

import re
from ipaddress import AddressValueError, IPv4Address, IPv6Address

from reserve.protocol.proxy.crc32c import crc32c
from reserve.protocol.proxy.header import (
    CRC32C,
    NOOP,
    SSL,
    UNIQUE_ID,
    Address,
    ProxyHeader,
    ProxyHeaderError,
    ProxySSL,
    split_tlvs,
)

__all__ = ["MAX_V1", "MAX_V2", "SIGNATURE", "ProxyReader"]

MAX_V1 = 107
"""Bytes of a header of version 1 with its line end (section 2.1)."""
MAX_V2 = 16384
"""Bytes of a header of version 2, whose length field allows 65551; a client's certificate in a TLV takes some KB."""

SIGNATURE = b"\r\n\r\n\x00\r\nQUIT\n"
"""The first bytes of a header of version 2."""
_PREFIX = b"PROXY "
_FIXED = 16  # bytes of version 2 before the addresses: the signature, version and command, family, length
_MAX_UNIQUE_ID = 128
_SHOWN = 16  # bytes of another beginning that a message quotes
_LINE = re.compile(rb"PROXY (TCP[46]) ([0-9A-Fa-f.:]{2,39}) ([0-9A-Fa-f.:]{2,39}) ([0-9]{1,5}) ([0-9]{1,5})\r\n")
_UNIX_PATH = 108


class ProxyReader:
    """Reads one header. The driver of a connection has one, and calls it until :attr:`header` is set.

    The caller looks at bytes without taking them (``MSG_PEEK``), and takes as many as :meth:`feed` returns. So nothing
    after the header is taken, and whatever follows (a TLS handshake, a request) is received by its own reader.

    :param versions: the versions that are accepted: ``v1``, ``v2`` or ``any``.
    """

    __slots__ = ("_data", "_size", "_versions", "header")

    def __init__(self, versions: str = "any") -> None:
        self._versions = versions
        self._data = b""
        self._size = 0
        """Bytes of the whole header of version 2; 0: it is not known yet."""
        self.header: ProxyHeader | None = None
        """Set when the header is complete."""

    @property
    def started(self) -> bool:
        """Whether a part of a header has been received."""
        return self._data != b""

    @property
    def wanted(self) -> int:
        """How many bytes to look at: so many may belong to the header."""
        have = len(self._data)
        if self._data[:1] == b"P":
            return MAX_V1 - have
        return (self._size or _FIXED) - have

    def feed(self, data: bytes) -> int:
        """Look at the next bytes; return how many of them, from the first, belong to the header.

        :param data: at most :attr:`wanted` bytes; more are not looked at.

        Raises ProxyHeaderError when what was received is not the beginning of a header that is accepted.
        """
        data = data[: self.wanted]
        block = self._data + data
        if block[:1] == b"P":
            end = block.find(b"\n") + 1
            if not end and len(block) >= MAX_V1:
                raise ProxyHeaderError(f"the header of the PROXY protocol has no line end within {MAX_V1} bytes")
            if not block.startswith(_PREFIX[: len(block)]) or self._versions == "v2":
                raise self._refusal(block)
            if end:
                self.header = _parse_line(block[:end])
                block = block[:end]
        else:
            if not block.startswith(SIGNATURE[: len(block)]) or self._versions == "v1":
                raise self._refusal(block)
            if len(block) >= _FIXED:
                self._size = _size_of(block)
                if len(block) == self._size:
                    self.header = _parse_binary(block)
        taken = len(block) - len(self._data)
        self._data = block if self.header is None else b""
        return taken

    def _refusal(self, block: bytes) -> ProxyHeaderError:
        if block.startswith((_PREFIX, SIGNATURE)):
            version = 1 if block.startswith(_PREFIX) else 2
            return ProxyHeaderError(f"the header has version {version}, and --proxy-protocol is {self._versions}")
        return ProxyHeaderError(f"no header of the PROXY protocol; it began with {block[:_SHOWN]!r}")


# ---- version 1 ----


def _parse_line(line: bytes) -> ProxyHeader:
    """Parse a complete header of version 1, up to its LF."""
    if not line.endswith(b"\r\n"):
        raise ProxyHeaderError(f"the line {line!r} does not end with CRLF")
    if line.startswith((b"PROXY UNKNOWN\r", b"PROXY UNKNOWN ")):
        return ProxyHeader(1, local=False)  # what stands after the word is ignored
    match = _LINE.fullmatch(line)
    if match is None:
        raise ProxyHeaderError(f"{line!r} is no header of version 1 of the PROXY protocol")
    family, *addresses = (part.decode("ascii") for part in match.groups())
    parse = _ipv4 if family == "TCP4" else _ipv6
    try:
        source, destination = (
            parse(host, _port(port)) for host, port in zip(addresses[:2], addresses[2:], strict=True)
        )
    except ValueError:  # an AddressValueError is one
        raise ProxyHeaderError(f"{line!r} has an address or a port that is none") from None
    return ProxyHeader(1, local=False, source=source, destination=destination)


def _port(text: str) -> int:
    port = int(text)
    if port > 65535 or text != str(port):
        raise ValueError
    return port


def _ipv4(host: str | bytes, port: int) -> Address:
    return str(IPv4Address(host)), port


def _ipv6(host: str | bytes, port: int) -> Address:
    if isinstance(host, str) and "%" in host:
        raise AddressValueError
    address = IPv6Address(host)
    mapped = address.ipv4_mapped
    return (str(address), port, 0, 0) if mapped is None else (str(mapped), port)


# ---- version 2 ----


def _size_of(block: bytes) -> int:
    """Check the first 16 bytes, and return how many the whole header has."""
    version, command = block[12] >> 4, block[12] & 15
    if version != 2:
        raise ProxyHeaderError(f"the version of the header is {version}, and not 2")
    if command > 1:
        raise ProxyHeaderError(f"the command {command} of the header is neither LOCAL (0) nor PROXY (1)")
    size = _FIXED + int.from_bytes(block[14:16], "big")
    if size > MAX_V2:
        raise ProxyHeaderError(f"the header has {size} bytes; at most {MAX_V2} are read")
    return size


def _parse_binary(block: bytes) -> ProxyHeader:
    """Parse a complete header of version 2."""
    if block[12] & 15 == 0:
        # What stands in the rest is ignored, addresses and TLVs alike; only a checksum would count (section 2.2.4).
        return ProxyHeader(2, local=True)
    family = block[13]
    source: Address | None = None
    destination: Address | None = None
    if family == 0x11:
        start = _need(block, 12)
        source = _ipv4(block[16:20], int.from_bytes(block[24:26], "big"))
        destination = _ipv4(block[20:24], int.from_bytes(block[26:28], "big"))
    elif family == 0x21:
        start = _need(block, 36)
        source = _ipv6(block[16:32], int.from_bytes(block[48:50], "big"))
        destination = _ipv6(block[32:48], int.from_bytes(block[50:52], "big"))
    elif family == 0x31:
        start = _need(block, 2 * _UNIX_PATH)
        middle = _FIXED + _UNIX_PATH
        source, destination = _path(block[_FIXED:middle]), _path(block[middle:start])
    elif family == 0:
        start = _FIXED
    else:
        raise ProxyHeaderError(
            f"the address family 0x{family:02x} of the header is none of TCP4, TCP6, UNIX and UNSPEC"
        )
    tlvs = _check_tlvs(block, start)
    ssl = next((value for kind, value in tlvs if kind == SSL), None)
    return ProxyHeader(
        2, local=False, source=source, destination=destination, tlvs=tlvs, ssl=None if ssl is None else _parse_ssl(ssl)
    )


def _need(block: bytes, size: int) -> int:
    """Return where the TLVs begin, after addresses of ``size`` bytes."""
    if len(block) < _FIXED + size:
        raise ProxyHeaderError(f"the header has {len(block) - _FIXED} bytes for addresses that take {size}")
    return _FIXED + size


def _path(field: bytes) -> str:
    """The path of a UNIX socket, padded with NULs; one in Linux' abstract namespace begins with a NUL."""
    end = field.find(b"\0", 1)
    path = field if end < 0 else field[:end]
    return "" if path == b"\0" else path.decode("utf-8", "surrogateescape")


def _check_tlvs(block: bytes, start: int) -> tuple[tuple[int, bytes], ...]:
    """Return the TLVs of a header, without padding and checksum, after the checksum was verified."""
    tlvs = []
    at = start
    sums = 0
    for kind, value in split_tlvs(block[start:]):
        at += 3
        if kind == CRC32C:
            sums += 1
            if len(value) != 4 or sums > 1:
                raise ProxyHeaderError("the header has not one CRC32C of four bytes")
            if crc32c(block[:at] + bytes(4) + block[at + 4 :]) != int.from_bytes(value, "big"):
                raise ProxyHeaderError("the CRC32C of the header is wrong")
        elif kind != NOOP:
            if kind == UNIQUE_ID and len(value) > _MAX_UNIQUE_ID:
                raise ProxyHeaderError(f"UNIQUE_ID has {len(value)} bytes; at most {_MAX_UNIQUE_ID} are allowed")
            tlvs.append((kind, value))
        at += len(value)
    return tuple(tlvs)


def _parse_ssl(value: bytes) -> ProxySSL:
    if len(value) < 5:
        raise ProxyHeaderError(f"the TLV SSL has {len(value)} bytes; it takes at least 5")
    return ProxySSL(value[0], int.from_bytes(value[1:5], "big"), tuple(split_tlvs(value[5:])))
