"""HTTP over TLS in an embedding program."""

from __future__ import annotations

import http.client
import ssl
from pathlib import Path
from typing import Any

import pytest

import reserve
from reserve.errors import StartupError, UsageError
from reserve.testing import running
from tests import tls
from tests.waiting import PATIENCE


def respond_scheme(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [f"{environ['wsgi.url_scheme']} {environ.get('HTTPS')} {environ['PATH_INFO']}".encode()]


def get(port: int, path: str, context: ssl.SSLContext | None) -> tuple[int, str | None, bytes]:
    """Status, Location and body.

    :param context: None: without TLS.
    """
    if context is None:
        client = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
    else:
        client = http.client.HTTPSConnection("127.0.0.1", port, timeout=PATIENCE, context=context)
    try:
        client.request("GET", path)
        response = client.getresponse()
        return response.status, response.headers["Location"], response.read()
    finally:
        client.close()


def test_listeners_with_tls_without_it_and_for_redirects() -> None:
    adapter = tls.adapter()
    binds, plain, redirect = (reserve.listen("127.0.0.1:0") for _ in range(3))
    with reserve.ReserveWSGIServer(
        [*plain, *binds], respond_scheme, threads=1, ssl_adapter=adapter, without_tls=plain, redirect=redirect
    ) as server:
        ports = [address[1] for address in server.addresses]
        assert get(ports[1], "/x", tls.client_context()) == (200, None, b"https on /x")
        assert get(ports[0], "/x", None) == (200, None, b"http None /x")
        status, location, _ = get(ports[2], "/x?y", None)
        assert (status, location) == (301, f"https://127.0.0.1:{ports[1]}/x?y")
        status, _, body = get(ports[1], "/x", None)
        assert (status, body) == (400, b"This port speaks TLS: the address begins with https://.\n")


def test_redirects_without_a_tcp_port_of_tls_lead_to_port_443(tmp_path: Path) -> None:
    sockets = reserve.listen(f"unix:{tmp_path / 's'}") if len(str(tmp_path)) < 90 else pytest.skip("too long a path")
    with reserve.ReserveWSGIServer(
        sockets, respond_scheme, threads=1, ssl_adapter=tls.adapter(), redirect=reserve.listen("127.0.0.1:0")
    ) as server:
        assert get(server.addresses[1][1], "/x", None)[:2] == (301, "https://127.0.0.1/x")


def test_redirects_lead_to_redirect_port() -> None:
    """The port that clients see may be another one than the server's, because of a port mapping."""
    adapter = tls.adapter()
    for port, expected in ((443, "https://127.0.0.1/x"), (8443, "https://127.0.0.1:8443/x")):
        sockets, redirect = reserve.listen("127.0.0.1:0"), reserve.listen("127.0.0.1:0")
        with reserve.ReserveWSGIServer(
            sockets, respond_scheme, threads=1, ssl_adapter=adapter, redirect=redirect, redirect_port=port
        ) as server:
            assert get(server.addresses[1][1], "/x", None)[:2] == (301, expected)


def test_redirect_port_must_be_a_port_and_needs_listeners_of_redirects() -> None:
    with pytest.raises(UsageError, match=r"redirect_port \(--redirect-port\) is a port from 1 to 65535, not 0"):
        reserve.ReserveWSGIServer([], respond_scheme, redirect_port=0)
    with pytest.raises(UsageError, match="there are none: redirect="):
        reserve.ReserveWSGIServer([], respond_scheme, redirect_port=443)


def test_running_serves_with_and_without_tls() -> None:
    adapter = tls.adapter()
    with running(respond_scheme, ssl_adapter=adapter, threads=1) as served:
        host, port = served.address
        assert served.url == f"https://{host}:{port}"
        assert get(port, "/", tls.client_context()) == (200, None, b"https on /")
        assert served.server.stats().tls_handshakes == 1
    with running(respond_scheme, ssl_adapter=adapter, without_tls=True, threads=1) as served:
        assert served.url.startswith("http://")
        assert get(served.address[1], "/", None) == (200, None, b"http None /")


def test_an_adapter_that_is_none_or_cannot_be_used_is_an_error() -> None:
    server = reserve.ReserveWSGIServer(reserve.listen("127.0.0.1:0"), respond_scheme, threads=1)
    with pytest.raises(UsageError, match="is no TLS adapter"):
        server.ssl_adapter = object()
    server.ssl_adapter = reserve.ssl.BuiltinSSLAdapter(tls.issued().cert, tls.issued().cert)
    with pytest.raises(StartupError, match="holds no private key in PEM"):
        server.start()
