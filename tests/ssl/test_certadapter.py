"""The files of an adapter, and the variables of certificates that it gives to applications."""

from __future__ import annotations

import re
import socket
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization

import reserve.ssl.certadapter
from reserve.errors import StartupError, UsageError
from reserve.ssl import BuiltinSSLAdapter, CertificateFiles
from reserve.ssl.certadapter import CertificateAdapter, client_environ, server_environ
from reserve.ssl.certificate import validity
from reserve.ssl.environ import pem
from tests import tls
from tests.authority import Authority, Files
from tests.ssl import encoding as e
from tests.ssl import issuing
from tests.ssl.links import each_adapter, environ_after_handshake, linked, prepared

# ---- files ----


@pytest.fixture
def encrypted(certificate: Files, tmp_path: Path) -> Files:
    key = serialization.load_pem_private_key(Path(certificate.key).read_bytes(), None)
    path = tmp_path / "encrypted.key"
    path.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"open sesame"),
        )
    )
    return Files(certificate.cert, str(path), "")


@each_adapter
@pytest.mark.parametrize("password", ["open sesame", b"open sesame", lambda: "open sesame"])
def test_a_password_opens_an_encrypted_key(
    adapter: type[CertificateAdapter[Any]], encrypted: Files, password: Any
) -> None:
    server = prepared(adapter(encrypted.cert, encrypted.key, password))
    assert environ_after_handshake(server, tls.client_context())["HTTPS"] == "on"


@each_adapter
def test_a_password_that_is_not_needed_is_ignored(adapter: type[CertificateAdapter[Any]], certificate: Files) -> None:
    server = prepared(adapter(certificate.cert, certificate.key, "unused"))
    assert environ_after_handshake(server, tls.client_context())["HTTPS"] == "on"


@each_adapter
def test_the_error_for_files_that_cannot_be_used_names_file_option_and_reason(
    adapter: type[CertificateAdapter[Any]],
    authority: Authority,
    certificate: Files,
    other_certificate: Files,
    encrypted: Files,
    tmp_path: Path,
) -> None:
    garbage, mixed, malformed = tmp_path / "garbage.pem", tmp_path / "mixed.pem", tmp_path / "malformed.pem"
    garbage.write_bytes(b"garbage")
    # With it a server would trust a stranger's authority, and its operator would not know.
    mixed.write_bytes(Path(authority.revoke()).read_bytes() + Path(other_certificate.cert).read_bytes())
    malformed.write_text(pem(e.integer(1)))
    missing = str(tmp_path / "missing.pem")
    for arguments, options, expected in [
        ((missing, certificate.key), {}, "missing.pem .--tls-cert. cannot be read: No such file"),
        ((certificate.cert, missing), {}, "missing.pem .*cannot be read: No such file"),
        ((garbage, certificate.key), {}, "garbage.pem .--tls-cert. holds no certificate"),
        ((malformed, certificate.key), {}, "malformed.pem .--tls-cert. with the key .* cannot be used: [^_]*$"),
        ((certificate.cert, garbage), {}, "garbage.pem .--tls-key. holds no private key in PEM"),
        ((certificate.cert,), {}, "localhost.crt .--tls-cert. holds no private key in PEM; --tls-key"),
        (
            (certificate.cert, other_certificate.key),
            {},
            "other.key .--tls-key. does not belong to .*localhost.crt .--tls-cert.",
        ),
        ((encrypted.cert, encrypted.key), {}, "encrypted, and no password was given"),
        ((encrypted.cert, encrypted.key, "wrong"), {}, "does not open the private key .*encrypted.key .--tls-key."),
        ((certificate.both,), {"ciphers": "NONSENSE"}, "knows no cipher of 'NONSENSE'"),
        (
            (certificate.both,),
            {"client_cert": "required", "client_ca": missing},
            "missing.pem .--tls-client-ca. cannot be used for clients.*No such",
        ),
        (
            (certificate.both,),
            {"client_cert": "required", "client_ca": str(garbage)},
            "garbage.pem .--tls-client-ca. cannot be used for clients",
        ),
        (
            (certificate.both,),
            {"client_cert": "required", "client_ca": certificate.cert, "crl": str(garbage)},
            "garbage.pem .--tls-crl. cannot be used for clients.* no PEM block X509 CRL",
        ),
        (
            (certificate.both,),
            {"client_cert": "required", "client_ca": certificate.cert, "crl": str(mixed)},
            "mixed.pem .--tls-crl. cannot be used for clients.* a certificate in it; authorities belong to",
        ),
    ]:
        with pytest.raises(StartupError, match=expected):
            prepared(adapter(*arguments, **options))  # type: ignore[arg-type]


