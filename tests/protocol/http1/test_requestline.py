"""Request lines: methods, targets, versions, and the lines that are refused."""

from __future__ import annotations

import pytest

from tests.protocol.http1.delivery import head_of


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
def test_a_target_is_split_into_path_and_query(target: str, path: str, query: str) -> None:
    head = head_of(f"GET {target} HTTP/1.1", "Host: a.test")
    assert head["target"] == head["environ"]["REQUEST_URI"] == target
    assert (head["environ"]["PATH_INFO"], head["environ"]["QUERY_STRING"]) == (path, query)


@pytest.mark.parametrize("target", ["*", "http://a.test"])
def test_options_for_the_whole_server(target: str) -> None:
    assert head_of(f"OPTIONS {target} HTTP/1.1", "Host: a.test")["environ"]["PATH_INFO"] == "*"


@pytest.mark.parametrize("line", ["M-SEARCH /x HTTP/1.1", "!#$%&'*+-.^_`|~9 /x HTTP/1.1", "get /x HTTP/1.1"])
def test_any_token_is_a_method(line: str) -> None:
    assert head_of(line, "Host: a")["method"] == line.split(" ")[0]


@pytest.mark.parametrize(("version", "minor"), [("HTTP/1.0", 0), ("HTTP/1.1", 1), ("HTTP/1.2", 1), ("HTTP/1.9", 1)])
def test_a_later_minor_version_is_served_as_1_1(version: str, minor: int) -> None:
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
def test_an_invalid_request_line_is_refused(status: int, line: str) -> None:
    assert head_of(line, "Host: a.test") == {"status": status}
