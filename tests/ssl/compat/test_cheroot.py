"""cheroot's own two adapters, from the package itself, on a server of reserve; and what is taken for an adapter."""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import ssl
from collections.abc import Iterable, Iterator
from typing import Any

import pytest
from cheroot.ssl.builtin import BuiltinSSLAdapter
from cheroot.ssl.pyopenssl import pyOpenSSLAdapter
from OpenSSL import SSL

from reserve import ReserveWSGIServer, listen
from reserve import ssl as reserve_ssl
from reserve.errors import StartupError, UsageError
from reserve.ssl.compat.cheroot import as_adapter
from reserve.testing import AdapterSuite
from tests import tls
from tests.authority import Authority, Files
from tests.ssl.links import prepared

# cheroot calls functions that pyOpenSSL has deprecated.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

each_adapter = pytest.mark.parametrize("cheroot", [BuiltinSSLAdapter, pyOpenSSLAdapter])


def test_an_adapter_of_reserve_stays_as_it_is(certificate: Files) -> None:
    adapter = reserve_ssl.BuiltinSSLAdapter(certificate.both)
    assert as_adapter(adapter) is adapter


@pytest.mark.parametrize("value", [None, 5, "cert.pem", object(), BuiltinSSLAdapter, ssl.SSLContext])
def test_what_is_no_adapter_is_refused(value: Any) -> None:
    with pytest.raises(UsageError, match="is no TLS adapter"):
        as_adapter(value)


@pytest.mark.parametrize("name", AdapterSuite.names())
@each_adapter
def test_cheroots_adapters_pass_the_suite(cheroot: Any, name: str, certificate: Files) -> None:
    def make(cert: str, key: str) -> reserve_ssl.SSLAdapter:
        return as_adapter(cheroot(cert, key))

    suite = AdapterSuite(make, certificate[:2], certificate[:2], reloads=False)
    if suite.fits(name):
        suite.run(name)


