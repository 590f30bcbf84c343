"""The host and the protocols in a ClientHello: as clients send it, in every piece, and malformed."""

from __future__ import annotations

import contextlib
import ssl
import sys
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from OpenSSL import SSL

from reserve.errors import TLSError
from reserve.ssl.clienthello import _MAX_HELLO, ClientHello, HelloReader, HelloRefused, alert, read_hello


def sent_by_ssl(name: str | None = None, *protocols: str, version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3) -> bytes:
    """The ClientHello of the standard library's client."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.maximum_version = version
    if protocols:
        context.set_alpn_protocols(protocols)
    outgoing = ssl.MemoryBIO()
    tls = context.wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname=name)
    with contextlib.suppress(ssl.SSLWantReadError):
        tls.do_handshake()
    return outgoing.read()


def message(extensions: bytes | None, session: bytes = b"", ciphers: bytes = b"\x13\x01") -> bytes:
    """A ClientHello with these extensions, with its type and length."""
    body = b"\x03\x03" + bytes(32) + bytes([len(session)]) + session
    body += len(ciphers).to_bytes(2, "big") + ciphers + b"\x01\x00"
    if extensions is not None:
        body += len(extensions).to_bytes(2, "big") + extensions
    return b"\x01" + len(body).to_bytes(3, "big") + body


def records(data: bytes, size: int = 16384) -> bytes:
    pieces = [data[at : at + size] for at in range(0, len(data), size)]
    return b"".join(b"\x16\x03\x01" + len(piece).to_bytes(2, "big") + piece for piece in pieces)


def extension(kind: int, content: bytes) -> bytes:
    return kind.to_bytes(2, "big") + len(content).to_bytes(2, "big") + content


def server_name(host: bytes, kind: int = 0) -> bytes:
    entry = bytes([kind]) + len(host).to_bytes(2, "big") + host
    return extension(0, len(entry).to_bytes(2, "big") + entry)


def read(data: bytes) -> ClientHello | None:
    """By a reader; what is read without one is the same, or left to it."""
    assert outcome(read_hello, data) in (None, outcome(HelloReader().feed, data))
    return HelloReader().feed(data)


def outcome(function: Callable[[bytes], ClientHello | None], data: bytes) -> object:
    """What it returns, or the alert and the text of its refusal."""
    try:
        return function(data)
    except HelloRefused as error:
        return error.number, str(error)


def test_a_hello_in_one_record_needs_no_reader() -> None:
    data = sent_by_ssl("a.example", "h2")
    assert read_hello(data) == ClientHello("a.example", (b"h2",))
    assert read_hello(data + b"\x14\x03\x03\0\x01\x01more") == ClientHello("a.example", (b"h2",))
    assert read_hello(data[:-1]) is None
    assert read_hello(records(data[5:], 200)) is None
    with pytest.raises(HelloRefused):
        read_hello(records(message(server_name(b"b\xfccher"))))


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_the_server_name_and_the_protocols_of_a_client(version: ssl.TLSVersion) -> None:
    assert read(sent_by_ssl("a.example", version=version)) == ClientHello("a.example")
    assert read(sent_by_ssl("a.example", "h2", "http/1.1", version=version)) == ClientHello(
        "a.example", (b"h2", b"http/1.1")
    )
    assert read(sent_by_ssl(None, "x", version=version)) == ClientHello(None, (b"x",))
    assert read(sent_by_ssl(version=version)) == ClientHello()


@pytest.mark.parametrize("fragment", [1, 7, 100, 16384])
def test_a_hello_may_come_in_two_pieces_and_byte_by_byte(fragment: int) -> None:
    """Also when the message is spread over many records (RFC 8446 section 5.1)."""
    data = records(sent_by_ssl("a.example", "h2")[5:], fragment)
    for at in range(len(data)):
        reader = HelloReader()
        assert reader.feed(data[:at]) is None, at
        assert reader.feed(data[at:]) == ClientHello("a.example", (b"h2",))
        assert reader.received == data
    reader = HelloReader()
    found = [reader.feed(data[at : at + 1]) for at in range(len(data))]
    assert found == [None] * (len(data) - 1) + [ClientHello("a.example", (b"h2",))]


def test_data_after_the_hello_is_kept() -> None:
    data = sent_by_ssl("a.example")
    reader = HelloReader()
    assert reader.feed(data + b"\x14\x03\x03\0\x01\x01more") == ClientHello("a.example")
    assert reader.received == data + b"\x14\x03\x03\0\x01\x01more"


def test_a_server_name_that_is_not_ascii_is_refused() -> None:
    assert read(records(message(server_name(b"xn--bcher-kva.example")))) == ClientHello("xn--bcher-kva.example")
    with pytest.raises(HelloRefused, match=r"the server name b'b\\xfccher' is not in ASCII") as caught:
        read(records(message(server_name(b"b\xfccher"))))
    assert isinstance(caught.value, TLSError)
    assert alert(caught.value.number) == b"\x15\x03\x03\x00\x02\x02\x2f"  # fatal, illegal_parameter


NOT_READ = [
    b"GET / HTTP/1.1\r\n",
    b"\x80\x2e\x01\x03\x03",  # as SSL 2 began
    b"\x15\x03\x01\x00\x02\x02\x28",
    b"\x16\x03\x01\x41\x01",  # more than a record may have
    b"\x16\x03\x01\0\0",  # less
    b"\x16\x16\x16\x16\x16",
    records(b"\x02\x00\x00\x00"),
    records(b"\x01\x00\x00\x00"),
    records(b"\x01\x00\x00\x01\x03"),
    records(message(None)),
    records(message(b"")),
    records(message(b"\0")),
    records(message(b"\0\0\0\x05abc")),
    records(message(extension(0, b""))),
    records(message(extension(0, b"\0\0"))),
    records(message(extension(0, b"\0\x05\0\0\x09abc"))),
    records(message(server_name(b"a.example", kind=1))),
    records(message(server_name(b""))),
    records(message(extension(16, b"\0\x03\x09ab"))),
    records(message(extension(16, b""))),
    records(message(extension(16, b"\0\x03\x01a\0"))),
]


@pytest.mark.parametrize("data", NOT_READ)
def test_a_hello_without_values_or_malformed_is_passed_on_to_openssl(data: bytes) -> None:
    assert read(data) == ClientHello()


@given(st.binary(max_size=300), st.integers(0, 3))
def test_random_bytes_raise_nothing_else(data: bytes, how: int) -> None:
    data = (data, records(data or b"\0"), records(message(data)), records(message(extension(0, data))))[how]
    with contextlib.suppress(HelloRefused):
        found = read(data)
        assert found is None or found.server_name is None or found.server_name.isascii()


def test_an_endless_hello_is_refused() -> None:
    """In the smallest records that are possible."""
    data = records(message(bytes(30000)), 1)
    assert len(data) > _MAX_HELLO
    reader = HelloReader()
    for at in range(_MAX_HELLO):
        assert reader.feed(data[at : at + 1]) is None
    with pytest.raises(HelloRefused, match=f"more than {_MAX_HELLO} bytes"):
        reader.feed(data[_MAX_HELLO : _MAX_HELLO + 1])


def test_a_hello_whose_length_is_too_large_is_refused_at_once() -> None:
    with pytest.raises(HelloRefused, match=f"more than {_MAX_HELLO} bytes"):
        read(records(b"\x01\xff\xff\xff"))


def test_the_largest_hello_is_read() -> None:
    padding = extension(21, bytes(_MAX_HELLO - 200))
    assert read(records(message(padding + server_name(b"a.example")))) == ClientHello("a.example")


def test_the_reader_and_openssl_agree_on_a_client_of_another_library() -> None:
    connection = SSL.Connection(SSL.Context(SSL.TLS_CLIENT_METHOD))
    connection.set_tlsext_host_name(b"a.example")
    connection.set_connect_state()
    with contextlib.suppress(SSL.WantReadError):
        connection.do_handshake()
    assert read(connection.bio_read(65536)) == ClientHello("a.example")


def test_an_unfinished_message_is_kept_once() -> None:
    reader = HelloReader()
    data = records(message(bytes(30000)), 100)[:-1]
    for start in range(0, len(data), 1000):
        assert reader.feed(data[start : start + 1000]) is None
    kept = sum(sys.getsizeof(getattr(reader, name)) for name in HelloReader.__slots__)
    assert len(data) <= kept <= 1.2 * len(data)
