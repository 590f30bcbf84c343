"""What an application is told of certificates, beside what is read from them."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from reserve.ssl import BuiltinSSLAdapter, PyOpenSSLAdapter
from reserve.ssl.certadapter import client_environ, server_environ
from reserve.ssl.environ import pem
from reserve.testing.adaptersuite.link import Link
from tests.authority import Files
from tests.ssl import encoding as e
from tests.ssl import issuing


def test_a_server_certificate() -> None:
    issued = issuing.issue(subject=issuing.named("own"))
    variables = server_environ(issuing.der(issued))
    assert variables["SSL_SERVER_CERT"] == issuing.pem(issued).decode()
    assert variables["SSL_SERVER_S_DN_CN"] == "own"


def test_a_client_certificate_and_its_chain() -> None:
    own, middle, root = (issuing.issue(subject=issuing.named(name)) for name in ("own", "middle", "root"))
    variables = client_environ(issuing.der(own), [issuing.der(middle), issuing.der(root)])
    assert variables["SSL_CLIENT_VERIFY"] == "SUCCESS"
    assert variables["SSL_CLIENT_S_DN_CN"] == "own"
    assert variables["SSL_CLIENT_CERT"] == issuing.pem(own).decode()
    assert variables["SSL_CLIENT_CERT_CHAIN_0"] == issuing.pem(middle).decode()
    assert variables["SSL_CLIENT_CERT_CHAIN_1"] == issuing.pem(root).decode()
    assert "SSL_CLIENT_CERT_CHAIN_2" not in variables
    assert int(variables["SSL_CLIENT_V_REMAIN"]) > 0


def test_no_client_certificate() -> None:
    assert client_environ(None) == {"SSL_CLIENT_VERIFY": "NONE"}


def test_a_client_certificate_that_cannot_be_read() -> None:
    assert client_environ(b"strange", [b"too"]) == {
        "SSL_CLIENT_VERIFY": "SUCCESS",
        "SSL_CLIENT_CERT": "-----BEGIN CERTIFICATE-----\nc3RyYW5nZQ==\n-----END CERTIFICATE-----\n",
        "SSL_CLIENT_CERT_CHAIN_0": "-----BEGIN CERTIFICATE-----\ndG9v\n-----END CERTIFICATE-----\n",
    }


@pytest.mark.parametrize("adapter", [BuiltinSSLAdapter, PyOpenSSLAdapter])
def test_a_client_certificate_that_the_library_warns_about_ends_no_connection(
    adapter: Any, certificate: Files, tmp_path: Path
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
    server = adapter(certificate.both, client_cert="required", client_ca=str(tmp_path / "root.pem"))
    server.prepare(())
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname, client.verify_mode = False, ssl.CERT_NONE
    client.load_cert_chain(tmp_path / "client.pem")
    link = Link(server, client)
    try:
        variables = link.shake().secure.environ()
    finally:
        link.close()
    assert {name: value for name, value in variables.items() if name.startswith("SSL_CLIENT_")} == {
        "SSL_CLIENT_VERIFY": "SUCCESS",
        "SSL_CLIENT_CERT": pem(leaf),
    }
