"""cheroot's own adapters, from the package itself, on a server of ours."""

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
from reserve.errors import StartupError
from reserve.ssl import SSLAdapter
from reserve.ssl.compat.cheroot import as_adapter
from reserve.testing import AdapterSuite
from tests.authority import Authority, Files

# cheroot calls what pyOpenSSL would rather not have called.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

CHEROOT = [BuiltinSSLAdapter, pyOpenSSLAdapter]
both = pytest.mark.parametrize("cheroot", CHEROOT)


def prepared(adapter: Any) -> SSLAdapter:
    made = as_adapter(adapter)
    made.prepare(())
    return made


@pytest.mark.parametrize("name", AdapterSuite.names())
@both
def test_cheroots_adapters_pass_the_suite(cheroot: Any, name: str, certificate: Files) -> None:
    def make(cert: str, key: str) -> SSLAdapter:
        return as_adapter(cheroot(cert, key))

    suite = AdapterSuite(make, certificate[:2], certificate[:2], reloads=False)
    if suite.fits(name):
        suite.run(name)


def site(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
    start_response("200 OK", [("Content-Type", "text/plain; charset=latin-1")])
    told = {name: value for name, value in environ.items() if name.startswith(("SSL_", "HTTPS", "wsgi.url"))}
    assert all(type(value) is str for value in told.values())
    return [f"{name}={value}\n".encode("latin-1") for name, value in told.items()]


def fetch(address: tuple[str, int], client: ssl.SSLContext, session: ssl.SSLSession | None = None) -> tuple[Any, Any]:
    with (
        socket.create_connection(address, 20) as plain,
        client.wrap_socket(plain, server_hostname="localhost", session=session) as tls,
    ):
        tls.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        body = b"".join(iter(lambda: tls.recv(65536), b"")).partition(b"\r\n\r\n")[2].decode("latin-1")
        told = dict(line.split("=", 1) for line in body.split("\n") if "=" in line and line[0] in "SHw")
        return told, tls.session


@both
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_site_behind_cheroots_adapter(
    cheroot: Any, version: ssl.TLSVersion, certificate: Files, authority: Authority, caplog: pytest.LogCaptureFixture
) -> None:
    adapter = cheroot(certificate.cert, certificate.key)
    with _serving(adapter) as address:
        client = authority.client(version=version)
        told, session = fetch(address, client)
        again, _ = fetch(address, client, session)
    assert told["wsgi.url_scheme"] == "https"
    assert told["HTTPS"] == "on"
    assert told["SSL_PROTOCOL"] == version.name.replace("v1_", "v1.")
    assert "cheroot" in told["SSL_VERSION_INTERFACE"].lower()
    assert "SSL_SERVER_M_SERIAL" in told
    assert told["SSL_CIPHER_EXPORT"] == "false"  # cheroot says nothing there
    assert (told["SSL_SESSION_RESUMED"], again["SSL_SESSION_RESUMED"]) == ("Initial", "Resumed")
    if cheroot is BuiltinSSLAdapter:
        assert told["SSL_TLS_SNI"] == "localhost"
        assert told["SSL_SERVER_CERT"].startswith("-----BEGIN")
    assert not [record for record in caplog.records if "get_environ" in record.getMessage()]


@contextlib.contextmanager
def _serving(adapter: Any) -> Iterator[tuple[str, int]]:
    server = ReserveWSGIServer(listen("127.0.0.1:0"), site, threads=2)
    server.ssl_adapter = adapter
    with server:
        server.wait_ready()
        yield server.addresses[0][:2]


@both
def test_a_client_that_stalls_its_handshake_holds_no_worker(
    cheroot: Any, certificate: Files, authority: Authority
) -> None:
    """What stops cheroot itself: more stalled clients than workers, and then one that is well."""
    with _serving(cheroot(certificate.cert, certificate.key)) as address:
        stalled = [socket.create_connection(address, 20) for _ in range(5)]
        try:
            for one in stalled:
                one.sendall(b"\x16\x03\x01\x02\x00\x01")
            assert fetch(address, authority.client())[0]["HTTPS"] == "on"
        finally:
            for one in stalled:
                one.close()


def test_what_cheroots_context_wants_of_clients_is_kept(certificate: Files, authority: Authority) -> None:
    adapter = BuiltinSSLAdapter(certificate.cert, certificate.key, certificate_chain=authority.pem)
    adapter.context.verify_mode = ssl.CERT_REQUIRED
    adapter.context.set_ciphers("ECDHE-ECDSA-AES128-GCM-SHA256")
    client = authority.client(authority.issue("cheroot", "me@example.org"), ssl.TLSVersion.TLSv1_2)
    with _serving(adapter) as address:
        told, _ = fetch(address, client)
        with pytest.raises((ssl.SSLError, ConnectionError)):
            fetch(address, authority.client(version=ssl.TLSVersion.TLSv1_2))
    assert told["SSL_CLIENT_VERIFY"] == "SUCCESS"
    assert told["SSL_CLIENT_SAN_Email_0" if "SSL_CLIENT_SAN_Email_0" in told else "SSL_CLIENT_CERT"]
    assert told["SSL_CIPHER"] == "ECDHE-ECDSA-AES128-GCM-SHA256"


def test_a_context_that_was_given_to_the_pyopenssl_adapter_is_used(certificate: Files, authority: Authority) -> None:
    context = SSL.Context(SSL.TLS_SERVER_METHOD)
    context.use_certificate_chain_file(certificate.cert)
    context.use_privatekey_file(certificate.key)
    context.set_cipher_list(b"ECDHE-ECDSA-AES128-GCM-SHA256")
    adapter = pyOpenSSLAdapter(certificate.cert, certificate.key)
    adapter.context = context
    SSL.Connection(context)  # it is in use: nothing of it can be changed any more
    with _serving(adapter) as address:
        told, _ = fetch(address, authority.client(version=ssl.TLSVersion.TLSv1_2))
    assert told["SSL_CIPHER"] == "ECDHE-ECDSA-AES128-GCM-SHA256"


@both
def test_an_environ_that_cannot_be_made_is_reported_once(
    cheroot: Any, certificate: Files, authority: Authority, caplog: pytest.LogCaptureFixture
) -> None:
    class Broken(cheroot):  # type: ignore[misc]
        def get_environ(self, *sock: Any) -> dict[str, Any]:
            raise KeyError("a piece that is missing")

    with caplog.at_level(logging.WARNING, "reserve"), _serving(Broken(certificate.cert, certificate.key)) as address:
        told = [fetch(address, authority.client())[0] for _ in range(2)]
    assert [one["SSL_PROTOCOL"] for one in told] == ["TLSv1.3"] * 2
    reports = [record.getMessage() for record in caplog.records if "get_environ() of" in record.getMessage()]
    assert len(reports) == 1
    assert "a piece that is missing" in reports[0]


@both
def test_what_has_no_context_ends_the_start(cheroot: Any, certificate: Files, tmp_path: Any) -> None:
    adapter = cheroot(certificate.cert, certificate.key)
    adapter.context = object() if cheroot is BuiltinSSLAdapter else None
    adapter.private_key = os.fspath(tmp_path / "missing.key")
    with pytest.raises(StartupError, match=r"cheroot\.ssl\..* has no"):
        prepared(adapter)


@both
def test_a_reload_is_refused(cheroot: Any, certificate: Files) -> None:
    adapter = prepared(cheroot(certificate.cert, certificate.key))
    assert not adapter.changed()
    with pytest.raises(StartupError, match="loads its certificate only once"):
        adapter.reload()


def test_a_wrap_that_somebody_has_changed_is_called(certificate: Files, authority: Authority) -> None:
    class Own(BuiltinSSLAdapter):  # type: ignore[misc]
        def wrap(self, sock: socket.socket) -> Any:
            tls, environ = super().wrap(sock)
            return tls, environ | {"SSL_MINE": "yes"}

    adapter = Own(certificate.cert, certificate.key)
    assert as_adapter(adapter).blocking
    with _serving(adapter) as address:
        told, _ = fetch(address, authority.client())
    assert told["SSL_MINE"] == "yes"
    assert not as_adapter(BuiltinSSLAdapter(certificate.cert, certificate.key)).blocking
