"""Values of the Host field: what is accepted and refused, and the bounded cache of accepted values."""

from __future__ import annotations

import pytest

from reserve.errors import RemoteError
from reserve.protocol.http1 import host
from reserve.protocol.http1.head import parse_head
from reserve.protocol.http1.limits import Limits
from tests.protocol.http1.delivery import head_of

BASE = {"SCRIPT_NAME": ""}
LIMITS = Limits()


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


PATHS = [
    "/run/a.sock", "/", "%2Frun%2Fa.sock", "%2frun/a%20b.sock", "unix:/run/a.sock", "unix:///run/a.sock",
    "unix:%2Frun%2Fa.sock", "/run/a@b:80", "%2Frun%2Fa.sock:80",
]  # fmt: skip


@pytest.mark.parametrize("value", PATHS)
@pytest.mark.parametrize("minor", [0, 1])
def test_the_path_of_a_socket_is_a_host_on_unix_sockets_only(value: str, minor: int) -> None:
    block = f"GET /x HTTP/1.{minor}\r\nHost: {value}\r\n\r\n".encode()
    legal = value.startswith("%2F") and "/" not in value
    for _ in range(2):  # whatever the cache of hosts keeps of the one kind of socket does not count for the other
        head = parse_head(block, BASE, LIMITS, unix_socket=True)
        assert (head.environ["HTTP_HOST"], head.environ["PATH_INFO"]) == ("localhost", "/x")
        if legal:
            assert parse_head(block, BASE, LIMITS).environ["HTTP_HOST"] == value
        else:
            with pytest.raises(RemoteError, match="is not host"):
                parse_head(block, BASE, LIMITS)


@pytest.mark.parametrize(
    "value", ["run/a.sock", "/a b", "/a\xff", '/"', "a.test/x", "unix", "unix:a", "u@/a", "/a%2", "[/a]"]
)
def test_a_host_that_is_no_absolute_path_is_treated_as_on_a_port(value: str) -> None:
    block = f"GET / HTTP/1.1\r\nHost: {value}\r\n\r\n".encode("latin-1")
    if value == "unix":
        assert parse_head(block, BASE, LIMITS, unix_socket=True).environ["HTTP_HOST"] == value
        return
    with pytest.raises(RemoteError, match="is not host"):
        parse_head(block, BASE, LIMITS, unix_socket=True)


def test_the_path_of_a_socket_in_the_target_is_a_host_on_unix_sockets_only() -> None:
    block = b"GET http://%2Frun%2Fa.sock/x HTTP/1.1\r\nHost: a.test\r\n\r\n"
    assert parse_head(block, BASE, LIMITS, unix_socket=True).environ["HTTP_HOST"] == "localhost"
    assert parse_head(block, BASE, LIMITS).environ["HTTP_HOST"] == "%2Frun%2Fa.sock"


def test_the_cache_of_hosts_is_bounded() -> None:
    for number in range(host.MOST_CACHED * 2):
        host.check_host(f"h{number}.test")
    assert len(host.CACHED_HOSTS) <= host.MOST_CACHED
