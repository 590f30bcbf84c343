"""Values of the Host field: what is accepted and refused, and the bounded cache of accepted values."""

from __future__ import annotations

import pytest

from reserve.protocol.http1 import host
from tests.protocol.http1.delivery import head_of


@pytest.mark.parametrize(
    "value",
    ["a", "a.test:8080", "a.test:", "A_b-c~", "127.0.0.1:1", "[::1]", "[::1]:80", "[::ffff:1.2.3.4]", "a%20b", "",
     "a:65535", "a:0", "a:000080", "a:00000000000000065535", "[v1.fe80::a+en1]", "[V1F.x]:80", "[v9.:a!$&'()*+,;=~]:",
     "[::1]:", "[1:2:3:4:5:6:7::]", "a..b", ".", "-", "a,b", "%00"],
)  # fmt: skip
def test_a_valid_host_is_accepted(value: str) -> None:
    assert head_of("GET / HTTP/1.1", f"Host: {value}")["environ"]["HTTP_HOST"] == value


@pytest.mark.parametrize(
    "value",
    [
        "a b", "a/b", "a?b", "a#b", "a\\b", "u@a", "a:8x", "a:65536", "a:0065536", "a:" + "9" * 5000, "a:-1", "[::1",
        "::1", "[]",
        "[g::1]", "[1:2]",
        "[v1]", "[v1.]", "[v.a]", "[vg.a]", "[1.a]", "[v1.a%41]", "[v1.[]", "v1.a]",
        "[::1]x", "[fe80::1%25e]", "a%2", "a\xff", ":80", "a\tb", "a:80:80", "a:\xb2", '"a"',
    ],
)  # fmt: skip
def test_an_invalid_host_is_refused(value: str) -> None:
    assert head_of("GET / HTTP/1.1", f"Host: {value}") == {"status": 400}
    assert head_of("GET / HTTP/1.0", f"Host: {value}") == {"status": 400}


def test_the_cache_of_hosts_is_bounded() -> None:
    for number in range(host.MOST_CACHED * 2):
        host.check_host(f"h{number}.test")
    assert len(host.CACHED_HOSTS) <= host.MOST_CACHED
