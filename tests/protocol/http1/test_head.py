"""The environ of a request head, and how repeated and dropped fields are stored; every head in every delivery."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reserve.errors import RemoteError
from reserve.protocol.http1 import head as head_module
from reserve.protocol.http1.fields import SINGLETONS
from reserve.protocol.http1.head import parse_head
from reserve.protocol.http1.limits import Limits
from tests.protocol.http1.delivery import BASE, LIMITS, get, head_of, one_head


def test_the_environ_of_an_ordinary_request() -> None:
    base = dict(BASE)
    head = head_of(
        "POST /a%20b;p/%E9?x=%31&y HTTP/1.1", "Host: a.test:8080", "X-A:\t b c \t", "content-type: text/plain",
        "Content-Length: 005", "X-Empty:",
    )  # fmt: skip
    assert head == {
        "method": "POST",
        "target": "/a%20b;p/%E9?x=%31&y",
        "minor": 1,
        "keep_alive": True,
        "length": 5,
        "remote_addr": "",
        "untrusted_fields": False,
        "from_proxy": False,
        "expect_continue": False,
        "environ": {
            **BASE,
            "REQUEST_METHOD": "POST",
            "REQUEST_URI": "/a%20b;p/%E9?x=%31&y",
            "PATH_INFO": "/a b;p/\xe9",
            "QUERY_STRING": "x=%31&y",
            "SERVER_PROTOCOL": "HTTP/1.1",
            "HTTP_HOST": "a.test:8080",
            "HTTP_X_A": "b c",
            "HTTP_X_EMPTY": "",
            "CONTENT_TYPE": "text/plain",
            "CONTENT_LENGTH": "5",
        },
    }
    assert base == BASE


@pytest.mark.parametrize(
    ("path", "kept"),
    [
        ("/a%2Fb", "/a%2Fb"),
        ("/a%2fb%20c%2F", "/a%2Fb c%2F"),
        ("/%252F", "/%2F"),  # decoded once: applications of cheroot cannot tell it from %2F, either
        ("/%2%2F%zz%2F%e9", "/%2%2F%zz%2F\xe9"),
        ("/%2F/plain", "/%2F/plain"),
        ("/a%20b", "/a b"),
        ("/plain", "/plain"),
    ],
)
def test_an_encoded_slash_is_kept_if_that_is_asked_for(path: str, kept: str) -> None:
    block = f"GET {path} HTTP/1.1\r\nHost: a\r\n\r\n".encode()
    environ = parse_head(block, BASE, LIMITS, keep_slashes=True).environ
    assert (environ["PATH_INFO"], environ["REQUEST_URI"]) == (kept, path)
    if "%252" not in path:
        assert parse_head(block, BASE, LIMITS).environ["PATH_INFO"] == kept.replace("%2F", "/")


def test_the_authority_of_the_target_overrides_host() -> None:
    assert head_of("GET http://other.test:1/ HTTP/1.1", "Host: a.test")["environ"]["HTTP_HOST"] == "other.test:1"


def test_http_1_1_needs_one_host_field() -> None:
    assert head_of("GET / HTTP/1.1", "X: y") == {"status": 400}
    assert head_of("GET http://a.test/ HTTP/1.1", "X: y") == {"status": 400}
    assert "HTTP_HOST" not in head_of("GET / HTTP/1.0", "X: y")["environ"]
    assert head_of("GET / HTTP/1.0", "Host: a", "Host: a") == {"status": 400}


def test_repeated_fields_are_joined() -> None:
    environ = get("X-A: 1", "Cookie: a=1", "x-a: 2", "cookie: b=2", "X-A:")["environ"]
    assert (environ["HTTP_X_A"], environ["HTTP_COOKIE"]) == ("1, 2, ", "a=1; b=2")


@pytest.mark.parametrize("key", sorted(SINGLETONS))
def test_a_repeated_singleton_is_refused(key: str) -> None:
    name = key.removeprefix("HTTP_").replace("_", "-")
    assert get(f"{name}: 1", f"{name.lower()}: 1") == {"status": 400}


def test_names_with_underscores_and_proxy_never_reach_the_environ() -> None:
    for dropped in (["X_Real_IP: evil"], ["X_Real_IP: evil", "_: x", "Proxy: http://evil"], ["proxy: x"]):
        for lines in ([*dropped, "X-Real-IP: good"], ["X-Real-IP: good", *dropped]):
            environ = get(*lines, "Content_Length: 5", "Transfer_Encoding: chunked")["environ"]
            assert set(environ) - set(get()["environ"]) == {"HTTP_X_REAL_IP"}
            assert environ["HTTP_X_REAL_IP"] == "good"


@pytest.mark.parametrize("dropped", ["X_A: b", "Proxy: x", "Content_Length: 5"])
def test_a_single_dropped_field_does_not_change_the_environ(dropped: str) -> None:
    assert get(dropped)["environ"] == get()["environ"]


def test_the_number_of_fields_is_limited_in_a_short_head_as_well() -> None:
    data = b"GET / HTTP/1.1\r\nHost: a\r\n" + b"a: b\r\n" * 9 + b"\r\n"
    assert "status" not in one_head(data, Limits(max_fields=10))
    assert one_head(data, Limits(max_fields=9)) == {"status": 431}


@given(st.binary(max_size=80))
def test_the_parser_raises_no_error_but_remote_error(data: bytes) -> None:
    for block in (data, data + b"\r\n\r\n", b"GET / HTTP/1.1\r\nHost: a\r\n" + data + b"\r\n\r\n"):
        with contextlib.suppress(RemoteError):
            assert parse_head(block, BASE, LIMITS).method


def test_the_cache_of_request_lines_is_bounded_and_has_no_queries() -> None:
    for number in range(head_module.MOST_CACHED * 2):
        assert head_of(f"GET /{number} HTTP/1.1", "Host: a")["environ"]["PATH_INFO"] == f"/{number}"
    assert 0 < len(head_module.CACHED_LINES) <= head_module.MOST_CACHED
    long, asked = "/" + "x" * head_module.LONGEST_CACHED, "/?secret=1"
    for target in (long, asked):
        for _ in range(2):
            assert head_of(f"GET {target} HTTP/1.1", "Host: a")["target"] == target
    assert not [line for line in head_module.CACHED_LINES if long in line or "?" in line]


@pytest.mark.parametrize("control", ["\r", "\n", "\n\r", "\0", "\x7f", "\x1f"])
@pytest.mark.parametrize("place", ["X: a{}b", "X{}: a", "{}X: a", "X: a{}", "X:{}a"])
def test_a_control_character_in_a_field_line_is_refused(place: str, control: str) -> None:
    block = f"GET / HTTP/1.1\r\nHost: a\r\n{place.format(control)}\r\n\r\n".encode("latin-1")
    with pytest.raises(RemoteError) as caught:
        parse_head(block, {}, Limits())
    assert caught.value.status == 400
