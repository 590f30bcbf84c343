"""The text of addresses: every form is parsed, and every other text is refused with the right one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reserve.errors import UsageError
from reserve.sockets.addresses import Address, FDAddress, TCPAddress, UNIXAddress, parse_address


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("127.0.0.1:8080", TCPAddress("127.0.0.1", 8080)),
        ("localhost:0", TCPAddress("localhost", 0)),
        ("my-host.example:65535", TCPAddress("my-host.example", 65535)),
        ("1host.example2:80", TCPAddress("1host.example2", 80)),
        ("bücher.example:80", TCPAddress("bücher.example", 80)),
        (":80", TCPAddress("", 80)),
        ("[::]:80", TCPAddress("::", 80)),
        ("[::1]:080", TCPAddress("::1", 80)),
        ("[fe80::1%eth0]:80", TCPAddress("fe80::1%eth0", 80)),
        ("[::ffff:1.2.3.4]:80", TCPAddress("::ffff:1.2.3.4", 80)),
        ("unix:/run/x.sock", UNIXAddress("/run/x.sock")),
        ("unix:x.sock", UNIXAddress("x.sock")),
        ("unix:/odd:name", UNIXAddress("/odd:name")),
        ("unix:@name", UNIXAddress("name", abstract=True)),
        ("unix:@a/b", UNIXAddress("a/b", abstract=True)),
        ("fd:3", FDAddress(3)),
        ("fd:0", FDAddress(0)),
    ],
)
def test_every_form_is_parsed(text: str, expected: Address) -> None:
    assert parse_address(text) == expected


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("", "it is empty"),
        ("localhost", "write localhost:8080"),
        ("8080", "write localhost:8080 for this machine alone, :8080 for all interfaces"),
        ("80000", "the port 80000 is not a number from 0 to 65535"),
        ("localhost:", "port after the last : is missing"),
        (":", "port after the last : is missing"),
        ("localhost:http", "'http' is not a number from 0 to 65535"),
        ("localhost:65536", "'65536' is not a number from 0 to 65535"),
        ("localhost:-1", "'-1' is not a number"),
        ("localhost:+1", "'+1' is not a number"),
        ("localhost:8_0", "'8_0' is not a number"),
        ("localhost:٣", "is not a number"),
        ("localhost: 80", "' 80' is not a number"),
        ("localhost:99999999999999999999999", "is not a number"),
        ("::1:80", "write [::1]:80."),
        ("2001:db8::1:8443", "write [2001:db8::1]:8443."),
        ("fe80::1:abcd", "write [fe80::1:abcd]:8080."),
        ("1:2:3:4:5:6:7:8", "write [1:2:3:4:5:6:7:8]:8080."),
        ("::1", "write [::1]:8080"),
        ("::", "write [::]:8080"),
        ("a:b:80", "an IPv6 address needs brackets"),
        ("[::1", "closing ] is missing"),
        ("[::1]", "write [::1]:8080"),
        ("[::1]80", "the port is missing"),
        ("[::1]:", "port after the last : is missing"),
        ("[127.0.0.1]:80", "brackets are for IPv6 only"),
        ("[]:80", "'' is not an IPv6 address"),
        ("*:80", "for all interfaces write :80"),
        ("a b:80", "'a b' is not a host name"),
        ("user@host:80", "is not a host name"),
        ("127.0.0:80", "is not an IPv4 address"),
        ("127.0.0.256:80", "is not an IPv4 address"),
        ("1234:80", "is not an IPv4 address"),
        ("0x7f000001:80", "is not an IPv4 address"),
        ("http://localhost:80", "that is a URL"),
        ("/run/x.sock", "write unix:/run/x.sock"),
        ("unix:", "path after unix: is empty"),
        ("unix:@", "abstract name after unix:@ is empty"),
        ("unix:/run/", "is a directory"),
        ("unix:a\0b", "NUL"),
        ("fd:", "number of an open descriptor"),
        ("fd:-1", "number of an open descriptor"),
        ("fd:three", "number of an open descriptor"),
        ("fd:9999999999", "number of an open descriptor"),
    ],
)
def test_any_other_text_is_refused_with_a_hint(text: str, hint: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_address(text)
    assert hint in str(caught.value)
    assert "An address is HOST:PORT, [IPV6]:PORT, :PORT, unix:PATH, unix:@NAME or fd:N." in str(caught.value)


def test_a_long_text_is_not_quoted_whole() -> None:
    with pytest.raises(UsageError) as caught:
        parse_address("x" * 100_000 + ":http")
    assert len(str(caught.value)) < 400


@given(st.text())
def test_any_text_gives_an_address_or_a_usage_error(text: str) -> None:
    try:
        address = parse_address(text)
    except UsageError:
        return
    assert parse_address(str(address)) == address
