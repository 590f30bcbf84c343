"""Which certificate a client gets, and that its session resumes under no other one."""

from __future__ import annotations

import contextlib
import itertools
import socket
import ssl
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from OpenSSL import SSL

from reserve.errors import TLSError, WantRead
from reserve.ssl import BuiltinSSLAdapter, CertificateFiles, SSLAdapter, TLSSocket
from reserve.ssl.certadapter import CertificateAdapter
from tests import tls
from tests.authority import Files
from tests.ssl.issuing import dns_names
from tests.ssl.links import each_adapter, linked, prepared


@contextlib.contextmanager
def connected(adapter: SSLAdapter, hello: bytes, early: bool) -> Iterator[tuple[socket.socket, TLSSocket]]:
    """A client's socket and the server's, before the handshake; ``early``: the hello was sent before it began."""
    wire, server = socket.socketpair()
    with wire, server:
        server.setblocking(False)
        if early:
            wire.sendall(hello)
        tls_socket = adapter.secure(server)
        if not early:
            wire.sendall(hello)
        with tls_socket:
            yield wire, tls_socket


def session_with(
    adapter: SSLAdapter, client: ssl.SSLContext, name: str, session: ssl.SSLSession | None
) -> tuple[dict[str, str], ssl.SSLSession]:
    """A whole session of a client that asks for ``name`` and may resume: its variables, and how to resume it."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    client_tls = client.wrap_bio(incoming, outgoing, server_hostname=name, session=session)
    with contextlib.suppress(ssl.SSLWantReadError):
        client_tls.do_handshake()
    with connected(adapter, outgoing.read(), True) as (wire, tls_socket):
        wire.setblocking(False)
        for _ in range(4):  # both sides at least as often as they have a flight
            with contextlib.suppress(WantRead):
                tls_socket.handshake_now()
            with contextlib.suppress(BlockingIOError):
                incoming.write(wire.recv(65536))
            with contextlib.suppress(ssl.SSLWantReadError):
                client_tls.do_handshake()
            wire.sendall(outgoing.read())
        tls_socket.send_now(b"x")
        incoming.write(wire.recv(65536))
        assert client_tls.read(10) == b"x"  # the tickets of TLS 1.3 came before it
        variables = tls_socket.environ()
    assert client_tls.session is not None
    return variables, client_tls.session


@each_adapter
@tls.each_version
def test_the_server_name_selects_the_certificate(
    adapter: type[CertificateAdapter[Any]], version: str, certificate: Files, other_certificate: Files
) -> None:
    server = prepared(adapter([CertificateFiles(cert=files.both) for files in (certificate, other_certificate)]))
    client = tls.client_context(version)
    client.check_hostname = False
    for name, expected, sni in [
        ("localhost", "localhost", "localhost"),
        ("other.example", "other.example", "other.example"),
        ("OTHER.example", "other.example", "OTHER.example"),
        ("a.wild.example", "other.example", "a.wild.example"),
        ("a.b.wild.example", "localhost", "a.b.wild.example"),
        ("unknown.example", "localhost", "unknown.example"),
        (None, "localhost", None),
    ]:
        with linked(server, client, name) as link:
            variables = link.handshake().tls_socket.environ()
            assert expected in dns_names(link.tls.getpeercert(True)), name
            assert variables.get("SSL_TLS_SNI") == sni
            assert variables["SSL_SERVER_SAN_DNS_0"] == expected


@each_adapter
@pytest.mark.parametrize("early", [True, False], ids=["the hello has come", "the hello comes later"])
def test_a_server_name_that_is_not_ascii_gets_an_alert_or_the_first_certificate(
    adapter: type[CertificateAdapter[Any]], early: bool, certificate: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The standard library's own callback would write to stderr, through ``sys.unraisablehook``."""
    unraisable: list[Any] = []
    monkeypatch.setattr(sys, "unraisablehook", unraisable.append)
    server = prepared(adapter(certificate.both))
    connection = SSL.Connection(SSL.Context(SSL.TLS_CLIENT_METHOD))
    connection.set_tlsext_host_name(b"\xff\xfe.example")
    connection.set_connect_state()
    with contextlib.suppress(SSL.WantReadError):
        connection.do_handshake()
    with connected(server, connection.bio_read(65536), early) as (wire, tls_socket):
        if adapter is BuiltinSSLAdapter:
            with pytest.raises(TLSError, match=r"the server name b'\\xff\\xfe.example' is not in ASCII"):
                tls_socket.handshake_now()
            connection.bio_write(wire.recv(65536))
            with pytest.raises(SSL.Error, match="illegal parameter"):
                connection.do_handshake()
        else:
            with pytest.raises(WantRead):
                tls_socket.handshake_now()
            connection.bio_write(wire.recv(65536))
            connection.do_handshake()
            wire.sendall(connection.bio_read(65536))
            tls_socket.handshake_now()
            assert tls_socket.environ()["SSL_TLS_SNI"] == "\\\\xff\\\\xfe.example"
    assert unraisable == []


@each_adapter
@tls.each_version
def test_a_session_of_another_certificate_is_not_resumed(
    adapter: type[CertificateAdapter[Any]], version: str, certificate: Files, other_certificate: Files
) -> None:
    """RFC 6066 section 3. With each of the two as the first one."""
    both = [CertificateFiles(cert=files.both) for files in (certificate, other_certificate)]
    client = tls.client_context(version, verify=False)
    for certificates in (both, both[::-1]):
        server = prepared(adapter(certificates))
        for name, other in itertools.permutations(("localhost", "other.example"), 2):
            _, earlier = session_with(server, client, name, None)
            variables, _ = session_with(server, client, other, earlier)
            assert (variables["SSL_SESSION_RESUMED"], variables["SSL_TLS_SNI"]) == ("Initial", other)
            assert variables["SSL_SERVER_SAN_DNS_0"] == other
            variables, _ = session_with(server, client, name, earlier)
            assert (variables["SSL_SESSION_RESUMED"], variables["SSL_TLS_SNI"]) == ("Resumed", name)
            assert variables["SSL_SERVER_SAN_DNS_0"] == name
