"""Which peers are trusted frontends."""

from __future__ import annotations

import re

import pytest

from reserve.sockets.proxies import TrustedProxies, are_proxies


@pytest.mark.parametrize(
    ("text", "host", "expected"),
    [
        ("", "127.0.0.1", False),
        ("127.0.0.1", "127.0.0.1", True),
        ("127.0.0.1", "127.0.0.2", False),
        ("10.0.0.0/8, 2001:db8::/32", "10.255.0.1", True),
        ("10.0.0.0/8, 2001:db8::/32", "11.0.0.1", False),
        ("10.0.0.0/8, 2001:db8::/32", "2001:db8::1", True),
        ("10.0.0.0/8, 2001:db8::/32", "2001:db9::1", False),
        ("10.0.0.0/8", "::ffff:10.0.0.1", True),
        ("10.0.0.0/8", "::ffff:11.0.0.1", False),
        ("::/0", "10.0.0.1", False),
        ("0.0.0.0/0", "::1", False),
        ("unix", "", False),
        ("unix", "unix", False),
        ("0.0.0.0/0", "unknown", False),
        ("0.0.0.0/0", "10.0.0.1:80", False),
    ],
)
def test_addresses(text: str, host: str, expected: bool) -> None:
    assert TrustedProxies(text).trusts(host) is expected


def test_peers() -> None:
    proxies = TrustedProxies("unix,::1,192.0.2.0/24,fe80::/10")
    for raw, expected in [
        (("::1", 5, 0, 0), True),
        (("::ffff:192.0.2.7", 5, 0, 0), True),
        (("192.0.3.7", 5), False),
        (("fe80::1%eth0", 5, 0, 2), True),
        ("", True),
        ("/run/a", True),
        (b"\0a", True),
    ]:
        assert proxies.trusts_peer(raw) is expected, raw
    assert not TrustedProxies("::/0,0.0.0.0/0").trusts_peer("")


@pytest.mark.parametrize("text", ["", "unix", "192.0.2.1,unix , ::1", "192.0.2.0/255.255.255.0"])
def test_values_of_the_option(text: str) -> None:
    assert are_proxies(text)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("192.0.2.1/24", "the network of 192.0.2.1/24 is 192.0.2.0/24"),
        ("::1,2001:db8::1/32", "the network of 2001:db8::1/32 is 2001:db8::/32"),
        ("192.0.2.1,", "an item of the list is empty"),
        (",", "an item of the list is empty"),
        ("localhost", "'localhost' is no address and no network"),
        ("*", "'*' is no address and no network"),
        ("fe80::1%eth0", "'fe80::1%eth0' is no address and no network"),
        ("192.0.2.1 unix", "'192.0.2.1 unix' is no address and no network"),
        ("UNIX", "'UNIX' is no address and no network"),
        ("a" * 100, f"'{'a' * 60}' is no address and no network"),
    ],
)
def test_values_that_are_refused_and_why(text: str, why: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(why)}$"):
        are_proxies(text)
