"""What a request head means, and what is refused; every case in every delivery."""

from __future__ import annotations

import pytest

from reserve.protocol.http1 import fields, host
from reserve.protocol.http1.limits import Limits
from tests.protocol.http1.delivery import BASE, get, head_of, one_head


def test_the_whole_environ_of_an_ordinary_request() -> None:
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
    ("target", "path", "query"),
    [
        ("/", "/", ""),
        ("/a?", "/a", ""),
        ("/a?b?c=/d", "/a", "b?c=/d"),
        ("//a//b", "//a//b", ""),
        ("//u@evil.test:80/a", "//u@evil.test:80/a", ""),
        ("/http://x.test/y", "/http://x.test/y", ""),
        ("/*", "/*", ""),
        ("/%2541", "/%41", ""),
        ("/%zz/%4", "/%zz/%4", ""),
        ("/a%", "/a%", ""),
        ("/%C3%A9", "/\xc3\xa9", ""),
        ("/a%0d%0a%00", "/a\r\n\0", ""),
        ("/a%3Fb%23", "/a?b#", ""),
        ("http://other.test/p?q", "/p", "q"),
        ("HTTPS://OTHER.test:1/p", "/p", ""),
        ("http://other.test", "/", ""),
        ("http://other.test?q=/", "/", "q=/"),
    ],
)
def test_targets(target: str, path: str, query: str) -> None:
    head = head_of(f"GET {target} HTTP/1.1", "Host: a.test")
    assert head["target"] == head["environ"]["REQUEST_URI"] == target
    assert (head["environ"]["PATH_INFO"], head["environ"]["QUERY_STRING"]) == (path, query)


def test_the_authority_of_the_target_wins_over_host() -> None:
    assert head_of("GET http://other.test:1/ HTTP/1.1", "Host: a.test")["environ"]["HTTP_HOST"] == "other.test:1"


@pytest.mark.parametrize("target", ["*", "http://a.test"])
def test_options_for_the_whole_server(target: str) -> None:
    assert head_of(f"OPTIONS {target} HTTP/1.1", "Host: a.test")["environ"]["PATH_INFO"] == "*"


@pytest.mark.parametrize("line", ["M-SEARCH /x HTTP/1.1", "!#$%&'*+-.^_`|~9 /x HTTP/1.1", "get /x HTTP/1.1"])
def test_any_token_is_a_method(line: str) -> None:
    assert head_of(line, "Host: a")["method"] == line.split(" ")[0]


@pytest.mark.parametrize(("version", "minor"), [("HTTP/1.0", 0), ("HTTP/1.1", 1), ("HTTP/1.2", 1), ("HTTP/1.9", 1)])
def test_versions(version: str, minor: int) -> None:
    head = head_of(f"GET / {version}", "Host: a")
    assert (head["minor"], head["environ"]["SERVER_PROTOCOL"]) == (minor, f"HTTP/1.{minor}")


@pytest.mark.parametrize(
    ("status", "line"),
    [
        (400, "GET  /x HTTP/1.1"), (400, "GET /x HTTP/1.1 "), (400, "GET\t/x\tHTTP/1.1"), (400, " /x HTTP/1.1"),
        (400, "GET /x"), (400, "HELO"), (400, "GET /x\rHTTP/1.1"), (400, "GET /x HTTP/1.1\r"),
        (400, "GET /\nx HTTP/2.0"),
        (505, "GET /x HTTP/2.0"), (505, "PRI * HTTP/2.0"), (505, "GET /x HTTP/0.9"), (400, "GET /x HTTP/1.10"),
        (400, "GET /x HTTP/01.1"), (400, "GET /x HTTP/1"), (400, "GET /x HTTP/1."), (400, "GET /x HTTP/1.1x"),
        (400, "GET /x http/1.1"), (400, "GET /x ICE/1.1"), (400, "GET /x HTTP/1.1\0"), (400, "GET /x HTTP/\xb2.0"),
        (400, '"GET" /x HTTP/1.1'), (400, "GET\0 /x HTTP/1.1"), (400, "G\xc9T /x HTTP/1.1"),
        (400, "GE\x7fT / HTTP/1.1"),
        (400, "GET /a\0b HTTP/1.1"), (400, "GET /a\tb HTTP/1.1"), (400, "GET /a\x7f HTTP/1.1"),
        (400, "GET /\xe9 HTTP/1.1"),
        (400, "GET /a?\xe9 HTTP/1.1"), (400, "GET /a#b HTTP/1.1"), (400, "GET a/b HTTP/1.1"), (400, "GET ?a HTTP/1.1"),
        (400, "GET * HTTP/1.1"), (400, "GET a.test:80 HTTP/1.1"), (501, "CONNECT a.test:80 HTTP/1.1"),
        (501, "CONNECT / HTTP/1.1"), (400, "GET http:///p HTTP/1.1"), (400, "GET http://u:p@a.test/ HTTP/1.1"),
        (400, "GET ftp://a.test/ HTTP/1.1"), (400, "GET http://a.test:99999/ HTTP/1.1"),
        (400, "\x16\x03\x01 / HTTP/1.1"),
    ],
)  # fmt: skip
def test_refused_request_lines(status: int, line: str) -> None:
    assert head_of(line, "Host: a.test") == {"status": status}