@each_adapter
def test_one_of_several_certificates_whose_names_cannot_be_read_is_refused(
    adapter: type[CertificateAdapter[Any]], certificate: Files, tmp_path: Path
) -> None:
    """Alone it is served: no name has to be read then."""
    key: Any = issuing.key("ed25519")
    public = key.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    strange = e.certificate(serial=e.integer(-5), key=public, signer=key.sign)
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path = tmp_path / "strange.pem"
    path.write_bytes(pem(strange).encode() + private)
    variables = environ_after_handshake(prepared(adapter(path)), tls.client_context(verify=False))
    assert {name: value for name, value in variables.items() if name.startswith("SSL_SERVER_")} == {
        "SSL_SERVER_CERT": pem(strange)
    }
    several = [CertificateFiles(cert=certificate.both), CertificateFiles(cert=str(path))]
    with pytest.raises(StartupError, match=r"names in the certificate .*strange.pem \(--tls-cert\), one of several"):
        prepared(adapter(several))


@each_adapter
def test_an_unknown_option_is_refused(adapter: type[CertificateAdapter[Any]], certificate: Files) -> None:
    with pytest.raises(UsageError, match="did you mean 'ciphers'"):
        adapter(certificate.both, cipher="x")


@each_adapter
def test_a_session_before_the_certificate_is_loaded_is_refused(
    adapter: type[CertificateAdapter[Any]], certificate: Files
) -> None:
    one, two = socket.socketpair()
    with one, two, pytest.raises(UsageError, match=r"prepare\(\) comes before"):
        adapter(certificate.both).secure(one)


@each_adapter
def test_the_protocols_of_the_application_need_no_second_look_at_the_files(
    adapter: type[CertificateAdapter[Any]], certificate: Files, tmp_path: Path
) -> None:
    """The process may have given up the right to read them."""
    copy = tmp_path / "copy.pem"
    copy.write_bytes(Path(certificate.both).read_bytes())
    server = prepared(adapter(copy))
    copy.unlink()
    client = tls.client_context()
    client.set_alpn_protocols(["a"])
    for protocols in (("b", "a"), ("a",)):
        server.prepare(protocols)
    assert not server.changed()
    with linked(server, client, "localhost") as link:
        assert link.handshake().tls.selected_alpn_protocol() == "a"
    with pytest.raises(StartupError, match="cannot be read"):
        server.prepare(("c",))  # what sessions use is not changed


@each_adapter
def test_files_that_changed_before_the_protocols_are_known_are_loaded(
    adapter: type[CertificateAdapter[Any]], certificate: Files, other_certificate: Files, tmp_path: Path
) -> None:
    path = tmp_path / "current.pem"
    path.symlink_to(certificate.both)
    server = prepared(adapter(path))
    path.unlink()
    path.symlink_to(other_certificate.both)
    server.prepare(("a",))
    with linked(server, tls.client_context(verify=False)) as link:
        assert "other.example" in issuing.dns_names(link.handshake().tls.getpeercert(True))


@each_adapter
def test_a_link_that_leads_to_other_files_is_a_change(
    adapter: type[CertificateAdapter[Any]], certificate: Files, other_certificate: Files, tmp_path: Path
) -> None:
    """Some programs keep every certificate and let a link lead to the newest."""
    current = tmp_path / "current.pem"
    current.symlink_to(certificate.both)
    server = prepared(adapter(current))
    current.unlink()
    current.symlink_to(other_certificate.both)
    assert server.changed()
    server.reload()
    with linked(server, tls.client_context(verify=False)) as link:
        assert "other.example" in issuing.dns_names(link.handshake().tls.getpeercert(True))


@each_adapter
def test_pem_files_may_begin_with_a_byte_order_mark(
    adapter: type[CertificateAdapter[Any]],
    authority: Authority,
    certificate: Files,
    other_certificate: Files,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    copies = tmp_path / "copies"
    copies.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(copies))

    def marked(path: str) -> str:
        copy = tmp_path / Path(path).name
        copy.write_bytes(b"\xef\xbb\xbf" + Path(path).read_bytes())
        return str(copy)

    cert, key, other = marked(certificate.cert), marked(certificate.key), marked(other_certificate.key)
    trust = {"client_cert": "required", "client_ca": marked(authority.pem), "crl": marked(authority.revoke())}
    for server in (adapter(cert, key, **trust), adapter(marked(certificate.both), **trust)):
        environ = environ_after_handshake(prepared(server), authority.client(certificate))
        assert environ["SSL_CLIENT_VERIFY"] == "SUCCESS"
    with pytest.raises(StartupError) as error:
        adapter(cert, other).prepare(())
    assert other in str(error.value)
    assert cert in str(error.value)
    assert list(copies.iterdir()) == []


