"""What a header of the PROXY protocol says, as values: who connected to the frontend, and what it knows of the client.

Source: "The PROXY protocol, versions 1 & 2" (haproxy.org, proxy-protocol.txt, 2020/03/05). The values do not change;
any thread may read them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

__all__ = [
    "ALPN",
    "AUTHORITY",
    "CRC32C",
    "NETNS",
    "NOOP",
    "SSL",
    "UNIQUE_ID",
    "Address",
    "ProxyHeader",
    "ProxyHeaderError",
    "ProxySSL",
    "split_tlvs",
]

ALPN, AUTHORITY, CRC32C, NOOP, UNIQUE_ID, SSL, NETNS = 0x01, 0x02, 0x03, 0x04, 0x05, 0x20, 0x30
"""The types of TLVs that the specification defines (section 2.2)."""

SSL_VERSION, SSL_CN, SSL_CIPHER, SSL_SIG_ALG, SSL_KEY_ALG = 0x21, 0x22, 0x23, 0x24, 0x25
CLIENT_SSL, CLIENT_CERT_CONN, CLIENT_CERT_SESS = 1, 2, 4

Address: TypeAlias = "tuple[str, int] | tuple[str, int, int, int] | str"
"""As ``accept`` gives addresses: (host, port), for IPv6 with two zeros more, and the path of a UNIX socket."""


class ProxyHeaderError(ValueError):
    """What a connection began with is not a header that may stand there.

    The message is one sentence for the log. It quotes no more than a short piece of what was received.
    """


class ProxySSL(NamedTuple):
    """What a frontend says about the TLS of its client: the TLV ``PP2_TYPE_SSL`` (section 2.2.6)."""

    client: int
    """Bits: 1, the client uses TLS; 2, it sent a certificate over this connection; 4, over this TLS session."""
    verify: int
    """0: the client has sent a certificate, and the frontend has verified it. Otherwise it has not."""
    tlvs: tuple[tuple[int, bytes], ...]
    """The TLVs inside, (type, value) each."""

    @property
    def encrypted(self) -> bool:
        """Whether the client uses TLS."""
        return self.client & CLIENT_SSL != 0

    @property
    def verified(self) -> bool:
        """Whether the client has sent a certificate that the frontend has verified, on this connection or before."""
        return self.client & (CLIENT_CERT_CONN | CLIENT_CERT_SESS) != 0 and self.verify == 0

    def _text(self, kind: int) -> str:
        return _text(_first(self.tlvs, kind))

    @property
    def version(self) -> str:
        """The version of TLS (``TLSv1.3``); empty: it is not said. Likewise the following ones."""
        return self._text(SSL_VERSION)

    @property
    def common_name(self) -> str:
        """The common name (CN) of the client's certificate."""
        return self._text(SSL_CN)

    @property
    def cipher(self) -> str:
        return self._text(SSL_CIPHER)

    @property
    def signature_algorithm(self) -> str:
        """The algorithm with which the frontend's certificate is signed (``SHA256``)."""
        return self._text(SSL_SIG_ALG)

    @property
    def key_algorithm(self) -> str:
        """The kind of the key of the frontend's certificate (``RSA2048``)."""
        return self._text(SSL_KEY_ALG)


@dataclass(frozen=True, slots=True)
class ProxyHeader:
    """A header of the PROXY protocol: made by :class:`~reserve.protocol.proxy.reader.ProxyReader`."""

    version: int
    """1 or 2."""
    local: bool
    """The frontend has made the connection itself, as for a health check: there is no client."""
    source: Address | None = None
    """The client, as it connected to the frontend; None: the frontend does not say, or there is no client."""
    destination: Address | None = None
    """The address of the frontend that the client has connected to; None likewise."""
    tlvs: tuple[tuple[int, bytes], ...] = ()
    """(type, value) of each TLV of version 2, in their order, without padding and checksum."""
    ssl: ProxySSL | None = None
    """What the frontend says about the client's TLS; None: nothing."""

    def tlv(self, kind: int) -> bytes | None:
        """The value of the first TLV of a type; None: there is none."""
        return _first(self.tlvs, kind)

    @property
    def alpn(self) -> bytes:
        """The application protocol that was negotiated with ALPN (``b"h2"``); empty: it is not said."""
        return self.tlv(ALPN) or b""

    @property
    def authority(self) -> str:
        """The host name that the client has asked for (SNI); empty: it is not said."""
        return _text(self.tlv(AUTHORITY))

    @property
    def unique_id(self) -> bytes:
        """The frontend's name of the connection, at most 128 bytes; empty: it is not said."""
        return self.tlv(UNIQUE_ID) or b""

    @property
    def netns(self) -> str:
        """The network namespace of the client's connection; empty: it is not said."""
        return _text(self.tlv(NETNS))


def split_tlvs(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield (type, value) of each TLV (section 2.2). Raises ProxyHeaderError for one that is longer than ``data``."""
    at, end = 0, len(data)
    while at < end:
        start = at + 3
        length = int.from_bytes(data[at + 1 : start], "big")
        if start > end or start + length > end:
            raise ProxyHeaderError(f"the TLV 0x{data[at]:02x} is longer than the bytes that hold it")
        yield data[at], data[start : start + length]
        at = start + length


def _first(tlvs: tuple[tuple[int, bytes], ...], kind: int) -> bytes | None:
    return next((value for one, value in tlvs if one == kind), None)


def _text(value: bytes | None) -> str:
    return "" if value is None else value.decode("utf-8", "backslashreplace")
