"""``--redirect-http``: plain HTTP that sends every client to https."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reserve.apps.http.app import HTTPApp
from reserve.apps.http.settings import HTTPSettings
from reserve.gateways.wsgi import WSGIGateway
from reserve.testing import MemoryClient


def unused(environ: Any, start_response: Any) -> Any:
    raise AssertionError("a redirect needs no application")


def client_of(port: int = 443, **settings: Any) -> MemoryClient:
    main = HTTPApp(WSGIGateway(unused), HTTPSettings(access_log=False))
    main.configure(settings)
    return MemoryClient(main.redirect_application(port))


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
def test_the_location_is_the_same_resource_under_https(line: str, host: str, port: int, location: str) -> None:
    method, _, target = line.partition(" ")
    response = client_of(port).request(method, target, [("Host", host)])
    # After a 301 a client may turn another method into GET; a 308 keeps the method.
    assert (response.status, response.header("Location")) == (301 if method == "GET" else 308, location)
    assert response.header("Cache-Control") == "max-age=3600"
    assert response.body.startswith(b"This site speaks https")


def test_a_request_without_a_host_is_redirected_to_the_address_of_the_server() -> None:
    raw = client_of(8443).send(b"GET /x HTTP/1.0\r\n\r\n")
    assert b"\r\nLocation: https://127.0.0.1:8443/x\r\n" in raw
    assert b"\r\nConnection: close\r\n" in raw


@given(st.text(st.characters(codec="latin-1")), st.text(st.characters(codec="latin-1")))
def test_a_target_or_host_cannot_add_fields_to_the_response(target: str, host: str) -> None:
    client = client_of()
    raw = client.send(f"GET /{target} HTTP/1.1\r\nHost: a{host}\r\n\r\n".encode("latin-1"))
    for head in raw.split(b"HTTP/1.1 ")[1:]:
        fields = [line.partition(b":")[0] for line in head.partition(b"\r\n\r\n")[0].split(b"\r\n")[1:]]
        known = {b"Location", b"Content-Type", b"Cache-Control", b"Content-Length", b"Date", b"Server", b"Connection"}
        assert set(fields) <= known
        assert len(set(fields)) == len(fields)
    client.close()


def test_the_connection_is_kept() -> None:
    client = client_of()
    for _ in range(2):
        response = client.request("GET", "/")
        assert (response.status, response.header("Connection"), client.closed) == (301, None, False)
    raw = client.send(b"GET /1 HTTP/1.1\r\nHost: a\r\n\r\n" * 3)
    assert raw.count(b"HTTP/1.1 301 ") == 3
    client.close()


def test_the_response_to_head_has_no_body() -> None:
    client = client_of()
    raw = client.send(b"HEAD /x HTTP/1.1\r\nHost: a\r\n\r\n")
    assert raw.startswith(b"HTTP/1.1 301 ")
    assert raw.endswith(b"\r\n\r\n")
    assert b"\r\nContent-Length: 62\r\n" in raw
    client.close()


@pytest.mark.parametrize("framing", [("Content-Length", "1000000000"), ("Transfer-Encoding", "chunked")])
def test_a_body_is_not_read_and_the_connection_closes(framing: tuple[str, str]) -> None:
    client = client_of()
    raw = client.send(f"POST /x HTTP/1.1\r\nHost: a\r\n{': '.join(framing)}\r\n\r\n".encode())
    assert raw.startswith(b"HTTP/1.1 308 ")
    assert b"\r\nConnection: close\r\n" in raw
    assert client.closed


def test_requests_that_break_a_rule_are_refused() -> None:
    for request, status in (
        (b"GET / HTTP/1.1\r\n\r\n", b"400"),
        (b"GET / HTTP/1.1\r\nHost: a b\r\n\r\n", b"400"),
        (b"GET /" + b"a" * 2000 + b" HTTP/1.1\r\nHost: a\r\n\r\n", b"414"),
        (b"GET / HTTP/1.1\r\nHost: a\r\nx_y: z\r\n\r\n", b"400"),
    ):
        client = client_of(max_request_line=1024, underscores="refuse")
        assert client.send(request).startswith(b"HTTP/1.1 " + status)
        assert client.closed


def test_the_root_path_changes_nothing() -> None:
    response = client_of(root_path="/shop").request("GET", "/health")
    assert (response.status, response.header("Location")) == (301, "https://testserver/health")


def test_the_health_path_is_not_redirected() -> None:
    client = client_of(root_path="/shop", health_path="/health")
    for method, body in (("GET", b"ok\n"), ("HEAD", b"")):
        response = client.request(method, "/health")
        assert (response.status, response.header("Location"), response.body) == (200, None, body)
    assert client.request("GET", "/health/x").status == 301
    assert client.request("GET", "/shop/health").status == 301
    assert client.request("DELETE", "/health").status == 308
    client.close()


def test_the_redirects_are_as_unhealthy_as_their_server() -> None:
    client = client_of(health_path="/health")
    client.server.healthy = False
    response = client.request("GET", "/health")
    assert (response.status, response.body) == (503, b"unhealthy\n")