@each_adapter
@pytest.mark.parametrize(
    ("start", "end", "expected"),
    [
        (-10, -1, r"has expired on [-\d]+ [:\d]+ UTC; clients refuse it"),
        (-10, 0.5, r"expires on [-\d]+ [:\d]+ UTC, in less than a day"),
        (-10, 1.5, r"expires on [-\d]+ [:\d]+ UTC, in 1 day"),
        (-10, 13.5, r"expires on [-\d]+ [:\d]+ UTC, in 13 days"),
        (1, 100, r"is not valid before [-\d]+ [:\d]+ UTC; until then clients refuse it"),
        (-10, 14.5, ""),
    ],
)
def test_one_warning_of_a_certificate_that_clients_refuse_now_or_soon(
    adapter: type[CertificateAdapter[Any]], authority: Authority, start: float, end: float, expected: str
) -> None:
    now = datetime.now(UTC)
    dates = {"not_before": now + timedelta(days=start), "not_after": now + timedelta(days=end)}
    files = authority.issue("dated", "dated.example", **dates)
    lines: list[str] = []
    server = adapter(files.cert, files.key)
    server.warn = lines.append
    server.prepare(())
    server.prepare(("http/1.1",))  # the command prepares it before the server does
    assert len(lines) == bool(expected)
    server.reload()
    assert len(lines) == 2 * bool(expected)
    for line in lines:
        assert re.fullmatch(rf"the certificate .*dated\.crt \(--tls-cert\) {expected}", line)


def test_without_cryptography_there_is_no_warning_of_the_dates(
    authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    end = datetime.now(UTC) - timedelta(days=1)
    files = authority.issue("late", "late.example", not_before=end - timedelta(days=9), not_after=end)
    monkeypatch.setattr(reserve.ssl.certadapter, "missing_library", lambda: "it is not there")
    lines: list[str] = []
    server = BuiltinSSLAdapter(files.cert, files.key)
    server.warn = lines.append
    server.prepare(())
    assert lines == []


def test_dates_that_cannot_be_read_are_no_error() -> None:
    assert validity(b"strange") is None


# ---- variables ----


def test_the_variables_of_a_server_certificate() -> None:
    issued = issuing.issue(subject=issuing.named("own"))
    variables = server_environ(issuing.der(issued))
    assert variables["SSL_SERVER_CERT"] == issuing.pem(issued).decode()
    assert variables["SSL_SERVER_S_DN_CN"] == "own"


def test_the_variables_of_a_client_certificate_and_its_chain() -> None:
    own, middle, root = (issuing.issue(subject=issuing.named(name)) for name in ("own", "middle", "root"))
    variables = client_environ(issuing.der(own), [issuing.der(middle), issuing.der(root)])
    assert variables["SSL_CLIENT_VERIFY"] == "SUCCESS"
    assert variables["SSL_CLIENT_S_DN_CN"] == "own"
    assert variables["SSL_CLIENT_CERT"] == issuing.pem(own).decode()
    assert variables["SSL_CLIENT_CERT_CHAIN_0"] == issuing.pem(middle).decode()
    assert variables["SSL_CLIENT_CERT_CHAIN_1"] == issuing.pem(root).decode()
    assert "SSL_CLIENT_CERT_CHAIN_2" not in variables
    assert int(variables["SSL_CLIENT_V_REMAIN"]) > 0


def test_the_variable_of_a_client_without_a_certificate() -> None:
    assert client_environ(None) == {"SSL_CLIENT_VERIFY": "NONE"}


def test_the_variables_of_a_client_certificate_that_cannot_be_read() -> None:
    assert client_environ(b"strange", [b"too"]) == {
        "SSL_CLIENT_VERIFY": "SUCCESS",
        "SSL_CLIENT_CERT": "-----BEGIN CERTIFICATE-----\nc3RyYW5nZQ==\n-----END CERTIFICATE-----\n",
        "SSL_CLIENT_CERT_CHAIN_0": "-----BEGIN CERTIFICATE-----\ndG9v\n-----END CERTIFICATE-----\n",
    }
