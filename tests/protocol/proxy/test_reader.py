"""Reads headers of the PROXY protocol, delivered in any pieces, with whatever follows them."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reserve.protocol.proxy.header import ProxyHeader, ProxyHeaderError, ProxySSL
from reserve.protocol.proxy.reader import MAX_V1, MAX_V2, ProxyReader
from tests.protocol.http1.delivery import deliver, deliveries
from tests.protocol.proxy.headers import (
    ALPN,
    AUTHORITY,
    CLIENT,
    CLIENT6,
    CRC32C,
    LOCAL,
    NETNS,
    NOOP,
    SERVER,
    SERVER6,
    SIGNATURE,
    SSL,
    TCP6,
    UNIQUE_ID,
    UNIX,
    UNSPEC,
    V1,
    addresses,
    ssl_tlv,
    tlv,
    v2,
    with_sum,
)

NEXT = b"GET / HTTP/1.1\r\nHost: a\r\n\r\nPROXY "
IPV4 = ((CLIENT, 50123), (SERVER, 443))
IPV6 = ((CLIENT6, 50123, 0, 0), (SERVER6, 443, 0, 0))


def read(pieces: list[bytes], versions: str = "any") -> tuple[ProxyHeader | str | None, bytes]:
    """The header, or the message of an error, and the bytes that were not taken; as a driver calls the reader, which
    looks at what is in the socket and takes a part of it.
    """
    reader = ProxyReader(versions)
    waiting = b""
    for piece in pieces:
        waiting += piece
        while waiting and reader.header is None:
            assert 0 < reader.wanted <= MAX_V2
            try:
                taken = reader.feed(waiting[: reader.wanted])
            except ProxyHeaderError as error:
                return str(error), b""
            assert taken > 0
            waiting = waiting[taken:]
    return reader.header, waiting


def header(data: bytes) -> ProxyHeader:
    """The header at the beginning of ``data``, which no delivery changes, and which leaves what follows alone."""
    result, rest = deliver(data + NEXT, read)
    assert isinstance(result, ProxyHeader), result
    assert rest == NEXT
    for cut in range(len(data)):
        assert read([data[:cut]]) == (None, b""), "complete before its last byte, or a part of it was left"
    return result


def error(data: bytes, versions: str = "any") -> str:
    messages = {str(read(pieces, versions)[0]) for pieces in deliveries(data)}
    (first,) = {read([data], versions)[0]}
    assert isinstance(first, str), first
    assert all(message != "None" and not message.startswith("ProxyHeader") for message in messages), messages
    return first


# ---- version 1 ----


@pytest.mark.parametrize(
    ("line", "source", "destination"),
    [
        (V1, *IPV4),
        (f"PROXY TCP6 {CLIENT6} {SERVER6} 50123 443\r\n".encode(), *IPV6),
        (b"PROXY TCP4 255.255.255.255 0.0.0.0 65535 0\r\n", ("255.255.255.255", 65535), ("0.0.0.0", 0)),
        (b"PROXY TCP6 2001:DB8:0:0::9 ::1 1 2\r\n", (CLIENT6, 1, 0, 0), ("::1", 2, 0, 0)),
        (b"PROXY TCP6 ::ffff:203.0.113.9 ::1 1 2\r\n", (CLIENT, 1), ("::1", 2, 0, 0)),
        (b"PROXY UNKNOWN\r\n", None, None),
        (b"PROXY UNKNOWN ffff::1 ffff::2 1 2\r\n", None, None),
        (b"PROXY UNKNOWN " + b"x" * (MAX_V1 - 16) + b"\r\n", None, None),
    ],
)
def test_a_line(line: bytes, source: object, destination: object) -> None:
    assert header(line) == ProxyHeader(1, local=False, source=source, destination=destination)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "line",
    [
        b"PROXY \r\n",
        b"PROXY TCP4\r\n",
        b"PROXY TCP5 1.2.3.4 1.2.3.4 1 2\r\n",
        b"PROXY tcp4 1.2.3.4 1.2.3.4 1 2\r\n",
        b"PROXY TCP4 1.2.3.4 1.2.3.4 1\r\n",
        b"PROXY TCP4 1.2.3.4 1.2.3.4 1 2 3\r\n",
        b"PROXY TCP4  1.2.3.4 1.2.3.4 1 2\r\n",
        b"PROXY TCP4 1.2.3.4 1.2.3.4 1 65536\r\n",
        b"PROXY TCP4 1.2.3.4 1.2.3.4 01 2\r\n",
        b"PROXY TCP4 1.2.3.4 1.2.3.4 -1 2\r\n",
        b"PROXY TCP4 1.2.3.256 1.2.3.4 1 2\r\n",
        b"PROXY TCP4 1.2.3.04 1.2.3.4 1 2\r\n",
        b"PROXY TCP4 1.2.3 1.2.3.4 1 2\r\n",
        b"PROXY TCP4 ::1 ::1 1 2\r\n",
        b"PROXY TCP6 1.2.3.4 1.2.3.4 1 2\r\n",
        b"PROXY TCP6 ::1%eth0 ::1 1 2\r\n",
        b"PROXY TCP6 :::1 ::1 1 2\r\n",
        b"PROXY TCP4 1.2.3.4 1.2.3.4 1 2\n",
        b"PROXY TCP4 1.2.3.4 1.2.3.4 1 2\r \n",
        b"PROXY TCP4 1.2.3.4\r1.2.3.4 1 2\r\n",
        b"PROXY TCP4 1.2.3.4\xb2 1.2.3.4 1 2\r\n",
        b"PROXY UNKNOWNX\r\n",
        b"PROXY\tTCP4 1.2.3.4 1.2.3.4 1 2\r\n",
        b"proxy TCP4 1.2.3.4 1.2.3.4 1 2\r\n",
        b"PROXY UNKNOWN " + b"x" * (MAX_V1 - 15) + b"\r\n",
        b"PROXY " + b"x" * 500,
        b"POST / HTTP/1.1\r\n",
        NEXT,
        b"\x16\x03\x01\x02\x00",
        b"\0",
    ],
)
def test_a_line_that_is_none(line: bytes) -> None:
    assert len(error(line)) < 300


def test_the_first_wrong_byte_is_enough() -> None:
    for data in (b"G", b"PR\0", SIGNATURE[:5] + b"x", b"PROXY TCP4 1.2.3.4\n"):
        assert read([data])[0], data
    assert read([b"GET / HTTP/1.1\r\n"])[0] == "no header of the PROXY protocol; it began with b'GET / HTTP/1.1\\r\\n'"


# ---- version 2 ----


@pytest.mark.parametrize(
    ("data", "source", "destination"),
    [
        (v2(), *IPV4),
        (v2(addresses(CLIENT6, SERVER6), family=TCP6), *IPV6),
        (v2(addresses("::ffff:203.0.113.9", SERVER6), family=TCP6), (CLIENT, 50123), IPV6[1]),
        (
            v2(b"/run/client".ljust(108, b"\0") + b"\0abstract".ljust(108, b"\0"), family=UNIX),
            "/run/client",
            "\0abstract",
        ),
        (v2(b"x" * 108 + bytes(108), family=UNIX), "x" * 108, ""),
        (v2(b"", family=UNSPEC), None, None),
        (v2(tlv(NOOP, b"1234"), family=UNSPEC), None, None),
    ],
)
def test_addresses(data: bytes, source: object, destination: object) -> None:
    assert header(data) == ProxyHeader(2, local=False, source=source, destination=destination)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "data",
    [
        v2(b"", command=LOCAL, family=UNSPEC),
        v2(command=LOCAL),
        v2(b"what ever it is", command=LOCAL, family=0xFF),
    ],
)
def test_a_connection_of_the_frontend_itself(data: bytes) -> None:
    assert header(data) == ProxyHeader(2, local=True)


def test_every_tlv() -> None:
    inner = [tlv(0x21, b"TLSv1.3"), tlv(0x22, "Bj\u00f6rk".encode()), tlv(0x23, b"AES"), tlv(0x24, b"SHA256")]
    result = header(
        with_sum(
            None,
            tlv(ALPN, b"h2"),
            tlv(NOOP, bytes(7)),
            tlv(AUTHORITY, b"shop.example"),
            tlv(UNIQUE_ID, bytes(range(128))),
            ssl_tlv(7, 0, *inner, tlv(0x25, b"RSA2048")),
            tlv(0xE0, b"own"),
            after=tlv(NETNS, b"blue"),
        )
    )
    assert (result.source, result.destination) == IPV4
    assert (result.alpn, result.authority, result.netns) == (b"h2", "shop.example", "blue")
    assert result.unique_id == bytes(range(128))
    assert result.tlv(0xE0) == b"own"
    assert result.tlv(0xE1) is None
    assert [kind for kind, _ in result.tlvs] == [ALPN, AUTHORITY, UNIQUE_ID, SSL, 0xE0, NETNS]
    assert result.ssl is not None
    assert (result.ssl.encrypted, result.ssl.verified) == (True, True)
    assert (result.ssl.version, result.ssl.common_name, result.ssl.cipher) == ("TLSv1.3", "Bj\u00f6rk", "AES")
    assert (result.ssl.signature_algorithm, result.ssl.key_algorithm) == ("SHA256", "RSA2048")


def test_what_a_header_does_not_say_is_empty() -> None:
    result = header(v2())
    assert (result.alpn, result.authority, result.unique_id, result.netns, result.ssl) == (b"", "", b"", "", None)
    assert header(v2(None, tlv(AUTHORITY, b"a\xff"))).authority == "a\\xff"


@pytest.mark.parametrize(
    ("client", "verify", "encrypted", "verified"),
    [(0, 1, False, False), (1, 0, True, False), (3, 0, True, True), (5, 0, True, True), (3, 1, True, False)],
)
def test_what_is_known_of_the_clients_tls(client: int, verify: int, encrypted: bool, verified: bool) -> None:
    ssl = header(v2(None, ssl_tlv(client, verify))).ssl
    assert ssl == ProxySSL(client, verify, ())
    assert (ssl.encrypted, ssl.verified) == (encrypted, verified)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (SIGNATURE + b"\x11\x11\0\0", "version"),
        (SIGNATURE + b"\x31\x11\0\0", "version"),
        (v2(command=0x22), "command"),
        (v2(family=0x12), "family"),
        (v2(family=0x01), "family"),
        (v2(family=0x41), "family"),
        (v2(b"12345678901"), "11 bytes for addresses that take 12"),
        (v2(addresses(), family=TCP6), "take 36"),
        (v2(addresses(), family=UNIX), "take 216"),
        (v2(None, b"\1"), "longer"),
        (v2(None, b"\1\0"), "longer"),
        (v2(None, b"\1\0\5abcd"), "longer"),
        (v2(None, tlv(UNIQUE_ID, bytes(129))), "129 bytes"),
        (v2(None, tlv(CRC32C, bytes(4))), "CRC32C of the header is wrong"),
        (v2(None, tlv(CRC32C, bytes(3))), "CRC32C"),
        (with_sum(after=tlv(CRC32C, bytes(4))), "CRC32C"),
        (v2(None, tlv(SSL, b"\1\0\0\0")), "at least 5"),
        (v2(None, ssl_tlv(1, 0, b"\x21\0\2x")), "longer"),
        (v2(None, length=MAX_V2 - 15), f"{MAX_V2 + 1} bytes"),
        (v2(None, length=65535), "65551 bytes"),
        (SIGNATURE[:-1] + b"\r", "no header"),
    ],
)
def test_a_binary_header_that_is_none(data: bytes, message: str) -> None:
    assert message in error(data + NEXT)


def test_one_changed_bit_changes_the_checksum() -> None:
    data = with_sum(None, tlv(ALPN, b"h2"))
    for at in range(16, len(data)):
        changed = bytearray(data)
        changed[at] ^= 1
        result, _ = read([bytes(changed)])
        assert not isinstance(result, ProxyHeader) or at in (28, 29, 30, 31, 32, 33), at  # a TLV that hides the sum
    assert isinstance(read([data])[0], ProxyHeader)


def test_the_longest_header() -> None:
    filler = tlv(NOOP, bytes(MAX_V2 - 16 - 12 - 3))
    result, rest = read([v2(None, filler) + NEXT])
    assert isinstance(result, ProxyHeader)
    assert rest == NEXT


# ---- which versions ----


def test_other_versions_are_refused() -> None:
    assert isinstance(read([V1], "v1")[0], ProxyHeader)
    assert isinstance(read([v2()], "v2")[0], ProxyHeader)
    assert error(V1, "v2") == "the header has version 1, and --proxy-protocol is v2"
    assert error(v2(), "v1") == "the header has version 2, and --proxy-protocol is v1"


# ---- anything ----


@given(st.binary(max_size=300), st.lists(st.integers(0, 300), max_size=5))
def test_any_bytes_after_a_signature(data: bytes, cuts: list[int]) -> None:
    for prefix in (b"", b"PROXY ", SIGNATURE, SIGNATURE + b"\x21\x11"):
        whole = prefix + data
        places = sorted({min(cut, len(whole)) for cut in cuts})
        pieces = [whole[a:b] for a, b in zip([0, *places], [*places, len(whole)], strict=True)]
        at_once, in_pieces = read([whole]), read(pieces)
        assert type(at_once[0]) is type(in_pieces[0])
        if not isinstance(at_once[0], str):
            assert at_once == in_pieces


@given(
    st.ip_addresses(v=4).map(str), st.ip_addresses(v=4).map(str), st.integers(0, 65535), st.integers(0, 65535),
    st.binary(max_size=64),
)  # fmt: skip
def test_both_versions_say_the_same(source: str, destination: str, port: int, other: int, rest: bytes) -> None:
    line = f"PROXY TCP4 {source} {destination} {port} {other}\r\n".encode()
    binary = v2(addresses(source, destination, (port, other)))
    (one, left), (two, right) = read([line + rest]), read([binary + rest])
    assert isinstance(one, ProxyHeader)
    assert isinstance(two, ProxyHeader)
    assert (one.source, one.destination, left) == (two.source, two.destination, right)
    assert (one.source, one.destination, left) == ((source, port), (destination, other), rest)


@given(st.lists(st.tuples(st.integers(0x40, 255), st.binary(max_size=40)), max_size=6))
def test_any_tlvs(tlvs: list[tuple[int, bytes]]) -> None:
    result, _ = read([with_sum(None, *(struct.pack(">BH", kind, len(value)) + value for kind, value in tlvs))])
    assert isinstance(result, ProxyHeader)
    assert result.tlvs == tuple(tlvs)
