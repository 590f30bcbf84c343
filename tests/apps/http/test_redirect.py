"""Plain HTTP that sends everybody to https."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reserve.apps.http.app import HTTPApp
from reserve.apps.http.settings import HTTPSettings
from reserve.gateways.wsgi import WSGIGateway
from reserve.testing import MemoryClient


def application(environ: Any, start_response: Any) -> Any:
    raise AssertionError("a redirect asks no application")


def client(port: int = 443, **settings: Any) -> MemoryClient:
    main = HTTPApp(WSGIGateway(application), HTTPSettings(access_log=False))
    main.configure(settings)
    return MemoryClient(main.redirection(port))


@pytest.mark.parametrize(
    ("line", "host", "port", "location"),
    [
        ("GET /", "a.test", 443, "https://a.test/"),
        ("GET /x/y?z=1&z=%20", "a.test", 443, "https://a.test/x/y?z=1&z=%20"),
        ("GET /x", "a.test:80", 443, "https://a.test/x"),
        ("GET /x", "a.test:8080", 8443, "https://a.test:8443/x"),
        ("GET /x", "a.test:", 8443, "https://a.test:8443/x"),
        ("GET /x", "[2001:db8::1]", 443, "https://[2001:db8::1]/x"),
        ("GET /x", "[2001:db8::1]:80", 8443, "https://[2001:db8::1]:8443/x"),
        ("GET /x", "", 443, "https://127.0.0.1/x"),
        ("GET //b.test/x", "a.test", 443, "https://a.test//b.test/x"),
        ("GET /\\b.test", "a.test", 443, "https://a.test/\\b.test"),
        ("GET /@b.test", "a.test", 443, "https://a.test/@b.test"),
        ("GET /%0d%0aSet-Cookie:x", "a.test", 443, "https://a.test/%0d%0aSet-Cookie:x"),
        ("GET http://b.test/x?y", "a.test", 443, "https://b.test/x?y"),
        ("GET HTTP://b.test:80?y=//c/", "a.test", 8443, "https://b.test:8443/?y=//c/"),
        ("GET http://b.test", "a.test", 443, "https://b.test/"),
        ("OPTIONS *", "a.test", 443, "https://a.test"),
        ("OPTIONS http://b.test", "a.test", 8443, "https://b.test:8443"),
        ("OPTIONS /*", "a.test", 443, "https://a.test/*"),
        ("BREW /pot", "a.test", 443, "https://a.test/pot"),
    ],
)
def test_where_it_leads(line: str, host: str, port: int, location: str) -> None:
    method, _, target = line.partition(" ")
    response = client(port).request(method, target, [("Host", host)])
    # What a client may turn into a GET after a 301 gets a 308, which keeps its method.
    assert (response.status, response.header("Location")) == (301 if method == "GET" else 308, location)
    assert response.header("Cache-Control") == "max-age=3600"
    assert response.body.startswith(b"This site speaks https")


def test_http_1_0_without_a_host() -> None:
    said = client(8443).send(b"GET /x HTTP/1.0\r\n\r\n")
    assert b"\r\nLocation: https://127.0.0.1:8443/x\r\n" in said
    assert b"\r\nConnection: close\r\n" in said


@given(st.text(st.characters(codec="latin-1")), st.text(st.characters(codec="latin-1")))
def test_nothing_gets_into_the_head(target: str, host: str) -> None:
    one = client()
    said = one.send(f"GET /{target} HTTP/1.1\r\nHost: a{host}\r\n\r\n".encode("latin-1"))
    for head in said.split(b"HTTP/1.1 ")[1:]:
        fields = [line.partition(b":")[0] for line in head.partition(b"\r\n\r\n")[0].split(b"\r\n")[1:]]
        known = {b"Location", b"Content-Type", b"Cache-Control", b"Content-Length", b"Date", b"Server", b"Connection"}
        assert set(fields) <= known
        assert len(set(fields)) == len(fields)
    one.close()


def test_the_connection_goes_on() -> None:
    one = client()
    for _ in range(2):
        response = one.request("GET", "/")
        assert (response.status, response.header("Connection"), one.closed) == (301, None, False)
    said = one.send(b"GET /1 HTTP/1.1\r\nHost: a\r\n\r\n" * 3)
    assert said.count(b"HTTP/1.1 301 ") == 3
    one.close()


def test_head_has_no_body() -> None:
    one = client()
    said = one.send(b"HEAD /x HTTP/1.1\r\nHost: a\r\n\r\n")
    assert said.startswith(b"HTTP/1.1 301 ")
    assert said.endswith(b"\r\n\r\n")
    assert b"\r\nContent-Length: 62\r\n" in said
    one.close()


@pytest.mark.parametrize("framing", [("Content-Length", "1000000000"), ("Transfer-Encoding", "chunked")])
def test_a_body_is_not_read(framing: tuple[str, str]) -> None:
    one = client()
    said = one.send(f"POST /x HTTP/1.1\r\nHost: a\r\n{': '.join(framing)}\r\n\r\n".encode())
    assert said.startswith(b"HTTP/1.1 308 ")
    assert b"\r\nConnection: close\r\n" in said
    assert one.closed


def test_what_others_refuse_is_refused_here() -> None:
    for request, status in (
        (b"GET / HTTP/1.1\r\n\r\n", b"400"),
        (b"GET / HTTP/1.1\r\nHost: a b\r\n\r\n", b"400"),
        (b"GET /" + b"a" * 2000 + b" HTTP/1.1\r\nHost: a\r\n\r\n", b"414"),
        (b"GET / HTTP/1.1\r\nHost: a\r\nx_y: z\r\n\r\n", b"400"),
    ):
        one = client(max_request_line=1024, underscores="refuse")
        assert one.send(request).startswith(b"HTTP/1.1 " + status)
        assert one.closed


def test_a_root_path_and_a_health_path_change_nothing() -> None:
    response = client(root_path="/shop", health_path="/health").request("GET", "/health")
    assert (response.status, response.header("Location")) == (301, "https://testserver/health")