@pytest.mark.parametrize(
    "line",
    [
        "X-A : b", "X-A\t: b", ": b", "X A: b", "X-A b", "X\x01A: b", "X\x7fA: b", "X/A: b", "X@A: b", "X\xe9: b",
        "X-A: b\0c", "X-A: b\rX-B: c", "X-A: b\x1b", "X-A: b\x7f", "X-A: \x0bv", "X-A: b\r\n c", "X-A: b\r\n\tc",
        "X-A: b\r\n \r\nX-B: c", "X-A: b\r", "X-A:\n\nGET / HTTP/1.1", "X-A: b\nX-B: c", "Host", "\0X: y", "X:\r\r",
        "Content-Type: a/b\r\nContent-Type: a/b", "Host: a.test", "Authorization: a\r\nauthorization: b",
    ],
)  # fmt: skip
def test_refused_fields(line: str) -> None:
    assert get(line) == {"status": 400}
    assert head_of("GET / HTTP/1.1", *line.split("\r\n"), "Host: a.test") == {"status": 400}


def test_a_first_field_that_starts_with_a_blank_is_refused() -> None:
    assert head_of("GET / HTTP/1.1", " X: y", "Host: a") == {"status": 400}


def test_octets_that_a_value_may_have() -> None:
    assert get("X-A: \x80\xa0\xff\t~ ")["environ"]["HTTP_X_A"] == "\x80\xa0\xff\t~"
    assert get("A!#$%&'*+-.^`|~9: b")["environ"]["HTTP_A!#$%&'*+_.^`|~9"] == "b"


def test_repeated_fields_are_joined() -> None:
    environ = get("X-A: 1", "Cookie: a=1", "x-a: 2", "cookie: b=2", "X-A:")["environ"]
    assert (environ["HTTP_X_A"], environ["HTTP_COOKIE"]) == ("1, 2, ", "a=1; b=2")


def test_names_with_underscores_and_proxy_never_arrive() -> None:
    for dropped in (["X_Real_IP: evil"], ["X_Real_IP: evil", "_: x", "Proxy: http://evil"], ["proxy: x"]):
        for fields_ in ([*dropped, "X-Real-IP: good"], ["X-Real-IP: good", *dropped]):
            environ = get(*fields_, "Content_Length: 5", "Transfer_Encoding: chunked")["environ"]
            assert set(environ) - set(get()["environ"]) == {"HTTP_X_REAL_IP"}
            assert environ["HTTP_X_REAL_IP"] == "good"


@pytest.mark.parametrize(
    "value",
    ["a", "a.test:8080", "a.test:", "A_b-c~", "127.0.0.1:1", "[::1]", "[::1]:80", "[::ffff:1.2.3.4]", "a%20b", "",
     "a:65535", "a:0", "a:000080", "a:00000000000000065535", "[v1.fe80::a+en1]", "[V1F.x]:80", "[v9.:a!$&'()*+,;=~]:",
     "[::1]:", "[1:2:3:4:5:6:7::]", "a..b", ".", "-", "a,b", "%00"],
)  # fmt: skip
def test_hosts(value: str) -> None:
    assert head_of("GET / HTTP/1.1", f"Host: {value}")["environ"]["HTTP_HOST"] == value


@pytest.mark.parametrize(
    "value",
    [
        "a b", "a/b", "a?b", "a#b", "a\\b", "u@a", "a:8x", "a:65536", "a:0065536", "a:" + "9" * 5000, "a:-1", "[::1",
        "::1", "[]",
        "[g::1]", "[1:2]",
        "[v1]", "[v1.]", "[v.a]", "[vg.a]", "[1.a]", "[v1.a%41]", "[v1.[]", "v1.a]",
        "[::1]x", "[fe80::1%25e]", "a%2", "a\xff", ":80", "a\t", "a:80:80", "a:\xb2", '"a"',
    ],
)  # fmt: skip
def test_refused_hosts(value: str) -> None:
    value = value if value != "a\t" else "a\tb"
    assert head_of("GET / HTTP/1.1", f"Host: {value}") == {"status": 400}
    assert head_of("GET / HTTP/1.0", f"Host: {value}") == {"status": 400}


def test_how_many_hosts() -> None:
    assert head_of("GET / HTTP/1.1", "X: y") == {"status": 400}
    assert head_of("GET http://a.test/ HTTP/1.1", "X: y") == {"status": 400}
    assert "HTTP_HOST" not in head_of("GET / HTTP/1.0", "X: y")["environ"]
    assert head_of("GET / HTTP/1.0", "Host: a", "Host: a") == {"status": 400}


