"""HTTP under TLS in an embedding program."""

from __future__ import annotations

import http.client
import ssl
from pathlib import Path
from typing import Any

import pytest

import reserve
from reserve.errors import StartupError, UsageError
from reserve.testing import running
from tests.authority import Authority


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


def facts(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [f"{environ['wsgi.url_scheme']} {environ.get('HTTPS')} {environ['PATH_INFO']}".encode()]


def get(port: int, path: str, trust: ssl.SSLContext | None) -> tuple[int, str | None, bytes]:
    if trust is None:
        client = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    else:
        client = http.client.HTTPSConnection("127.0.0.1", port, timeout=20, context=trust)
    try:
        client.request("GET", path)
        response = client.getresponse()
        return response.status, response.headers["Location"], response.read()
    finally:
        client.close()


def test_tls_and_plain_and_redirects(authority: Authority) -> None:
    files = authority.issue("a", "127.0.0.1")
    adapter = reserve.ssl.BuiltinSSLAdapter(files.cert, files.key)
    binds, plain, redirect = (reserve.listen("127.0.0.1:0") for _ in range(3))
    with reserve.ReserveWSGIServer(
        [*plain, *binds], facts, threads=1, ssl_adapter=adapter, without_tls=plain, redirect=redirect
    ) as server:
        ports = [address[1] for address in server.addresses]
        assert get(ports[1], "/x", authority.client()) == (200, None, b"https on /x")
        assert get(ports[0], "/x", None) == (200, None, b"http None /x")
        status, location, _ = get(ports[2], "/x?y", None)
        assert (status, location) == (301, f"https://127.0.0.1:{ports[1]}/x?y")
        status, _, body = get(ports[1], "/x", None)
        assert (status, body) == (400, b"This port speaks TLS: the address begins with https://.\n")


def test_redirects_without_a_port_of_tls(authority: Authority, tmp_path: Path) -> None:
    files = authority.issue("b", "127.0.0.1")
    adapter = reserve.ssl.BuiltinSSLAdapter(files.both)
    sockets = reserve.listen(f"unix:{tmp_path / 's'}") if len(str(tmp_path)) < 90 else pytest.skip("too long a path")
    with reserve.ReserveWSGIServer(
        sockets, facts, threads=1, ssl_adapter=adapter, redirect=reserve.listen("127.0.0.1:0")
    ) as server:
        assert get(server.addresses[1][1], "/x", None)[:2] == (301, "https://127.0.0.1/x")


def test_redirects_to_the_port_that_clients_see(authority: Authority) -> None:
    """As behind a port mapping."""
    adapter = reserve.ssl.BuiltinSSLAdapter(authority.issue("e", "127.0.0.1").both)
    for port, expected in ((443, "https://127.0.0.1/x"), (8443, "https://127.0.0.1:8443/x")):
        sockets, redirect = reserve.listen("127.0.0.1:0"), reserve.listen("127.0.0.1:0")
        with reserve.ReserveWSGIServer(
            sockets, facts, threads=1, ssl_adapter=adapter, redirect=redirect, redirect_port=port
        ) as server:
            assert get(server.addresses[1][1], "/x", None)[:2] == (301, expected)


def test_a_port_for_redirects_has_to_be_one_and_to_be_of_use() -> None:
    with pytest.raises(UsageError, match=r"redirect_port \(--redirect-port\) is a port from 1 to 65535, not 0"):
        reserve.ReserveWSGIServer([], facts, redirect_port=0)
    with pytest.raises(UsageError, match="there are none: redirect="):
        reserve.ReserveWSGIServer([], facts, redirect_port=443)


def test_the_server_of_a_test(authority: Authority) -> None:
    files = authority.issue("c", "127.0.0.1")
    adapter = reserve.ssl.BuiltinSSLAdapter(files.cert, files.key)
    with running(facts, ssl_adapter=adapter, threads=1) as served:
        host, port = served.address
        assert served.url == f"https://{host}:{port}"
        assert get(port, "/", authority.client()) == (200, None, b"https on /")
        assert served.server.stats().tls_handshakes == 1
    with running(facts, ssl_adapter=adapter, without_tls=True, threads=1) as served:
        assert served.url.startswith("http://")
        assert get(served.address[1], "/", None) == (200, None, b"http None /")


def test_what_is_no_adapter_and_what_cannot_be_used(authority: Authority) -> None:
    files = authority.issue("d", "127.0.0.1")
    server = reserve.ReserveWSGIServer(reserve.listen("127.0.0.1:0"), facts, threads=1)
    with pytest.raises(UsageError, match="is no TLS adapter"):
        server.ssl_adapter = object()
    server.ssl_adapter = reserve.ssl.BuiltinSSLAdapter(files.cert, files.cert)
    with pytest.raises(StartupError, match="holds no private key in PEM"):
        server.start()
