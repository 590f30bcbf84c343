"""Clients' certificates: required or optional, of strangers, revoked, and such that cannot be read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from reserve.errors import TLSError
from reserve.ssl.certadapter import CertificateAdapter
from reserve.ssl.environ import pem
from tests import tls
from tests.authority import Authority, Files
from tests.ssl import encoding as e
from tests.ssl import issuing
from tests.ssl.links import each_adapter, environ_after_handshake, prepared


@each_adapter
@tls.each_version
def test_no_client_optional_and_required_certificates(
    adapter: type[CertificateAdapter[Any]], version: str, certificate: Files, authority: Authority, tmp_path: Path
) -> None:
    without = tls.client_context(version)
    known, stranger = tls.client_context(version), tls.client_context(version)
    known.load_cert_chain(authority.issue("client", "me@example.org").both)
    stranger.load_cert_chain(Authority(tmp_path).issue("stranger", "you@example.org").both)

    assert "SSL_CLIENT_VERIFY" not in environ_after_handshake(prepared(adapter(certificate.both)), known)

    optional = prepared(adapter(certificate.both, client_cert="optional", client_ca=authority.pem))
    assert environ_after_handshake(optional, without)["SSL_CLIENT_VERIFY"] == "NONE"
    variables = environ_after_handshake(optional, known)
    assert variables["SSL_CLIENT_VERIFY"] == "SUCCESS"
    assert variables["SSL_CLIENT_SAN_Email_0"] == "me@example.org"
    assert variables["SSL_CLIENT_CERT"].startswith("-----BEGIN CERTIFICATE-----\n")
    with pytest.raises(TLSError, match="certificate verify failed"):
        environ_after_handshake(optional, stranger)

    required = prepared(adapter(certificate.both, client_cert="required", client_ca=authority.pem))
    assert environ_after_handshake(required, known)["SSL_CLIENT_VERIFY"] == "SUCCESS"
    with pytest.raises(TLSError, match="peer did not return a certificate"):
        environ_after_handshake(required, without)


@each_adapter
@tls.each_version
def test_revoked_certificates_are_refused_and_a_new_list_is_loaded(
    adapter: type[CertificateAdapter[Any]], version: str, certificate: Files, authority: Authority
) -> None:
    issued = [authority.issue(name, f"{name}@x.org") for name in ("good", "bad")]
    good, bad = (tls.client_context(version) for _ in issued)
    for client, files in zip((good, bad), issued, strict=True):
        client.load_cert_chain(files.both)
    server = prepared(
        adapter(certificate.both, client_cert="required", client_ca=authority.pem, crl=authority.revoke())
    )
    for client in (good, bad):
        assert environ_after_handshake(server, client)["SSL_CLIENT_VERIFY"] == "SUCCESS"
    authority.revoke(issued[1])
    assert server.changed()
    server.reload()
    assert environ_after_handshake(server, good)["SSL_CLIENT_VERIFY"] == "SUCCESS"
    with pytest.raises(TLSError, match="certificate verify failed"):
        environ_after_handshake(server, bad)


@each_adapter
def test_a_certificate_that_cryptography_warns_about_ends_no_connection(
    adapter: type[CertificateAdapter[Any]], certificate: Files, tmp_path: Path
) -> None:
    """A negative serial number. In these tests a warning is an error, so that nothing can be read."""
    key: Any = issuing.key("ed25519")
    root = issuing.issue(
        kind="ed25519",
        subject=issuing.named("root"),
        extensions=[x509.BasicConstraints(ca=True, path_length=None)],
    )
    leaf = e.certificate(
        serial=e.integer(-5),
        issuer=root.subject.public_bytes(),
        key=key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo),
        signer=key.sign,
    )
    (tmp_path / "root.pem").write_bytes(issuing.pem(root))
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (tmp_path / "client.pem").write_bytes(pem(leaf).encode() + private)
    client = tls.client_context()
    client.load_cert_chain(tmp_path / "client.pem")
    server = prepared(adapter(certificate.both, client_cert="required", client_ca=str(tmp_path / "root.pem")))
    variables = environ_after_handshake(server, client)
    assert {name: value for name, value in variables.items() if name.startswith("SSL_CLIENT_")} == {
        "SSL_CLIENT_VERIFY": "SUCCESS",
        "SSL_CLIENT_CERT": pem(leaf),
    }
