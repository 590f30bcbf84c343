"""Headers of the PROXY protocol as frontends send them, written independently of the reader."""

from __future__ import annotations

import ipaddress
import struct

from tests.protocol.proxy.crc import slow_crc32c

SIGNATURE = bytes.fromhex("0d0a0d0a000d0a515549540a")
LOCAL, PROXY = 0x20, 0x21
TCP4, TCP6, UNIX, UNSPEC = 0x11, 0x21, 0x31, 0x00
ALPN, AUTHORITY, CRC32C, NOOP, UNIQUE_ID, SSL, NETNS = 1, 2, 3, 4, 5, 0x20, 0x30
CLIENT, SERVER = "203.0.113.9", "198.51.100.1"
CLIENT6, SERVER6 = "2001:db8::9", "2001:db8::1"
V1 = f"PROXY TCP4 {CLIENT} {SERVER} 50123 443\r\n".encode()


def tlv(kind: int, value: bytes) -> bytes:
    return struct.pack(">BH", kind, len(value)) + value


def addresses(source: str = CLIENT, destination: str = SERVER, ports: tuple[int, int] = (50123, 443)) -> bytes:
    packed = [ipaddress.ip_address(host).packed for host in (source, destination)]
    return b"".join(packed) + struct.pack(">HH", *ports)


def v2(
    body: bytes | None = None, *tlvs: bytes, command: int = PROXY, family: int = TCP4, length: int | None = None
) -> bytes:
    """A header of version 2; ``body`` is what stands before the TLVs, by default the addresses of the client."""
    rest = (addresses() if body is None else body) + b"".join(tlvs)
    return SIGNATURE + bytes((command, family)) + struct.pack(">H", len(rest) if length is None else length) + rest


def with_sum(body: bytes | None = None, *tlvs: bytes, after: bytes = b"", command: int = PROXY) -> bytes:
    """A header with its checksum between the TLVs and ``after``."""
    plain = v2(body, *tlvs, tlv(CRC32C, bytes(4)), after, command=command)
    at = len(plain) - len(after) - 4
    return plain[:at] + struct.pack(">I", slow_crc32c(plain)) + plain[at + 4 :]


def ssl_tlv(client: int = 7, verify: int = 0, *inner: bytes) -> bytes:
    return tlv(SSL, struct.pack(">BI", client, verify) + b"".join(inner))