def site(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
    start_response("200 OK", [("Content-Type", "text/plain; charset=latin-1")])
    variables = {name: value for name, value in environ.items() if name.startswith(("SSL_", "HTTPS", "wsgi.url"))}
    assert all(type(value) is str for value in variables.values())
    return [f"{name}={value}\n".encode("latin-1") for name, value in variables.items()]


def fetch(address: tuple[str, int], client: ssl.SSLContext, session: ssl.SSLSession | None = None) -> tuple[Any, Any]:
    with (
        socket.create_connection(address, 20) as plain,
        tls.wrap_client(plain, context=client, session=session) as tls_socket,
    ):
        tls_socket.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        body = b"".join(iter(lambda: tls_socket.recv(65536), b"")).partition(b"\r\n\r\n")[2].decode("latin-1")
        variables = dict(line.split("=", 1) for line in body.split("\n") if "=" in line and line[0] in "SHw")
        return variables, tls_socket.session


@each_adapter
@tls.each_version
def test_a_site_with_cheroots_adapter(
    cheroot: Any, version: str, certificate: Files, caplog: pytest.LogCaptureFixture
) -> None:
    adapter = cheroot(certificate.cert, certificate.key)
    with _serving(adapter) as address:
        client = tls.client_context(version)
        variables, session = fetch(address, client)
        again, _ = fetch(address, client, session)
    assert variables["wsgi.url_scheme"] == "https"
    assert variables["HTTPS"] == "on"
    assert variables["SSL_PROTOCOL"] == f"TLSv{version}"
    assert "cheroot" in variables["SSL_VERSION_INTERFACE"].lower()
    assert "SSL_SERVER_M_SERIAL" in variables
    assert variables["SSL_CIPHER_EXPORT"] == "false"  # cheroot leaves it empty
    assert (variables["SSL_SESSION_RESUMED"], again["SSL_SESSION_RESUMED"]) == ("Initial", "Resumed")
    if cheroot is BuiltinSSLAdapter:
        assert variables["SSL_TLS_SNI"] == "localhost"
        assert variables["SSL_SERVER_CERT"].startswith("-----BEGIN")
    assert not [record for record in caplog.records if "get_environ" in record.getMessage()]


@contextlib.contextmanager
def _serving(adapter: Any) -> Iterator[tuple[str, int]]:
    server = ReserveWSGIServer(listen("127.0.0.1:0"), site, threads=2)
    server.ssl_adapter = adapter
    with server:
        server.wait_ready()
        yield server.addresses[0][:2]


@each_adapter
def test_clients_that_stall_their_handshake_hold_no_worker(cheroot: Any, certificate: Files) -> None:
    """More stalled clients than workers, which would stop cheroot itself; then one that does not stall."""
    with _serving(cheroot(certificate.cert, certificate.key)) as address:
        stalled = [socket.create_connection(address, 20) for _ in range(5)]
        try:
            for client in stalled:
                client.sendall(b"\x16\x03\x01\x02\x00\x01")
            assert fetch(address, tls.client_context())[0]["HTTPS"] == "on"
        finally:
            for client in stalled:
                client.close()


def test_what_cheroots_context_requires_of_clients_is_kept(certificate: Files, authority: Authority) -> None:
    adapter = BuiltinSSLAdapter(certificate.cert, certificate.key, certificate_chain=authority.pem)
    adapter.context.verify_mode = ssl.CERT_REQUIRED
    adapter.context.set_ciphers("ECDHE-ECDSA-AES128-GCM-SHA256")
    client = tls.client_context("1.2")
    client.load_cert_chain(authority.issue("cheroot", "me@example.org").both)
    with _serving(adapter) as address:
        variables, _ = fetch(address, client)
        with pytest.raises((ssl.SSLError, ConnectionError)):
            fetch(address, tls.client_context("1.2"))
    assert variables["SSL_CLIENT_VERIFY"] == "SUCCESS"
    assert variables["SSL_CLIENT_SAN_Email_0" if "SSL_CLIENT_SAN_Email_0" in variables else "SSL_CLIENT_CERT"]
    assert variables["SSL_CIPHER"] == "ECDHE-ECDSA-AES128-GCM-SHA256"


def test_a_context_that_a_program_has_set_is_used(certificate: Files) -> None:
    context = SSL.Context(SSL.TLS_SERVER_METHOD)
    context.use_certificate_chain_file(certificate.cert)
    context.use_privatekey_file(certificate.key)
    context.set_cipher_list(b"ECDHE-ECDSA-AES128-GCM-SHA256")
    adapter = pyOpenSSLAdapter(certificate.cert, certificate.key)
    adapter.context = context
    SSL.Connection(context)  # it is in use: it cannot be changed any more
    with _serving(adapter) as address:
        variables, _ = fetch(address, tls.client_context("1.2"))
    assert variables["SSL_CIPHER"] == "ECDHE-ECDSA-AES128-GCM-SHA256"


@each_adapter
def test_a_get_environ_that_fails_is_reported_once(
    cheroot: Any, certificate: Files, caplog: pytest.LogCaptureFixture
) -> None:
    class Broken(cheroot):  # type: ignore[misc]
        def get_environ(self, *sock: Any) -> dict[str, Any]:
            raise KeyError("a piece that is missing")

    with caplog.at_level(logging.WARNING, "reserve"), _serving(Broken(certificate.cert, certificate.key)) as address:
        seen = [fetch(address, tls.client_context())[0] for _ in range(2)]
    assert [variables["SSL_PROTOCOL"] for variables in seen] == ["TLSv1.3"] * 2
    reports = [record.getMessage() for record in caplog.records if "get_environ() of" in record.getMessage()]
    assert len(reports) == 1
    assert "a piece that is missing" in reports[0]


@each_adapter
def test_an_adapter_without_a_context_ends_the_start(cheroot: Any, certificate: Files, tmp_path: Any) -> None:
    adapter = cheroot(certificate.cert, certificate.key)
    adapter.context = object() if cheroot is BuiltinSSLAdapter else None
    adapter.private_key = os.fspath(tmp_path / "missing.key")
    with pytest.raises(StartupError, match=r"cheroot\.ssl\..* has no"):
        prepared(as_adapter(adapter))


@each_adapter
def test_a_reload_is_refused(cheroot: Any, certificate: Files) -> None:
    adapter = prepared(as_adapter(cheroot(certificate.cert, certificate.key)))
    assert not adapter.changed()
    with pytest.raises(StartupError, match="loads its certificate only once"):
        adapter.reload()


def test_a_wrap_of_a_derived_class_is_called(certificate: Files) -> None:
    class Own(BuiltinSSLAdapter):  # type: ignore[misc]
        def wrap(self, sock: socket.socket) -> Any:
            wrapped, environ = super().wrap(sock)
            return wrapped, environ | {"SSL_MINE": "yes"}

    adapter = Own(certificate.cert, certificate.key)
    assert as_adapter(adapter).blocking
    with _serving(adapter) as address:
        variables, _ = fetch(address, tls.client_context())
    assert variables["SSL_MINE"] == "yes"
    assert not as_adapter(BuiltinSSLAdapter(certificate.cert, certificate.key)).blocking
