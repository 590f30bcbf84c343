"""What client and server agree on: protocols (ALPN), versions, ciphers, and that it is never negotiated again."""

from __future__ import annotations

import contextlib
import ssl
from typing import Any

import pytest
from OpenSSL import SSL

from reserve.errors import TLSError, WantRead
from reserve.ssl.certadapter import CertificateAdapter
from tests import tls
from tests.authority import Files
from tests.ssl.links import each_adapter, linked, prepared


@each_adapter
@tls.each_version
def test_the_first_protocol_of_the_server_that_the_client_offers_is_selected(
    adapter: type[CertificateAdapter[Any]], version: str, certificate: Files
) -> None:
    for offered, selected in [(["b", "a"], "a"), (["x", "b"], "b"), ([], None)]:
        server = prepared(adapter(certificate.both), "a", "b")
        client = tls.client_context(version)
        client.set_alpn_protocols(offered)
        with linked(server, client, "localhost") as link:
            variables = link.handshake().tls_socket.environ()
            assert link.tls.selected_alpn_protocol() == selected
            assert variables.get("SSL_TLS_ALPN") == selected


@each_adapter
@tls.each_version
def test_protocols_of_the_adapter_replace_those_of_the_application(
    adapter: type[CertificateAdapter[Any]], version: str, certificate: Files
) -> None:
    client = tls.client_context(version)
    client.set_alpn_protocols(["a", "mine"])
    with linked(prepared(adapter(certificate.both, protocols=("mine",)), "a", "b"), client, "localhost") as link:
        assert link.handshake().tls.selected_alpn_protocol() == "mine"


@each_adapter
@tls.each_version
def test_a_server_without_protocols_refuses_no_client(
    adapter: type[CertificateAdapter[Any]], version: str, certificate: Files
) -> None:
    client = tls.client_context(version)
    client.set_alpn_protocols(["a", "mine"])
    with linked(prepared(adapter(certificate.both)), client, "localhost") as link:
        assert link.handshake().tls.selected_alpn_protocol() is None


@each_adapter
@tls.each_version
def test_a_client_that_offers_no_protocol_of_the_server_gets_an_alert(
    adapter: type[CertificateAdapter[Any]], version: str, certificate: Files
) -> None:
    """RFC 7301 section 3.2."""
    client = tls.client_context(version)
    client.set_alpn_protocols(["x\n", "y"])
    with linked(prepared(adapter(certificate.both), "a", "b"), client, "localhost") as link:
        link.wire.sendall(link.client_flight())
        with pytest.raises(TLSError, match=r"offers the protocols b'x\\n, y', and the server has only a, b \(ALPN\)"):
            link.server_step()
        link.feed_client()
        with pytest.raises(ssl.SSLError, match=r"(?i)no.application.protocol"):
            link.client_flight()


@each_adapter
def test_a_client_with_an_older_version_is_refused(adapter: type[CertificateAdapter[Any]], certificate: Files) -> None:
    server = prepared(adapter(certificate.both, min_version="1.3"))
    with linked(server, tls.client_context("1.2"), "localhost") as link:
        link.wire.sendall(link.client_flight())
        with pytest.raises(TLSError, match=r"version|protocol"):
            link.server_step()


@each_adapter
def test_only_the_ciphers_of_the_settings_are_used(adapter: type[CertificateAdapter[Any]], certificate: Files) -> None:
    server = prepared(adapter(certificate.both, ciphers="ECDHE-ECDSA-CHACHA20-POLY1305"))
    with linked(server, tls.client_context("1.2"), "localhost") as link:
        assert link.handshake().tls_socket.environ()["SSL_CIPHER"] == "ECDHE-ECDSA-CHACHA20-POLY1305"
        assert link.tls_socket.environ()["SSL_PROTOCOL"] == "TLSv1.2"
    client = tls.client_context("1.2")
    client.set_ciphers("ECDHE-ECDSA-AES128-GCM-SHA256")
    with linked(server, client, "localhost") as link:
        link.wire.sendall(link.client_flight())
        with pytest.raises(TLSError, match="no shared cipher"):
            link.server_step()


@each_adapter
def test_a_client_cannot_renegotiate(adapter: type[CertificateAdapter[Any]], certificate: Files) -> None:
    server = prepared(adapter(certificate.both))
    context = SSL.Context(SSL.TLS_CLIENT_METHOD)
    context.set_max_proto_version(SSL.TLS1_2_VERSION)
    client = SSL.Connection(context)
    client.set_connect_state()
    with linked(server, None) as link:
        for _ in range(3):
            with contextlib.suppress(SSL.WantReadError):
                client.do_handshake()
            with contextlib.suppress(SSL.WantReadError):
                link.wire.sendall(client.bio_read(65536))
            link.server_step()
            with contextlib.suppress(BlockingIOError):
                client.bio_write(link.wire.recv(65536))
        assert client.renegotiate()
        with contextlib.suppress(SSL.WantReadError):
            client.do_handshake()
        link.wire.sendall(client.bio_read(65536))
        with contextlib.suppress(WantRead):  # the response is a warning alert; or the connection ends
            assert link.tls_socket.recv_now(10) != b""
        client.bio_write(link.wire.recv(65536))
        with pytest.raises(SSL.Error, match="no renegotiation"):
            client.do_handshake()