@pytest.mark.parametrize(
    ("minor", "values", "keep"),
    [
        (1, [], True), (1, ["close"], False), (1, ["Close"], False), (1, ["x, CLOSE ,y"], False), (1, ["x",
        "close"], False),
        (1, ["disclose"], True), (1, ["keep-alive"], True), (0, [], False), (0, ["Keep-Alive"], True),
        (0, ["x"], False),
        (0, ["x,\tkeep-alive"], True), (0, ["keep-alive, close"], False),
    ],
)  # fmt: skip
def test_persistence(minor: int, values: list[str], keep: bool) -> None:
    head = head_of(f"GET / HTTP/1.{minor}", "Host: a", *(f"Connection: {value}" for value in values))
    assert head["keep_alive"] is keep


def test_framing() -> None:
    assert get()["length"] == 0
    assert get("Content-Length: \t46 ")["length"] == 46
    assert get("Transfer-Encoding:\tChunKed ")["length"] is None


@pytest.mark.parametrize(
    ("status", "fields_"),
    [
        *((400, [f"Content-Length: {value}"]) for value in (
            "", "-1", "+1", "1_0", "0x1", "1,1", "1 1", "1\xa0", "\xb9", "1.0", "1e1", '"1"', "0" * 20, "9" * 20)),
        (413, ["Content-Length: 1073741825"]),
        (400, ["Content-Length: 1", "Content-Length: 1"]),
        (400, ["Content-Length: 0", "Transfer-Encoding: chunked"]),
        (400, ["Transfer-Encoding:", "Content-Length: 5"]),
        *((400, [f"Transfer-Encoding: {value}"]) for value in (
            "", ",chunked", "chunked,", "chunked, chunked", "chunked, gzip", "chunked;a=b", "chunk ed", "chunked\x85")),
        *((501, [f"Transfer-Encoding: {value}"]) for value in ("gzip", "xchunked", "gzip, chunked", "identity")),
        (400, ["Transfer-Encoding: chunked", "Transfer-Encoding: chunked"]),
        (501, ["Transfer-Encoding: gzip", "Transfer-Encoding: chunked"]),
        (417, ["Expect: 200-ok"]), (417, ["Expect: 100-continue, x"]),
    ],
)  # fmt: skip
def test_refused_framing(status: int, fields_: list[str]) -> None:
    assert get(*fields_) == {"status": status}


def test_http_1_0_has_no_chunks_and_expects_nothing() -> None:
    assert head_of("POST / HTTP/1.0", "Transfer-Encoding: chunked") == {"status": 400}
    assert head_of("POST / HTTP/1.0", "Content-Length: 1", "Expect: 200-ok")["expect_continue"] is False


@pytest.mark.parametrize(
    ("fields_", "expects"),
    [
        (["Content-Length: 5", "Expect: 100-Continue"], True),
        (["Transfer-Encoding: chunked", "Expect: 100-continue"], True),
        (["Content-Length: 0", "Expect: 100-continue"], False),
        (["Expect: 100-continue"], False),
        (["Content-Length: 5", "Expect: 100-continue", "Expect: 100-continue"], True),
        (["Content-Length: 5", "Expect:"], False),
    ],
)
def test_expectations(fields_: list[str], expects: bool) -> None:
    assert get(*fields_)["expect_continue"] is expects


def test_an_invented_name_is_not_remembered_for_ever() -> None:
    for number in range(fields.MOST_CACHED * 2):
        assert get_key(f"X-{number}") == f"HTTP_X_{number}"
    assert len(fields.ENVIRON_KEYS) <= fields.MOST_CACHED
    long = "X" * (fields.LONGEST_CACHED + 1)
    assert get_key(long) == "HTTP_" + long
    assert long not in fields.ENVIRON_KEYS
    assert fields.ENVIRON_KEYS["host"] == "HTTP_HOST"


def get_key(name: str) -> str:
    return fields.ENVIRON_KEYS[name]


def test_an_invented_host_is_not_remembered_for_ever() -> None:
    for number in range(host.MOST_CACHED * 2):
        host.check_host(f"h{number}.test")
    assert len(host.CACHED_HOSTS) <= host.MOST_CACHED


def test_the_number_of_fields_is_limited_in_a_short_head_as_well() -> None:
    data = b"GET / HTTP/1.1\r\nHost: a\r\n" + b"a: b\r\n" * 9 + b"\r\n"
    assert "status" not in one_head(data, Limits(max_fields=10))
    assert one_head(data, Limits(max_fields=9)) == {"status": 431}


@pytest.mark.parametrize("dropped", ["X_A: b", "Proxy: x", "Content_Length: 5"])
def test_one_dropped_field_leaves_no_trace(dropped: str) -> None:
    assert get(dropped)["environ"] == get()["environ"]


@pytest.mark.parametrize("key", sorted(fields.SINGLETONS))
def test_a_field_that_may_come_once(key: str) -> None:
    name = key.removeprefix("HTTP_").replace("_", "-")
    assert get(f"{name}: 1", f"{name.lower()}: 1") == {"status": 400}


def test_the_list_of_fields_that_may_come_once() -> None:
    assert {"CONTENT_LENGTH", "CONTENT_TYPE", "HTTP_HOST", "HTTP_AUTHORIZATION", "HTTP_RANGE"} <= fields.SINGLETONS
